"""Dropout that draws its random numbers faster on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

DRAWS = 2**16
"""Number of values that 16 random bits can have. A rate is rounded to a multiple of `1 / DRAWS`."""


class FastDropout(nn.Dropout):
    """
    [`~torch.nn.Dropout`] that decides about each element with 16 random bits.

    PyTorch draws a number in double precision for each element. Here one whole number of 64 bits, from the same
    generator, serves four elements. As there, the expected value of an element is the element.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """
        In training mode, sets each element to 0 with probability `p` and divides the others by the share that is kept.

        Args:
            input (`torch.Tensor` of any shape):
                The values, on a CPU.
        """
        dropped = round(self.p * DRAWS)  # a draw among so many of the values drops an element
        if not self.training or dropped in (0, DRAWS):
            return super().forward(input)
        count = input.numel()
        draws = torch.empty(-(-count // 4), dtype=torch.int64, device=input.device).random_(-(2**63), None)
        is_kept = draws.view(torch.int16)[:count].view(input.shape) >= dropped - DRAWS // 2
        return input * is_kept.to(input.dtype).mul_(DRAWS / (DRAWS - dropped))


@contextmanager
def fast_dropout(model: nn.Module) -> Iterator[None]:
    """
    Gives the dropout modules of a model this faster form inside a `with` block.

    Args:
        model (`torch.nn.Module`):
            A model on a CPU. Subclasses of [`~torch.nn.Dropout`] and calls of `torch.nn.functional.dropout` stay as
            they are.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1))
        >>> with fast_dropout(model):
        ...     type(model[1]).__name__
        'FastDropout'
        >>> type(model[1]).__name__
        'Dropout'
    """
    modules = [module for module in model.modules() if type(module) is nn.Dropout and not module.inplace]
    for module in modules:
        module.__class__ = FastDropout
    try:
        yield
    finally:
        for module in modules:
            module.__class__ = nn.Dropout
