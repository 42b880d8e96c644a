"""Scores of predictions: metrics, confidence intervals and the majority baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from extrabert_hf.errors import printable
from extrabert_hf.evaluation.bootstrap import bootstrap_intervals
from extrabert_hf.evaluation.metrics import (
    CORRELATIONS,
    ERRORS,
    FORMULAS,
    allowed_labels,
    checked_column,
    checked_rows,
    compute_metrics,
    metric_names,
)
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.terminal import in_columns

SCORE_WIDTHS = (30, 6, 16)
"""Least widths of the first columns of [`score_table`], so that most tables of a run have the same."""


@dataclass(frozen=True)
class SplitScores:
    """
    The scores of a task's predictions on one split.

    Args:
        rows (`int`):
            Number of scored rows.
        metrics (`dict[str, float]`):
            Value of each metric by its name, see [`metric_names`].
        intervals (`dict[str, tuple[float, float]]`):
            95 % interval `(low, high)` of each metric over the rows, see [`bootstrap_intervals`].
        majority_baseline (`dict[str, float]`, *optional*):
            The same metrics of a constant prediction, see [`majority_baseline`]; `None` without training labels.
    """

    rows: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    majority_baseline: dict[str, float] | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "SplitScores":
        """Reads the JSON form that `dataclasses.asdict` writes, in which an interval is a list."""
        fields: dict[str, Any] = {**record}
        fields["intervals"] = {name: tuple(pair) for name, pair in record["intervals"].items()}
        return cls(**fields)


def majority_baseline(task: TaskSpec, train_labels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """
    Metrics of the best constant prediction: the most frequent training class, or the mean training score.

    Args:
        task ([`TaskSpec`]):
            The task. A regression has only `"mse"`, since a constant has no correlation.
        train_labels (`np.ndarray` of shape `(M,)`):
            Labels of the training rows. If several classes are equally frequent, the lowest id is predicted.
        labels (`np.ndarray` of shape `(N,)`):
            Labels of the scored rows.

    Returns:
        `dict[str, float]`: value of each metric by its name.
    """
    train_labels = checked_column("train_labels", train_labels, **allowed_labels(task))
    labels = checked_column("labels", labels, **allowed_labels(task))
    constant = train_labels.mean() if task.is_regression else np.bincount(train_labels).argmax()
    predictions = np.full(len(labels), constant)
    names = ("mse",) if task.is_regression else metric_names(task)
    return {name: float(FORMULAS[name](predictions, labels, None)) for name in names}


def score(
    task: TaskSpec,
    predictions: np.ndarray,
    labels: np.ndarray,
    train_labels: np.ndarray | None = None,
    seed: int = 0,
) -> SplitScores:
    """
    Scores the predictions of a task.

    Args:
        task ([`TaskSpec`]):
            The task.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids, or scores for a regression.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids, or scores for a regression.
        train_labels (`np.ndarray` of shape `(M,)`, *optional*):
            Labels of the training rows, for the majority baseline.
        seed (`int`, defaults to 0):
            Seed of the bootstrap.
    """
    predictions, labels = checked_rows(predictions, labels, **allowed_labels(task))
    metrics = compute_metrics(task, predictions, labels)
    return SplitScores(
        rows=len(labels),
        metrics=metrics,
        intervals=bootstrap_intervals({name: FORMULAS[name] for name in metrics}, predictions, labels, seed=seed),
        majority_baseline=None if train_labels is None else majority_baseline(task, train_labels, labels),
    )


def interval_text(low: float, high: float, number: Callable[[float], str] = "{:.3f}".format) -> str:
    """
    Formats an interval; equal bounds are `no interval`, because they do not show how uncertain the score is.

    Args:
        low (`float`):
            The lower bound.
        high (`float`):
            The upper bound.
        number (`Callable[[float], str]`, *optional*):
            Formats a bound; by default with three digits.

    Example:
        >>> interval_text(0.4385, 1.0), interval_text(1.0, 1.0)
        ('[0.439, 1.000]', 'no interval')
    """
    return f"[{number(low)}, {number(high)}]" if low < high else "no interval"


def baseline_warning(title: str, task: TaskSpec, scores: SplitScores) -> str | None:
    """
    Returns a warning if the main metric is not above that of a constant prediction, or could be by chance.

    Args:
        title (`str`):
            The name of the rows, such as `"sst dev"`.
        task ([`TaskSpec`]):
            The task; `metric` names the main metric. A constant prediction has a correlation of 0.
        scores ([`SplitScores`]):
            The scores.

    Returns:
        `str`, *optional*: one line; `None` if the interval is above the baseline, or there is no baseline.

    Example:
        >>> scores = SplitScores(9, {"accuracy": 0.5}, {"accuracy": (0.2, 0.8)}, {"accuracy": 0.25})
        >>> baseline_warning("sst dev", TaskSpec("sst", "sentiment", ("a", "b")), scores)
        'sst dev: the accuracy 0.500 may be chance: the interval [0.200, 0.800] contains the majority baseline, 0.250'
    """
    metric = task.metric
    constant = {name: 0.0 for name in CORRELATIONS} | (scores.majority_baseline or {})
    if metric not in constant or metric not in scores.metrics:
        return None
    value, (low, high), baseline = scores.metrics[metric], scores.intervals[metric], constant[metric]
    sign = -1 if metric in ERRORS else 1
    named = f"{baseline:.3f}" if metric in (scores.majority_baseline or {}) else "0, no correlation"
    if not sign * value > sign * baseline:
        better = "below" if metric in ERRORS else "above"
        return f"{title}: the {metric} {value:.3f} is not {better} the majority baseline, {named}"
    if not min(sign * low, sign * high) > sign * baseline:
        interval = f"the interval {interval_text(low, high)} contains the majority baseline, {named}"
        return f"{title}: the {metric} {value:.3f} may be chance: {interval}"
    return None


def summarize(title: str, scores: SplitScores, task: TaskSpec | None = None) -> str:
    """
    Formats the scores of a split, one line per metric: value, 95 % interval, majority baseline.

    Args:
        title (`str`):
            First line, such as `"sts dev"`.
        scores ([`SplitScores`]):
            The scores.
        task ([`TaskSpec`], *optional*):
            The task, to add the [`baseline_warning`] as a last line.

    Example:
        >>> scores = SplitScores(9, {"accuracy": 0.5}, {"accuracy": (0.2, 0.8)}, {"accuracy": 0.25})
        >>> print(summarize("sst dev", scores))
        sst dev, 9 rows                 score   95 % interval     majority
          accuracy                      0.500   [0.200, 0.800]    0.250
    """
    table = score_table({title: scores})
    warning = None if task is None else baseline_warning(title, task, scores)
    return table if warning is None else f"{table}\nwarning: {warning}"


def score_table(scores: Mapping[str, SplitScores]) -> str:
    """Formats the scores of several splits, by title, as [`summarize`] does, in the same columns."""
    rows = [("", "score", "95 % interval", "majority")]
    for title, of_split in scores.items():
        rows.append((f"{printable(title)}, {of_split.rows:,} rows", "", "", ""))
        baseline = of_split.majority_baseline or {}
        for name, value in of_split.metrics.items():
            majority = f"{baseline[name]:.3f}" if name in baseline else "-"
            rows.append((f"  {name}", f"{value:.3f}", interval_text(*of_split.intervals[name]), majority))
    rows[:2] = [(rows[1][0], *rows[0][1:])]  # the headings are in the line of the first title
    return "\n".join(in_columns(rows, least=SCORE_WIDTHS))
