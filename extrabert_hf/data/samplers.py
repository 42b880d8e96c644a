"""The order in which rows are trained on."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL_BATCHES = 50
"""Batches drawn at random before they are sorted by length: enough for little padding, few enough to keep mixing."""


class LengthBucketSampler(Sampler[int]):
    """
    Shuffles rows so that each global batch holds sentences of like length.

    The order is a pure function of `(seed, epoch)` and of the global batch size: it is the same for one process with a
    batch of 16, two with a batch of 8, or 8 with accumulation over 2 steps, and exact on resume. A short last batch
    stays last; several processes fill it up with rows of the first, as accelerate does.

    Args:
        lengths (`Sequence[int]`):
            Tokens of each row.
        batch_size (`int`):
            Rows of one optimizer step: per device, times processes, times accumulation steps.
        seed (`int`):
            Start of the order; epoch `e` uses `seed + e`.

    Example:
        >>> sampler = LengthBucketSampler([3, 9, 3, 9, 3], batch_size=2, seed=0)
        >>> order = list(sampler)
        >>> sorted(order), {sampler.lengths[i].item() for i in order[:2]} in ({3}, {9})
        ([0, 1, 2, 3, 4], True)
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self), generator=generator)  # (N,)
        pools = shuffled.split(self.batch_size * POOL_BATCHES)
        by_length = torch.cat([pool[self.lengths[pool].argsort(descending=True, stable=True)] for pool in pools])
        full = len(self) // self.batch_size * self.batch_size
        batches = by_length[:full].view(-1, self.batch_size)  # (N // B, B)
        yield from batches[torch.randperm(len(batches), generator=generator)].flatten().tolist()
        yield from by_length[full:].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Turns to the order of `epoch`, 0 or more."""
        self.epoch = epoch
