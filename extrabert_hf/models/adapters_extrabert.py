"""LoRA adapters of several tasks in one frozen encoder. Each sentence of a batch uses the adapter of its task."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

_PARTS: ContextVar[Sequence[tuple[str, int]]] = ContextVar("parts of the batch")


@contextmanager
def sentences_of_tasks(parts: Sequence[tuple[str, int]]) -> Iterator[None]:
    """
    Sets the tasks of the sentences that this thread passes through an encoder with adapters.

    Args:
        parts (`Sequence[tuple[str, int]]`):
            Each task and its number of sentences, in the order of the sentences in the batch.
    """
    token = _PARTS.set(parts)
    try:
        yield
    finally:
        _PARTS.reset(token)


class LowRankAdapter(nn.Module):
    """
    `x -> (alpha / r) B A x`: LoRA of Hu et al. (2021), https://arxiv.org/abs/2106.09685, Section 4.1.

    Args:
        in_features, out_features (`int`):
            Sizes of the linear layer that is adapted.
        r (`int`):
            Rank of `B A`.
        lora_alpha (`float`):
            Scale `alpha`.
    """

    def __init__(self, in_features: int, out_features: int, r: int, lora_alpha: float) -> None:
        super().__init__()
        self.lora_A = nn.Linear(in_features, r, bias=False)
        self.lora_B = nn.Linear(r, out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)  # a new adapter changes nothing
        self.scaling = lora_alpha / r

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(..., in_features)` -> `(..., out_features)`."""
        return self.lora_B(self.lora_A(inputs)) * self.scaling

    def weight(self) -> torch.Tensor:
        """Returns `(alpha / r) B A`, of shape `(out_features, in_features)`."""
        return self.lora_B.weight @ self.lora_A.weight * self.scaling


class LinearWithAdapters(nn.Linear):
    """
    A frozen linear layer with an adapter for each of several tasks, added to its output.

    Args:
        linear (`nn.Linear`):
            The layer. Its weights are shared, not copied.
        adapters (`Mapping[str, Mapping[str, Any]]`):
            `r` and `lora_alpha` of the adapter, by task.
    """

    def __init__(self, linear: nn.Linear, adapters: Mapping[str, Mapping[str, Any]]) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.adapters = nn.ModuleDict(
            {
                task: LowRankAdapter(self.in_features, self.out_features, adapter["r"], adapter["lora_alpha"])
                for task, adapter in adapters.items()
            }
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(sentences, ..., in_features)`, grouped by task -> `(sentences, ..., out_features)`."""
        parts = _PARTS.get(None)
        if parts is None:
            raise ValueError("an encoder with adapters must be called by its model, which passes the `task`.")
        outputs = super().forward(inputs)
        if len(parts) == 1:
            return self._adapt(parts[0][0], inputs, outputs)
        sizes = [size for _, size in parts]
        if len(inputs) != sum(sizes):
            raise ValueError(
                f"`task` must be a single task for this encoder: one of its layers gets {len(inputs)} rows for "
                f"{sum(sizes)} sentences."
            )
        pieces = zip(parts, inputs.split(sizes), outputs.split(sizes), strict=True)
        return torch.cat([self._adapt(task, part, output) for (task, _), part, output in pieces])

    def _adapt(self, task: str, inputs: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        return outputs + self.adapters[task](inputs) if task in self.adapters else outputs

    def merged(self, task: str) -> nn.Linear:
        """Returns the linear layer with the weight `W + (alpha / r) B A` of a task."""
        linear = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        added = self.adapters[task].weight() if task in self.adapters else torch.zeros_like(self.weight)
        linear.weight = nn.Parameter((self.weight + added).detach())
        linear.bias = self.bias
        return linear


def adaptable_layers(backbone: nn.Module) -> dict[str, nn.Linear]:
    """Returns the linear layers of an encoder by name, without those of its pooler and of adapters."""
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[0] != "pooler" and "adapters" not in name.split(".")
    }


def add_adapters(backbone: nn.Module, adapters: Mapping[str, Mapping[str, Any]]) -> None:
    """
    Adds adapters to an encoder, in place.

    Args:
        backbone (`nn.Module`):
            The encoder. Each linear layer that a task adapts is replaced, and all weights are frozen.
        adapters (`Mapping[str, Mapping[str, Any]]`):
            The config's `adapter` of each task.

    Raises:
        `ValueError`: if a task names a layer that the encoder does not have.
    """
    layers = adaptable_layers(backbone)
    known = {name.rpartition(".")[2] for name in layers}
    for task, adapter in adapters.items():
        if not set(adapter["target_modules"]) <= known:
            raise ValueError(
                f"`target_modules` of an `adapter` must be some of {sorted(known)}, got "
                f"{list(adapter['target_modules'])} for {task!r}."
            )
    for name, layer in layers.items():
        parent, _, last_name = name.rpartition(".")
        adapting = {task: adapter for task, adapter in adapters.items() if last_name in adapter["target_modules"]}
        if adapting:
            setattr(backbone.get_submodule(parent), last_name, LinearWithAdapters(layer, adapting))
    freeze_encoder(backbone)


def freeze_encoder(backbone: nn.Module) -> None:
    """Freezes all weights of an encoder except those of adapters."""
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("adapters" in name.split("."))


def merge_adapters(backbone: nn.Module, task: str) -> nn.Module:
    """Returns a copy of an encoder with the adapters of `task` merged into its weights."""
    plain = copy.deepcopy(backbone)
    for name, layer in adaptable_layers(plain).items():
        if isinstance(layer, LinearWithAdapters):
            parent, _, last_name = name.rpartition(".")
            setattr(plain.get_submodule(parent), last_name, layer.merged(task))
    return plain
