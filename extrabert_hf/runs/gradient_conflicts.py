"""Conflicts between the gradients of a multitask run's tasks: recorded at each step, read and summarized."""

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.files import atomic_path


class Conflict(NamedTuple):
    """
    The gradients of two tasks at one step. The fields are the columns of the csv file.

    Args:
        step (`int`):
            Optimizer step, from 1.
        first, second (`str`):
            Names of the tasks.
        cosine (`float`):
            Cosine of their gradients of the encoder, -1 to 1.
    """

    step: int
    first: str
    second: str
    cosine: float


@dataclass(frozen=True)
class PairConflicts:
    """
    Conflicts between the gradients of two tasks.

    Args:
        mean_cosine (`float`):
            Mean cosine of the two gradients over the steps, -1 to 1.
        conflicting_steps (`float`):
            Share of the pair's steps with a cosine below 0, 0 to 1.
    """

    mean_cosine: float
    conflicting_steps: float


@dataclass(frozen=True)
class ConflictSummary:
    """
    Conflicts between the gradients of all tasks.

    Args:
        steps (`int`):
            Number of steps with at least one pair of tasks.
        conflicting_steps (`float`, *optional*):
            Share of these steps at which the cosine of at least one pair is below 0, 0 to 1; `None` without a step.
        pairs (`dict[str, PairConflicts]`):
            By `"first_second"`, the names of two tasks.
    """

    steps: int
    conflicting_steps: float | None
    pairs: dict[str, PairConflicts]

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "ConflictSummary":
        """Reads the JSON form."""
        return cls(**{**record, "pairs": {pair: PairConflicts(**entry) for pair, entry in record["pairs"].items()}})

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)


def summarize_conflicts(rows: Sequence[Conflict]) -> ConflictSummary:
    """
    Summarizes the recorded steps.

    Args:
        rows (`Sequence[Conflict]`):
            One row per step and pair of tasks.
    """
    pairs: dict[str, list[float]] = {}
    lowest: dict[int, float] = {}
    for step, first, second, cosine in rows:
        pairs.setdefault(f"{first}_{second}", []).append(cosine)
        lowest[step] = min(cosine, lowest.get(step, 1.0))
    return ConflictSummary(
        steps=len(lowest),
        conflicting_steps=_share_below_zero(list(lowest.values())),
        pairs={
            pair: PairConflicts(sum(cosines) / len(cosines), _share_below_zero(cosines))
            for pair, cosines in pairs.items()
        },
    )


def read_conflicts(path: Path) -> list[Conflict]:
    """
    Reads the recorded steps; returns an empty list if the file does not exist.

    A last line without a line break is incomplete, because the run was killed. The line is ignored: a resumed run
    repeats the step.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = file.read().split("\n")
    rows = csv.reader(lines[1:-1])  # the text after the last line break is empty or cut short
    return [Conflict(int(step), first, second, float(cosine)) for step, first, second, cosine in rows]


def _share_below_zero(values: Sequence[float]) -> float | None:
    return sum(value < 0 for value in values) / len(values) if values else None


class GradientConflicts(TrainerCallback):
    """
    Records the cosine of the gradients of every two tasks, at each optimizer step that trains both tasks.

    Each step is appended to a file. If a run is killed and resumed, the file has each step only once.

    Args:
        path (`Path`):
            The csv file with the columns `step`, `first`, `second` and `cosine`. Only the first process writes the
            file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = False
        self.rows: list[Conflict] = []
        self._window_start = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Reads the steps that an interrupted run has recorded before the checkpoint it resumes from."""
        self.writes = state.is_world_process_zero
        self.rows = []
        if state.global_step > 0:
            self.rows = [row for row in read_conflicts(self.path) if row.step <= state.global_step]
        self._window_start = len(self.rows)
        if self.writes:
            with atomic_path(self.path) as path, path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([Conflict._fields, *self.rows])

    def add(self, step: int, tasks: Sequence[str], gram: torch.Tensor) -> None:
        """
        Records one optimizer step.

        Args:
            step (`int`):
                Number of the step, from 1.
            tasks (`Sequence[str]`):
                The `T` tasks of the step.
            gram (`torch.Tensor` of shape `(T, T)`):
                Dot products of the tasks' gradients. A pair with a gradient that is 0 or not finite has no cosine and
                is not recorded.
        """
        norms = gram.diagonal().sqrt().tolist()
        added = []
        for i, j in itertools.combinations(range(len(tasks)), 2):
            length = norms[i] * norms[j]
            if 0 < length < math.inf:
                added.append(Conflict(step, tasks[i], tasks[j], gram[i, j].item() / length))
        self.rows += added
        if self.writes and added:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(added)

    def window(self) -> dict[str, float]:
        """Returns mean cosines and the share of conflicting steps since the last call, for a log line."""
        rows = self.rows[self._window_start :]
        self._window_start = len(self.rows)
        summary = summarize_conflicts(rows)
        cosines = {f"cosine_{pair}": entry.mean_cosine for pair, entry in summary.pairs.items()}
        return {**cosines, "conflicting_steps": summary.conflicting_steps} if rows else {}
