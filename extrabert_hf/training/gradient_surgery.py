"""
Combines the gradients of several tasks into one update, from the dot products of the gradients alone.

An aggregator takes the Gram matrix of the task gradients, `gram[i, j] = g_i . g_j`, and returns a coefficient for each
task: the update is `coefficients @ gradients`. This module uses tensors only, neither a model nor a `Trainer`.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from extrabert_hf.errors import InputError, missing_package

Aggregator = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Gram matrix `(T, T)` and a generator -> coefficients `(T,)`."""


def pcgrad_weights(gram: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    r"""
    PCGrad: the sum of the task gradients, each without its components that oppose the gradient of another task.

    Yu et al. (2020), Gradient Surgery for Multi-Task Learning, https://arxiv.org/abs/2001.06782, Algorithm 1: a copy
    of `g_i` is compared with the gradients of the other tasks in random order; if `copy . g_j < 0`, the projection of
    the copy on the original `g_j` is subtracted from the copy. ExTraBERT, Section 4, prints `g_i - g_j` in place of
    that dot product, which is not a projection.

    Every copy is a linear combination of the `g_j`, so only the coefficients are computed.

    Args:
        gram (`torch.Tensor` of shape `(T, T)`):
            Dot products of the task gradients.
        generator (`torch.Generator`):
            A CPU generator that draws the `T` orders. The same state on every process gives the same update.

    Returns:
        `torch.Tensor` of shape `(T,)`, with the type and device of `gram`: 1 or more for each task with a gradient
        other than 0.

    Example:
        >>> gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
        >>> coefficients = pcgrad_weights(gradients @ gradients.T, torch.Generator())
        >>> coefficients, coefficients @ gradients  # neither opposed: both dot products are 0.5 and 1
        (tensor([2.0000, 1.5000]), tensor([0.5000, 1.5000]))
    """
    products = gram.detach().to("cpu", torch.float64)
    tasks = len(products)
    copies = torch.eye(tasks, dtype=torch.float64)  # (T, T), row i: the copy of g_i in terms of all g_j
    for i, copy in enumerate(copies):
        for j in torch.randperm(tasks, generator=generator).tolist():
            product = products[j] @ copy  # copy . g_j
            if j != i and product < 0 < products[j, j]:  # `products[j, j]` may round to 0
                copy[j] -= product / products[j, j]
    return copies.sum(dim=0).to(gram)


def mean_weights(gram: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Returns `1 / T` for each task: the update is the gradient of the mean loss."""
    return torch.full_like(gram[0], 1 / len(gram))


def sum_weights(gram: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Returns 1 for each task: the update is the gradient of the sum of the losses."""
    return torch.ones_like(gram[0])


AGGREGATORS: dict[str, Aggregator] = {"mean": mean_weights, "sum": sum_weights, "pcgrad": pcgrad_weights}
"""The aggregators of this package by name."""

TORCHJD_WEIGHTINGS = {
    "aligned_mtl": "AlignedMTLWeighting",
    "cagrad": "CAGradWeighting",
    "dualproj": "DualProjWeighting",
    "imtl_g": "IMTLGWeighting",
    "mgda": "MGDAWeighting",
    "upgrad": "UPGradWeighting",
}
"""By name, a class of `torchjd.aggregation` (an optional extra). The class documents its paper."""


def get_aggregator(name: str) -> Aggregator:
    """
    Returns an aggregator by name.

    Args:
        name (`str`):
            `"mean"`, `"sum"`, `"pcgrad"`, or with torchjd installed `"upgrad"`, `"cagrad"` (`c = 0.5`), `"mgda"`, ...

    Raises:
        [`InputError`]: for an unknown name, or if torchjd is needed and not installed.
    """
    if name in AGGREGATORS:
        return AGGREGATORS[name]
    if name not in TORCHJD_WEIGHTINGS:
        names = ", ".join(map(repr, [*AGGREGATORS, *TORCHJD_WEIGHTINGS]))
        raise InputError(f"`aggregator` must be one of {names}, got {name!r}.")
    try:
        from torchjd import aggregation

        weighting = getattr(aggregation, TORCHJD_WEIGHTINGS[name])(**({"c": 0.5} if name == "cagrad" else {}))
    except ImportError as error:  # torchjd, or the solver that the weighting needs
        raise missing_package(f"`aggregator` {name!r}", "torchjd", "torchjd") from error

    def weights(gram: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        scale = gram.trace().clamp_min(torch.finfo(gram.dtype).tiny)  # torchjd treats a trace below 1e-4 as 0
        return weighting((gram / scale).double().cpu()).to(gram)

    return weights


PIECE = 2**20
"""Number of elements of a gradient that are multiplied at a time: the pieces must fit into a processor's cache."""


def gram_matrix(gradients: Sequence[Sequence[torch.Tensor | None]]) -> torch.Tensor:
    """
    Computes the dot products of the task gradients, summed over parameters, without copying a gradient.

    Args:
        gradients (`Sequence[Sequence[torch.Tensor | None]]`):
            For each of `T` tasks, a contiguous gradient for each parameter; `None` if the loss of the task does not
            depend on the parameter.

    Returns:
        `torch.Tensor` of shape `(T, T)`, float64 on the CPU: pieces are multiplied in float32 and summed in float64.
    """
    products: dict[tuple[int, int], list[torch.Tensor]] = {}
    for column in zip(*gradients, strict=True):
        present = [(task, gradient.view(-1)) for task, gradient in enumerate(column) if gradient is not None]
        for pieces in zip(*(gradient.split(PIECE) for _, gradient in present), strict=True):
            named = [(task, piece.float()) for (task, _), piece in zip(present, pieces, strict=True)]
            for (i, first), (j, second) in itertools.combinations_with_replacement(named, 2):
                products.setdefault((i, j), []).append(torch.dot(first, second))
    gram = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for (i, j), of_pieces in products.items():
        gram[i, j] = gram[j, i] = torch.stack(of_pieces).cpu().double().sum()
    return gram


def combine(
    coefficients: torch.Tensor, gradients: Sequence[Sequence[torch.Tensor | None]]
) -> list[torch.Tensor | None]:
    """
    Computes `coefficients @ gradients` in place: the update is written to the first gradient of a parameter.

    Args:
        coefficients (`torch.Tensor` of shape `(T,)`):
            The result of an aggregator.
        gradients (`Sequence[Sequence[torch.Tensor | None]]`):
            As for [`gram_matrix`]; overwritten.

    Returns:
        `list[torch.Tensor | None]`: the update of each parameter, or `None` if no task has a gradient.
    """
    updates: list[torch.Tensor | None] = []
    for column in zip(*gradients, strict=True):
        update = None
        for coefficient, gradient in zip(coefficients.tolist(), column, strict=True):
            if gradient is None:
                continue
            if update is None:
                update = gradient if coefficient == 1 else gradient.mul_(coefficient)
            else:
                update.add_(gradient, alpha=coefficient)
        updates.append(update)
    return updates


def average_gradients(parameters: Sequence[torch.nn.Parameter], gradients: list[list[torch.Tensor | None]]) -> None:
    """
    Averages gradients over the processes, in place.

    Args:
        parameters (`Sequence[torch.nn.Parameter]`):
            The `P` parameters.
        gradients (`list[list[torch.Tensor | None]]`):
            `T` lists of `P` gradients. A gradient that is `None` on this process but not on all counts as 0.
    """
    if not parameters:  # a frozen encoder
        return
    exists = torch.tensor([[gradient is not None for gradient in row] for row in gradients], dtype=torch.int32)
    exists = exists.to(parameters[0].device)  # (T, P)
    dist.all_reduce(exists, op=dist.ReduceOp.MAX)
    for row, row_exists in zip(gradients, exists.tolist(), strict=True):
        for index, (gradient, exists_somewhere) in enumerate(zip(row, row_exists, strict=True)):
            if gradient is None and exists_somewhere:
                row[index] = torch.zeros_like(parameters[index])
    present = [gradient for row in gradients for gradient in row if gradient is not None]
    for work in [dist.all_reduce(gradient, async_op=True) for gradient in present]:
        work.wait()
    for gradient in present:
        gradient.div_(dist.get_world_size())
