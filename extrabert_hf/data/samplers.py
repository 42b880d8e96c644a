"""
Samplers of rows of one task: batches of sentences of similar length, with a fixed number of rows or of tokens.

Each order is a pure function of the seed and the epoch.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from extrabert_hf.errors import InputError

POOL_BATCHES = 50
"""
Number of batches in a pool of random rows that is sorted by length: large enough for little padding, small enough
that the rows of a batch change from epoch to epoch.
"""


def order_by_length(
    pools: Iterable[torch.Tensor], lengths: torch.Tensor, batch_size: int, generator: torch.Generator
) -> torch.Tensor:
    """
    Sorts each pool of rows by length, cuts all rows into batches and shuffles the batches.

    A short last batch stays last.

    Args:
        pools (`Iterable[torch.Tensor]`):
            Row numbers in random order, each pool of shape `(rows,)`. The number of rows of each pool except the last
            is a multiple of `batch_size`.
        lengths (`torch.Tensor` of shape `(N,)`):
            Number of tokens of each row.
        batch_size (`int`):
            Rows of a batch.
        generator (`torch.Generator`):
            Generator for the order of the batches.

    Returns:
        `torch.Tensor` of shape `(rows of all pools,)`: the same rows, batch after batch; each batch starts with its
        longest row.
    """
    by_length = torch.cat([pool[lengths[pool].argsort(descending=True, stable=True)] for pool in pools])
    full = len(by_length) // batch_size * batch_size
    batches = by_length[:full].view(-1, batch_size)  # (rows // B, B)
    shuffled = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([shuffled.flatten(), by_length[full:]])


class LengthBucketSampler(Sampler[int]):
    """
    Shuffles rows so that each global batch has sentences of similar length.

    The order is a pure function of `(seed, epoch)` and of the global batch size: it is the same for one process with a
    batch size of 16, for two processes with 8 each, and for one process with 8 and accumulation over 2 steps. A
    resumed run continues the order exactly. A short last batch stays last; with several processes, accelerate fills it
    up with rows of the first batch.

    Args:
        lengths (`Sequence[int]`):
            Number of tokens of each row.
        batch_size (`int`):
            Rows of one optimizer step: rows per device, times processes, times accumulation steps.
        seed (`int`):
            Seed of the order; epoch `e` uses `seed + e`.

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
        yield from order_by_length(pools, self.lengths, self.batch_size, generator).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of `epoch`, 0 or more."""
        self.epoch = epoch


class RowStream:
    """
    An endless stream of the rows of one task: one permutation of the rows after another, cut into batches.

    Each permutation is called a cycle and is a pure function of the seed and the number of the cycle, so any part of
    the stream can be computed without the part before it. Each epoch continues where the epoch before it ended, so
    that use counts of the rows differ by at most 1.

    Args:
        size (`int`):
            Number N of rows of the task, 1 or more.
        batch_size (`int`):
            Number B of rows of the task in one optimizer step.
        seed (`Sequence[int]`):
            Seed of this stream: numbers, each 0 or more.
        lengths (`Sequence[int]`, *optional*):
            Number of tokens of each row. With `lengths`, a batch has rows of similar length.

    Example:
        >>> stream = RowStream(size=4, batch_size=2, seed=[7])
        >>> batches = stream.batches(first=1, count=4)
        >>> batches.shape, sorted(batches[1:3].flatten().tolist())  # batches 2 and 3 are the second cycle
        (torch.Size([4, 2]), [0, 1, 2, 3])
    """

    def __init__(self, size: int, batch_size: int, seed: Sequence[int], lengths: Sequence[int] | None = None) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = None if lengths is None else torch.as_tensor(lengths)

    @property
    def batches_a_cycle(self) -> int:
        """Number of batches that contain every row once; the last batch is filled up from the next cycle."""
        return -(-self.size // self.batch_size)

    def batches(self, first: int, count: int) -> torch.Tensor:
        """
        Returns consecutive batches of the stream. With `lengths`, they are sorted by length and shuffled.

        Args:
            first (`int`):
                Index of the first batch to return, from 0.
            count (`int`):
                Number of batches, 1 or more.

        Returns:
            `torch.Tensor` of shape `(count, B)`: row numbers.
        """
        start, stop = first * self.batch_size, (first + count) * self.batch_size
        cycles = range(start // self.size, (stop - 1) // self.size + 1)
        stream = torch.cat([self._permutation(cycle) for cycle in cycles])
        rows = stream[start % self.size :][: stop - start]  # (count * B,)
        if self.lengths is not None:
            generator = mixed_generator(*self.seed, 1, first)
            rows = order_by_length(self._pools(rows, start), self.lengths, self.batch_size, generator)
        return rows.view(count, self.batch_size)

    def _permutation(self, cycle: int) -> torch.Tensor:
        return torch.randperm(self.size, generator=mixed_generator(*self.seed, 0, cycle))  # (N,)

    def _pools(self, rows: torch.Tensor, start: int) -> list[torch.Tensor]:
        """Splits rows into pools within one cycle: a pool of two cycles could put a row into one batch twice."""
        first_rows = torch.arange(start, start + len(rows), self.batch_size)  # (count,)
        last_rows = first_rows + self.batch_size - 1
        cycles = first_rows // self.size + last_rows // self.size  # equal for two batches only within one cycle
        counts = cycles.unique_consecutive(return_counts=True)[1]
        stretches = rows.split((counts * self.batch_size).tolist())
        return [pool for stretch in stretches for pool in stretch.split(self.batch_size * POOL_BATCHES)]


def mixed_generator(*numbers: int) -> torch.Generator:
    """Returns a generator seeded with several numbers, each 0 or more; similar numbers give independent draws."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


class TokenBudgetBatchSampler(Sampler[list[int]]):
    """
    Cuts rows of similar length into batches of at most `max_tokens` tokens, including padding.

    The batch sizes are computed once from the sorted lengths, so every epoch has the same number of batches of the
    same sizes. Each epoch draws the order of the batches, and the distribution of rows of equal length among batches.
    The draw is a pure function of `(seed, epoch)` and of the other arguments, so a run resumed with the same arguments
    continues it exactly. With several processes, each process gets every n-th batch.

    Args:
        lengths (`Sequence[int]`):
            Number of tokens of each row; for a pair, twice the tokens of the longer sentence, because of padding.
        max_tokens (`int`):
            Maximum number of tokens of a batch.
        seed (`int`):
            Seed of the order.
        multiple_of (`int`, *optional*, defaults to 1):
            The number of batches is a multiple of this number: processes times accumulation steps. To reach a
            multiple, the batches with the most rows are halved.

    Raises:
        [`InputError`]: if a row is longer than `max_tokens`, or the number of rows is below `multiple_of`.

    Example:
        >>> sampler = TokenBudgetBatchSampler([3, 9, 3, 9, 3], max_tokens=10, seed=0)
        >>> sorted(sorted(batch) for batch in sampler)
        [[0, 2, 4], [1], [3]]
    """

    def __init__(self, lengths: Sequence[int], max_tokens: int, seed: int, *, multiple_of: int = 1) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.seed = seed
        self.epoch = 0
        longest_first = self.lengths.sort(descending=True).values.tolist()
        if longest_first[0] > max_tokens:
            raise InputError(
                f"`max_tokens_per_batch` must be {longest_first[0]} or more, the tokens of the longest row, "
                f"got {max_tokens}."
            )
        if len(longest_first) < multiple_of:
            raise InputError(f"there must be a train row for each of {multiple_of} batches, got {len(longest_first)}.")
        self.sizes = []
        start = 0
        while start < len(longest_first):
            self.sizes.append(min(max_tokens // longest_first[start], len(longest_first) - start))
            start += self.sizes[-1]
        while len(self.sizes) % multiple_of:
            largest = self.sizes.index(max(self.sizes))
            if self.sizes[largest] == 1:
                raise InputError(
                    f"`max_tokens_per_batch` makes {len(self.sizes)} batches of one row each, which must be a "
                    f"multiple of {multiple_of}, processes times accumulation steps. Change `max_tokens_per_batch` or "
                    "use fewer processes or accumulation steps."
                )
            half = self.sizes[largest] // 2
            self.sizes[largest : largest + 1] = [self.sizes[largest] - half, half]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        generator = mixed_generator(self.seed, self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)  # (N,)
        by_length = shuffled[self.lengths[shuffled].argsort(descending=True, stable=True)]
        batches = by_length.split(self.sizes)
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of `epoch`, 0 or more."""
        self.epoch = epoch
