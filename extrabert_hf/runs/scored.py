"""Predictions of finished runs, written and read as files, and the results of several runs of one setting."""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from extrabert_hf.data.delimited import FIELD_LIMIT
from extrabert_hf.errors import InputError, one_line, shorten
from extrabert_hf.evaluation.bootstrap import mean_interval
from extrabert_hf.evaluation.formulas import Formula
from extrabert_hf.evaluation.metrics import FORMULAS, allowed_labels, checked_rows
from extrabert_hf.files import atomic_path
from extrabert_hf.inference.prediction_columns import prediction_cells, prediction_columns
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import TaskSpec

EARLIER_COLUMNS = ["id", "label", "prediction"]
"""Former header of a scored file, with class ids or scores. [`read_run`] still reads such files."""

BREAKS_SUBMISSION = re.compile(r'[,"]|[^\S ]|^ | $')
"""What an id in a submission file must be quoted for: a comma, a quote, a line end, a blank at an end."""


def write_submission(path: Path, task: TaskSpec, ids: Iterable[str], predictions: np.ndarray) -> None:
    """
    Writes predictions in the CS224N submission format: the course's header, then one `id , prediction` per line.

    An id with a comma, a quote or white space, which no file of the course has, is quoted as in csv.

    Args:
        path (`Path`):
            The file to write. A missing folder is created.
        task ([`TaskSpec`]):
            The task; `course_header` names the second column.
        ids (`Iterable[str]`):
            Ids of the N rows.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(f"id \t {task.course_header} \n")
        for row_id, value in zip(ids, predictions.tolist(), strict=True):
            quoted = '"' + row_id.replace('"', '""') + '"' if BREAKS_SUBMISSION.search(row_id) else row_id
            file.write(f"{quoted} , {value} \n")


def write_scored(path: Path, predictions: Predictions) -> None:
    """
    Writes predictions for labelled rows as csv; [`read_run`] reads the file.

    The columns are `id`, `line` (in the file of the rows), `true_class` (the name) or `true_score`, and those of
    [`prediction_columns`].
    """
    task = predictions.task
    labels = predictions.labels.tolist()
    if not task.is_regression:
        labels = [task.class_names[label] for label in labels]
    rows = zip(predictions.ids, predictions.lines, labels, prediction_cells(predictions), strict=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(scored_columns(task))
        writer.writerows((row_id, line, label, *cells) for row_id, line, label, cells in rows)


def scored_columns(task: TaskSpec) -> list[str]:
    """Returns the header of a scored file."""
    return ["id", "line", "true_score" if task.is_regression else "true_class", *prediction_columns(task)]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """
    The predictions of a finished run for the labelled rows of one task.

    Args:
        seed (`int`):
            Seed of the run.
        file (`Path`):
            The file of the predictions.
        ids (`tuple[str, ...]`):
            Ids of the N rows, in the order of the file.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids, or scores for a regression.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids, or scores for a regression.
        majority_baseline (`float`, *optional*):
            The main metric of the most frequent training class; `None` if the metric has no baseline.
        confidences (`np.ndarray` of shape `(N,)`, *optional*):
            Probability of each row's predicted class, 0 to 1, with the digits of the file; `None` for scores and for
            a file of version 0.1.
    """

    seed: int
    file: Path
    ids: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    majority_baseline: float | None
    confidences: np.ndarray | None = None

    def has_rows(self, ids: Sequence[str], labels: np.ndarray) -> bool:
        """Whether the run has exactly these ids and labels, in this order."""
        return self.ids == tuple(ids) and np.array_equal(self.labels, labels)


@dataclass(frozen=True, eq=False)
class TaskResults:
    """
    The results of one setting on one task: one or more runs with different seeds, scored on the same rows.

    Args:
        task ([`TaskSpec`]):
            The task; `metric` names the main metric.
        runs (`tuple[ScoredRun, ...]`):
            One or more runs.
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
        """Labels of the rows, of shape `(N,)`."""
        return self.runs[0].labels

    @cached_property
    def predictions(self) -> np.ndarray:
        """Predictions of shape `(runs, N)`."""
        return np.stack([run.predictions for run in self.runs])

    @cached_property
    def confidences(self) -> np.ndarray:
        """
        Probabilities of the predicted classes, of shape `(runs, N)`.

        Raises:
            [`InputError`]: if a file has none.
        """
        for run in self.runs:
            if run.confidences is None:
                raise InputError(
                    f"`coverage` needs the probabilities of the predictions, but {run.file} has none: version 0.1 "
                    "wrote it. Train the run again."
                )
        return np.stack([run.confidences for run in self.runs])

    @property
    def formula(self) -> Formula:
        """The main metric. A correlation with constant predictions is 0.0."""
        return FORMULAS[self.task.metric]

    @cached_property
    def scores(self) -> np.ndarray:
        """Score of each run, of shape `(runs,)`."""
        return np.array([self.formula(predictions, self.labels, None) for predictions in self.predictions])

    @property
    def mean(self) -> float:
        """Mean score over the seeds."""
        return float(self.scores.mean())

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds; `None` for one seed."""
        return float(self.scores.std(ddof=1)) if len(self.runs) > 1 else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean score over the rows."""
        return mean_interval(self.formula, self.predictions, self.labels)

    @property
    def majority_baseline(self) -> float | None:
        """The main metric of the most frequent training class; `None` if the metric has no baseline."""
        return self.runs[0].majority_baseline


def read_run(folder: RunFolder, task: TaskSpec, seed: int, split: str = "dev") -> ScoredRun:
    """
    Reads the predictions of a finished run for a task.

    Args:
        folder ([`RunFolder`]):
            Folder of the run.
        task ([`TaskSpec`]):
            The task.
        seed (`int`):
            Seed of the run.
        split (`str`, defaults to `"dev"`):
            A labelled split.

    Raises:
        [`InputError`]: if the run has no scores of the task, or a file is broken.
    """
    metrics = folder.read_metrics()
    if task.name not in metrics.tasks or split not in metrics.tasks[task.name].scores:
        held = {name: list(entry.scores) for name, entry in metrics.tasks.items()}
        raise InputError(f"{folder.metrics_file} must hold the {split} scores of {task.name}, got {held}.")
    baseline = metrics.tasks[task.name].scores[split].majority_baseline or {}
    file = folder.scored_file(task.name, split)
    try:
        ids, labels, predictions, confidences = _read_scored(file, task)
    except (OSError, ValueError, csv.Error) as error:
        header = ",".join(scored_columns(task)[:4])
        raise InputError(f"{file} must hold `{header},...`, one row a line, got: {one_line(error)}.") from error
    names = (f"prediction of {file}", f"label of {file}")
    predictions, labels = checked_rows(predictions, labels, **allowed_labels(task), names=names)
    return ScoredRun(seed, file, ids, labels, predictions, baseline.get(task.metric), confidences)


def _read_scored(file: Path, task: TaskSpec) -> tuple[tuple[str, ...], list[float], list[float], np.ndarray | None]:
    """Returns ids, labels, predictions and confidences of a scored file, also of an earlier version."""
    csv.field_size_limit(FIELD_LIMIT)
    with file.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    confidences = None
    if header == EARLIER_COLUMNS:
        read: Callable[[str], float] = float if task.is_regression else int
        ids, labels, predictions = zip(*rows, strict=True)
    elif header == scored_columns(task):
        read = float if task.is_regression else task.class_names.index
        ids, _, labels, predictions, *columns = zip(*rows, strict=True)
        if not task.is_regression:
            probabilities = np.array(columns[1:], dtype=np.float64)  # (C, N), after the ids of the classes
            confidences = probabilities.max(axis=0)
            if not ((confidences >= 0) & (confidences <= 1)).all():
                raise ValueError("probabilities that are not from 0 to 1")
    else:
        raise ValueError(f"header {shorten(str(header))}")
    return ids, list(map(read, labels)), list(map(read, predictions)), confidences


def check_same_rows(first: ScoredRun, second: ScoredRun) -> None:
    """Raises [`InputError`] if the rows of two runs differ in an id, a label or the order."""
    if not first.has_rows(second.ids, second.labels):
        raise InputError(
            f"Runs that are compared must have the same ids and labels in the same order, got others in {second.file} "
            f"than in {first.file}."
        )
