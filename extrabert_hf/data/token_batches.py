"""Batches by tokens in place of rows: many short rows, or few long ones."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from extrabert_hf.data.samplers import mixed_generator
from extrabert_hf.errors import InputError


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
