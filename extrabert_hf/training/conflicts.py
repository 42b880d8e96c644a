"""How far the tasks of a multitask run pull against each other, step by step."""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.evaluation.conflicts import COLUMNS, Conflict, read_conflicts, summarize_conflicts


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
