"""Mixes tasks by step: each step trains on one task, and each task gets a share of the steps of an epoch."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from extrabert_hf.data.multitask import StepSampler
from extrabert_hf.data.samplers import mixed_generator
from extrabert_hf.errors import InputError

logger = logging.getLogger(__name__)

Mixing = Literal["proportional", "temperature", "annealed"] | Mapping[str, float]


def task_shares(
    sizes: Mapping[str, int], mixing: Mixing, temperature: float = 2.0, epoch: int = 0, num_epochs: int = 1
) -> dict[str, float]:
    """
    Computes the share of each task in the steps of an epoch: proportional to `n^alpha` for a task with `n` rows, or
    proportional to given weights.

    `"proportional"` has `alpha = 1`. `"temperature"` has `alpha = 1 / T`, the temperature-scaled mixing of Raffel et
    al. (2020), https://arxiv.org/abs/1910.10683, Section 3.5.2. `"annealed"` has `alpha = 1 - 0.8 (e - 1) / (E - 1)`,
    which decreases from 1 in the first epoch to 0.2 in the last and is 0.2 in later epochs, the annealed sampling of
    Stickland and Murray (2019), https://arxiv.org/abs/1902.02671.

    Args:
        sizes (`Mapping[str, int]`):
            Rows of each task, 1 or more.
        mixing (`str` or `Mapping[str, float]`):
            `"proportional"`, `"temperature"`, `"annealed"`, or a weight for each task, 0 or more.
        temperature (`float`, *optional*, defaults to 2.0):
            `T` of `"temperature"`, above 0: 1 gives proportional shares, a large value nearly equal shares.
        epoch (`int`, *optional*, defaults to 0):
            `e - 1` of `"annealed"`, 0 or more.
        num_epochs (`int`, *optional*, defaults to 1):
            `E` of `"annealed"`, 1 or more.

    Returns:
        `dict[str, float]`: the share of each task, 0 to 1, in the order of `sizes`; the shares sum to 1.

    Example:
        >>> task_shares({"sst": 100, "para": 900}, "temperature", temperature=2.0)
        {'sst': 0.25, 'para': 0.75}
    """
    if not temperature > 0:
        raise InputError(f"`temperature` must be above 0, got {temperature}.")
    if num_epochs < 1:
        raise InputError(f"`num_epochs` must be 1 or more, got {num_epochs}.")
    if isinstance(mixing, Mapping):
        weights = _checked_weights(mixing, sizes)
    else:
        alphas = {
            "proportional": 1.0,
            "temperature": 1.0 / temperature,
            "annealed": 1.0 - 0.8 * min(epoch / max(num_epochs - 1, 1), 1.0),
        }
        if mixing not in alphas:
            words = ", ".join(repr(word) for word in alphas)
            raise InputError(f"`mixing` must be one of {words} or a weight for each task, got {mixing!r}.")
        largest = max(sizes.values())  # sizes relative to the largest keep the powers within 0 to 1
        weights = {task: (size / largest) ** alphas[mixing] for task, size in sizes.items()}
    total = sum(weights.values())
    return {task: weight / total for task, weight in weights.items()}


def task_counts(shares: Mapping[str, float], steps: int) -> dict[str, int]:
    """
    Converts shares into whole numbers of steps by the largest remainder method.

    Each task gets its quota rounded down, and the tasks with the largest remainders get one more. If remainders are
    equal, the task that is named first gets the step.

    Args:
        shares (`Mapping[str, float]`):
            The share of each task; the shares sum to 1.
        steps (`int`):
            Number of all steps, 0 or more.

    Returns:
        `dict[str, int]`: the steps of each task, in the order of `shares`; the sum is `steps`.

    Example:
        >>> task_counts({"sst": 0.25, "para": 0.6, "sts": 0.15}, steps=6)
        {'sst': 1, 'para': 4, 'sts': 1}
    """
    counts = {task: math.floor(share * steps) for task, share in shares.items()}
    # rounding removes differences by floating-point error; the sort keeps the order of equal remainders
    remainders = {task: round(share * steps - counts[task], 9) for task, share in shares.items()}
    by_remainder = sorted(remainders, key=remainders.__getitem__, reverse=True)
    for task in by_remainder[: steps - sum(counts.values())]:
        counts[task] += 1
    return counts


class MixingSampler(StepSampler):
    """
    Yields items with rows of one task; [`task_shares`] decides how many steps each task gets.

    Args:
        sizes, batch_size, seed, examples_per_item, lengths:
            See [`StepSampler`].
        mixing, temperature, num_epochs:
            See [`task_shares`].
        epoch_length (`str` or `int`, *optional*, defaults to `"total"`):
            Steps of an epoch: `"total"` is the sum over all tasks of the steps that use every row of the task once; an
            `int` is the number of steps, 1 or more.

    Example:
        >>> list(MixingSampler({"sst": 2, "sts": 1}, batch_size=1, seed=0, mixing="proportional"))
        [{'sts': (0,)}, {'sst': (0,)}, {'sst': (1,)}]
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int,
        seed: int,
        *,
        mixing: Mixing,
        temperature: float = 2.0,
        num_epochs: int = 1,
        epoch_length: Literal["total"] | int = "total",
        examples_per_item: Mapping[str, int] | None = None,
        lengths: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(sizes, batch_size, seed, examples_per_item, lengths)
        self.mixing = mixing
        self.temperature = temperature
        self.num_epochs = num_epochs
        self.steps = self._steps_of(epoch_length, total=sum(s.batches_a_cycle for s in self.streams.values()))
        idle = [task for task, count in self.counts(epoch=0).items() if count == 0]
        if idle:
            text = "none of the %d steps of the first epoch trains on %s: the share is too small"
            logger.warning(text, self.steps, idle)

    def counts(self, epoch: int) -> dict[str, int]:
        """Returns the steps of each task, by its share."""
        shares = task_shares(self.sizes, self.mixing, self.temperature, epoch, self.num_epochs)
        return task_counts(shares, self.steps)

    def tasks_of_steps(self, epoch: int) -> list[tuple[str, ...]]:
        """Returns one task for each step, in random order."""
        turns = [(task,) for task, count in self.counts(epoch).items() for _ in range(count)]
        generator = mixed_generator(self.seed, len(self.streams), epoch)  # a seed that no stream uses
        return [turns[index] for index in torch.randperm(self.steps, generator=generator).tolist()]


def _checked_weights(weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    if set(weights) != set(sizes):
        named = ", ".join(weights) or "none"
        raise InputError(f"`mixing` must weigh exactly the tasks {', '.join(sizes)}, got {named}.")
    for task, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"`mixing` must have weights of 0 or more, got {weight} for {task!r}.")
    if not any(weights.values()):
        raise InputError(f"`mixing` must have a weight above 0, got {dict(weights)}.")
    return {task: weights[task] for task in sizes}
