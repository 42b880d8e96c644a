"""Batches by tokens in place of rows: many short rows, or few long ones."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from extrabert_hf.errors import InputError

POOL_BATCHES = 50
"""Batches drawn at random before they are sorted by length: enough for little padding, few enough to keep mixing."""


def order_by_length(
    pools: Iterable[torch.Tensor], lengths: torch.Tensor, batch_size: int, generator: torch.Generator
) -> torch.Tensor:
    """
    Sorts each pool of rows by length, cuts the whole into batches and shuffles these; a short last one stays last.

    Args:
        pools (`Iterable[torch.Tensor]`):
            Rows in random order, each pool of shape `(rows,)`; all but the last of a multiple of `batch_size` rows.
        lengths (`torch.Tensor` of shape `(N,)`):
            Tokens of each row.
        batch_size (`int`):
            Rows of a batch.
        generator (`torch.Generator`):
            Draws the order of the batches.

    Returns:
        `torch.Tensor` of shape `(rows of all pools,)`: the same rows, batch after batch, the longest of a batch first.
    """
    by_length = torch.cat([pool[lengths[pool].argsort(descending=True, stable=True)] for pool in pools])
    full = len(by_length) // batch_size * batch_size
    batches = by_length[:full].view(-1, batch_size)  # (rows // B, B)
    shuffled = batches[torch.randperm(len(batches), generator=generator)]
    return torch.cat([shuffled.flatten(), by_length[full:]])


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
        yield from order_by_length(pools, self.lengths, self.batch_size, generator).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Turns to the order of `epoch`, 0 or more."""
        self.epoch = epoch


class RowStream:
    """
    The endless order of one task's rows: one permutation of them after another, cut into batches.

    Each permutation, a cycle, is a pure function of the seed and its number, so any stretch of the stream can be had
    without what comes before. Epochs take stretch after stretch: in the long run every row comes equally often.

    Args:
        size (`int`):
            Rows N of the task, 1 or more.
        batch_size (`int`):
            Rows B of the task in one optimizer step.
        seed (`Sequence[int]`):
            Numbers, each 0 or more, that tell this stream from others.
        lengths (`Sequence[int]`, *optional*):
            Tokens of each row. With them batches hold rows of like length.

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
        """Batches it takes to see every row, the last one filled up from the next cycle."""
        return -(-self.size // self.batch_size)

    def batches(self, first: int, count: int) -> torch.Tensor:
        """
        Gives a stretch of the stream; with lengths, its batches are shuffled within it.

        Args:
            first (`int`):
                Number of batches that came before.
            count (`int`):
                Batches to give, 1 or more.

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
        """Pools never join two cycles: sorting by length would put a row beside its own copy."""
        first_rows = torch.arange(start, start + len(rows), self.batch_size)  # (count,)
        last_rows = first_rows + self.batch_size - 1
        cycles = first_rows // self.size + last_rows // self.size  # alike for batches within one cycle only
        counts = cycles.unique_consecutive(return_counts=True)[1]
        stretches = rows.split((counts * self.batch_size).tolist())
        return [pool for stretch in stretches for pool in stretch.split(self.batch_size * POOL_BATCHES)]


def mixed_generator(*numbers: int) -> torch.Generator:
    """Makes a generator whose seed mixes several numbers, each 0 or more: near ones too give unrelated draws."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


class TokenBudgetBatchSampler(Sampler[list[int]]):
    """
    Cuts rows of like length into batches of at most so many tokens, the padding of the shorter ones counted.

    The rows are sorted by length and cut once, so every epoch has as many batches, of the same sizes. Which of the
    rows of one length stand in which batch, and the order of the batches, is drawn in each epoch: a pure function of
    `(seed, epoch)` and of the arguments below, exact on resume with the same ones. Several processes take turns at
    the batches.

    Args:
        lengths (`Sequence[int]`):
            Tokens of each row, padded as its batch pads it: of a pair, twice those of the longer sentence.
        max_tokens (`int`):
            Most tokens of a batch.
        seed (`int`):
            Start of the order.
        multiple_of (`int`, defaults to 1):
            Of what the number of batches is a multiple: the processes, times accumulation steps. The batches of most
            rows are halved until it is.

    Raises:
        [`InputError`]: if a row is longer than `max_tokens`, or there are fewer rows than `multiple_of`.

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
                    f"multiple of {multiple_of}, processes times accumulation steps: other tokens, or fewer of these."
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
        """Turns to the order of `epoch`, 0 or more."""
        self.epoch = epoch
