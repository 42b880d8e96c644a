"""How far the tasks of a multitask run pull against each other: recorded, read and summed up."""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

CONFLICTS_FILE = "gradient_conflicts.csv"
COLUMNS = ("step", "first", "second", "cosine")

Conflict = tuple[int, str, str, float]
"""An optimizer step, two tasks, and the cosine of their gradients of the encoder."""


def summarize_conflicts(rows: Sequence[Conflict]) -> dict[str, Any]:
    """
    Sums up the noted steps.

    Args:
        rows (`Sequence[Conflict]`):
            The steps.

    Returns:
        `dict`: `steps` with at least one pair; `conflicting_steps`, the share of them, 0 to 1, at which some pair's
        cosine is below 0 (`None` without a step); `pairs`, by `"first_second"` the `mean_cosine`, -1 to 1, and the
        `conflicting_steps` of that pair.
    """
    pairs: dict[str, list[float]] = {}
    worst: dict[int, float] = {}
    for step, first, second, cosine in rows:
        pairs.setdefault(f"{first}_{second}", []).append(cosine)
        worst[step] = min(cosine, worst.get(step, 1.0))
    return {
        "steps": len(worst),
        "conflicting_steps": _share_below_zero(list(worst.values())),
        "pairs": {
            pair: {"mean_cosine": sum(cosines) / len(cosines), "conflicting_steps": _share_below_zero(cosines)}
            for pair, cosines in pairs.items()
        },
    }


def read_conflicts(path: Path) -> list[Conflict]:
    """Reads a run's file, if it has one; a last line cut short by a kill is left out, its step is run again."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = file.read().split("\n")
    rows = csv.reader(lines[1:-1])  # what follows the last line break is empty, or cut short
    return [(int(step), first, second, float(cosine)) for step, first, second, cosine in rows]


def _share_below_zero(values: Sequence[float]) -> float | None:
    return sum(value < 0 for value in values) / len(values) if values else None


class GradientConflicts(TrainerCallback):
    """
    Notes the cosine between each two tasks' gradients, at each optimizer step at which both were trained.

    Every step is a line of a file, so that a run that is killed and resumed has each step once.

    Args:
        path (`Path`):
            The file, csv with the columns `step`, `first`, `second`, `cosine`; written by the first process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = False
        self.rows: list[Conflict] = []
        self._window_start = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes up what an interrupted run has noted up to the step it goes on from."""
        self.writes = state.is_world_process_zero
        self.rows = []
        if state.global_step > 0:
            self.rows = [row for row in read_conflicts(self.path) if row[0] <= state.global_step]
        self._window_start = len(self.rows)
        if self.writes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([COLUMNS, *self.rows])

    def add(self, step: int, tasks: Sequence[str], gram: torch.Tensor) -> None:
        """
        Notes one optimizer step.

        Args:
            step (`int`):
                Number of the step, from 1.
            tasks (`Sequence[str]`):
                The `T` tasks of the step.
            gram (`torch.Tensor` of shape `(T, T)`):
                Dot products of their gradients. A pair with a gradient that is 0 or not finite has no cosine and is
                not noted.
        """
        norms = gram.diagonal().sqrt().tolist()
        added = []
        for i, j in itertools.combinations(range(len(tasks)), 2):
            length = norms[i] * norms[j]
            if 0 < length < math.inf:
                added.append((step, tasks[i], tasks[j], gram[i, j].item() / length))
        self.rows += added
        if self.writes and added:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(added)

    def window(self) -> dict[str, float]:
        """Gives the [`summarize_conflicts`] of the steps since the last call, flat, for a log line."""
        rows = self.rows[self._window_start :]
        self._window_start = len(self.rows)
        summary = summarize_conflicts(rows)
        cosines = {f"cosine_{pair}": entry["mean_cosine"] for pair, entry in summary["pairs"].items()}
        return {**cosines, "conflicting_steps": summary["conflicting_steps"]} if rows else {}
