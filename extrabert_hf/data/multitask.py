"""
Joint training on several tasks: a data set that looks rows up, and samplers that decide their order.

A sampler yields [`Item`]s, the row numbers of each task, and [`MultiTaskDataset`] returns these rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import torch
from datasets import Dataset
from torch.utils.data import Sampler

from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.data.samplers import RowStream
from extrabert_hf.errors import InputError

MODEL_COLUMNS = ("input_ids", "labels", *EXTRA_COLUMNS)

Item = dict[str, tuple[int, ...]]
"""Row numbers by task. A sampler yields items, and the data set looks up their rows."""


class MultiTaskDataset(torch.utils.data.Dataset):
    """
    The rows of several tasks. It has no state and no order: a sampler decides which rows an item has.

    The `len` of the data set is the number of rows of all tasks; the sampler decides the length of an epoch.

    Args:
        tasks (`Mapping[str, Dataset]`):
            Tokenized rows of each task, see [`tokenize_dataset`]. A column `length` becomes an entry of `lengths`.

    Example:
        >>> rows = Dataset.from_dict({"input_ids": [[5], [6, 7]], "labels": [0, 1], "length": [1, 2]})
        >>> dataset = MultiTaskDataset({"sst": rows})
        >>> dataset[{"sst": (1,)}], dataset.sizes, dataset.lengths
        ({'sst': [{'input_ids': [6, 7], 'labels': 1}]}, {'sst': 2}, {'sst': [1, 2]})
    """

    def __init__(self, tasks: Mapping[str, Dataset]) -> None:
        if not isinstance(tasks, Mapping) or not all(isinstance(rows, Dataset) for rows in tasks.values()):
            raise InputError("`tasks` must be a dict with a tokenized `Dataset` for each task, by the task's name.")
        self.sizes = {task: len(rows) for task, rows in tasks.items()}
        self.lengths = {task: rows["length"][:] for task, rows in tasks.items() if "length" in rows.column_names}
        self.tasks = {
            task: rows.select_columns([name for name in MODEL_COLUMNS if name in rows.column_names])
            for task, rows in tasks.items()
        }

    def __len__(self) -> int:
        return sum(self.sizes.values())

    def __getitem__(self, item: Item) -> dict[str, list[dict[str, Any]]]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: list[Item]) -> list[dict[str, list[dict[str, Any]]]]:
        """Looks up a batch of items for a `DataLoader`, with one look-up for each task instead of each item."""
        wanted = {task: [row for item in items for row in item.get(task, ())] for task in self.tasks}
        found = {task: iter(self.tasks[task].__getitems__(rows)) for task, rows in wanted.items() if rows}
        return [{task: list(islice(found[task], len(rows))) for task, rows in item.items()} for item in items]


class StepSampler(Sampler[Item], ABC):
    """
    Base class of the samplers of several tasks, which plan an epoch step by step.

    Every optimizer step is full, and all items of a step have the same tasks, so all processes and all accumulation
    steps work on the same tasks. The order is a pure function of `(seed, epoch)`. The rows of a task come from an
    endless [`RowStream`] that continues from epoch to epoch: use counts of a task's rows differ by at most 1.

    Args:
        sizes (`Mapping[str, int]`):
            Rows of each task, 1 or more.
        batch_size (`int`):
            Items of one optimizer step: items per device, times processes, times accumulation steps.
        seed (`int`):
            Seed of the order, 0 or more.
        examples_per_item (`Mapping[str, int]`, *optional*):
            Rows of each task in an item; 1 for a task that is not named.
        lengths (`Mapping[str, Sequence[int]]`, *optional*):
            Number of tokens of each row; the steps of a task that is named here have rows of similar length.
    """

    steps: int
    """Steps of an epoch, set by each subclass."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int,
        seed: int,
        examples_per_item: Mapping[str, int] | None,
        lengths: Mapping[str, Sequence[int]] | None,
    ) -> None:
        if not sizes:
            raise InputError("`sizes` must name at least 1 task, got none.")
        lengths = {} if lengths is None else lengths
        per_item = dict.fromkeys(sizes, 1) | dict(examples_per_item or {})
        _check_tasks("examples_per_item", per_item, sizes)
        _check_tasks("lengths", lengths, sizes)
        _check_whole("batch_size", batch_size)
        _check_whole("seed", seed, least=0)
        for task, size in sizes.items():
            _check_whole("sizes", size, task)
            _check_whole("examples_per_item", per_item[task], task)
            if task in lengths and len(lengths[task]) != size:
                raise InputError(f"`lengths` must have {size} numbers for {task!r}, got {len(lengths[task])}.")
        self.sizes = dict(sizes)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.streams = {
            task: RowStream(size, per_item[task] * batch_size, (seed, index), lengths.get(task))
            for index, (task, size) in enumerate(sizes.items())
        }

    @abstractmethod
    def counts(self, epoch: int) -> dict[str, int]:
        """Returns for each task the number of steps of `epoch` with rows of the task."""

    @abstractmethod
    def tasks_of_steps(self, epoch: int) -> list[tuple[str, ...]]:
        """Returns the tasks of each step of `epoch`."""

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[Item]:
        earlier = [self.counts(epoch) for epoch in range(self.epoch)]
        batches = {
            task: iter(self.streams[task].batches(first=sum(counts[task] for counts in earlier), count=count))
            for task, count in self.counts(self.epoch).items()
            if count
        }
        for tasks in self.tasks_of_steps(self.epoch):
            rows = {task: next(batches[task]).view(self.batch_size, -1).tolist() for task in tasks}  # (B, per item)
            for index in range(self.batch_size):
                yield {task: tuple(rows[task][index]) for task in tasks}

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of `epoch`, 0 or more."""
        self.epoch = epoch

    def _steps_of(self, epoch_length: str | int, **by_word: int) -> int:
        if epoch_length in by_word:
            return by_word[epoch_length]
        if not isinstance(epoch_length, int) or epoch_length < 1:
            words = ", ".join(repr(word) for word in by_word)
            raise InputError(f"`epoch_length` must be {words} or a number of steps, 1 or more, got {epoch_length!r}.")
        return epoch_length


class MultiTaskSampler(StepSampler):
    """
    Yields items with rows of every task, so that each step trains on all tasks.

    Args:
        sizes, batch_size, seed, examples_per_item, lengths:
            See [`StepSampler`].
        epoch_length (`str` or `int`, *optional*, defaults to `"longest"`):
            Steps of an epoch: `"longest"` is the number of steps that use every row of the longest task once, so that
            `e` epochs use every row of every task at least `e` times; `"shortest"` is the same for the shortest task;
            an `int` is the number of steps, 1 or more.

    Example:
        >>> list(MultiTaskSampler({"sst": 2, "sts": 1}, batch_size=1, seed=0))
        [{'sst': (0,), 'sts': (0,)}, {'sst': (1,), 'sts': (0,)}]
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int,
        seed: int,
        *,
        epoch_length: Literal["longest", "shortest"] | int = "longest",
        examples_per_item: Mapping[str, int] | None = None,
        lengths: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__(sizes, batch_size, seed, examples_per_item, lengths)
        needed = [stream.batches_a_cycle for stream in self.streams.values()]
        self.steps = self._steps_of(epoch_length, longest=max(needed), shortest=min(needed))

    def counts(self, epoch: int) -> dict[str, int]:
        """Returns all steps for each task."""
        return dict.fromkeys(self.sizes, self.steps)

    def tasks_of_steps(self, epoch: int) -> list[tuple[str, ...]]:
        """Returns all tasks for each step."""
        return [tuple(self.sizes)] * self.steps


def _check_tasks(argument: str, named: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    unknown = [task for task in named if task not in sizes]
    if unknown:
        raise InputError(f"`{argument}` must name tasks of {', '.join(sizes)}, got {', '.join(unknown)}.")


def _check_whole(argument: str, number: int, task: str | None = None, least: int = 1) -> None:
    if not isinstance(number, int) or number < least:
        of_task = "" if task is None else f" for {task!r}"
        raise InputError(f"`{argument}` must be a whole number, {least} or more, got {number!r}{of_task}.")
