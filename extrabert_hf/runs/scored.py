"""What finished runs have answered to one task's rows, read from their folders; one setting's runs as one side."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import mean_interval
from extrabert_hf.evaluation.formulas import Formula
from extrabert_hf.evaluation.metrics import FORMULAS, allowed_labels, checked_rows
from extrabert_hf.tasks import TaskSpec


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """
    What one finished run answered on one task's rows.

    Args:
        seed (`int`):
            The run's.
        file (`Path`):
            Where the answers stand.
        ids (`tuple[str, ...]`):
            The N rows, in the file's order.
        labels (`np.ndarray` of shape `(N,)`):
            What the predictions should be.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids, or scores where the task is a regression.
        majority_baseline (`float`, *optional*):
            The main metric of the most frequent training class; `None` where the metric has none.
    """

    seed: int
    file: Path
    ids: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    majority_baseline: float | None

    def has_rows(self, ids: Sequence[str], labels: np.ndarray) -> bool:
        """Whether these are the rows that were answered, in the same order."""
        return self.ids == tuple(ids) and np.array_equal(self.labels, labels)


@dataclass(frozen=True, eq=False)
class TaskResults:
    """
    Runs of one setting on one task, all on the same rows, judged by the task's main metric.

    Args:
        task ([`TaskSpec`]):
            Names the metric.
        runs (`tuple[ScoredRun, ...]`):
            One or more, by seed.
    """

    task: TaskSpec
    runs: tuple[ScoredRun, ...]

    def __post_init__(self) -> None:
        for run in self.runs[1:]:
            check_same_rows(self.runs[0], run)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs."""
        return tuple(run.seed for run in self.runs)

    @property
    def labels(self) -> np.ndarray:
        """Labels of the dev rows, `(N,)`."""
        return self.runs[0].labels

    @cached_property
    def predictions(self) -> np.ndarray:
        """Predictions `(runs, N)`."""
        return np.stack([run.predictions for run in self.runs])

    @property
    def formula(self) -> Formula:
        """The main metric; 0.0 for a correlation with constant predictions, as everywhere."""
        return FORMULAS[self.task.metric]

    @cached_property
    def scores(self) -> np.ndarray:
        """Score of each run, `(runs,)`."""
        return np.array([self.formula(predictions, self.labels, None) for predictions in self.predictions])

    @property
    def mean(self) -> float:
        """Mean score over the seeds."""
        return float(self.scores.mean())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds; one seed has none."""
        return float(self.scores.std(ddof=1)) if len(self.runs) > 1 else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean score, over the dev rows."""
        return mean_interval(self.formula, self.predictions, self.labels)

    @property
    def majority_baseline(self) -> float | None:
        """The main metric of the most frequent training class."""
        return self.runs[0].majority_baseline


def read_run(folder: Path, task: TaskSpec, seed: int) -> ScoredRun:
    """
    Reads a finished run's answers to one task: `scored/<task>-dev.csv`, and the baseline from `metrics.json`.

    Args:
        folder (`Path`):
            The run's.
        task ([`TaskSpec`]):
            Which task.
        seed (`int`):
            The run's.
    """
    metrics_file, scored_file = folder / "metrics.json", folder / "scored" / f"{task.name}-dev.csv"
    try:
        metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
        baseline = metrics["tasks"][task.name]["scores"]["dev"]["majority_baseline"] or {}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{metrics_file} must hold the dev scores of {task.name}, got {error!r}.") from error
    number = float if task.is_regression else int
    try:
        with scored_file.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        ids, labels, predictions = zip(*rows, strict=True)
        if header != ["id", "label", "prediction"]:
            raise ValueError(f"header {header}")
        labels, predictions = [number(label) for label in labels], [number(answer) for answer in predictions]
    except (OSError, ValueError) as error:
        raise InputError(f"{scored_file} must hold `id,label,prediction`, one row a line, got: {error}.") from error
    names = (f"prediction of {scored_file}", f"label of {scored_file}")
    predictions, labels = checked_rows(predictions, labels, **allowed_labels(task), names=names)
    return ScoredRun(seed, scored_file, ids, labels, predictions, baseline.get(task.metric))


def check_same_rows(first: ScoredRun, second: ScoredRun) -> None:
    """Refuses two runs whose dev rows differ in an id, a label or their order."""
    if not first.has_rows(second.ids, second.labels):
        raise InputError(
            f"Runs that are compared must have the same ids and labels in the same order, got others in {second.file} "
            f"than in {first.file}."
        )
