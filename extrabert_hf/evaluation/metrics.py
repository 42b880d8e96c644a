"""The metrics of a task from checked predictions and labels, and aggregate scores of several tasks."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation import formulas
from extrabert_hf.evaluation.formulas import Formula
from extrabert_hf.tasks import TaskSpec


def checked_column(name: str, values: Any, *, class_ids: bool, num_classes: int | None = None) -> np.ndarray:
    """
    Converts numbers to an array of shape `(N,)`, N of 1 or more: int64 class ids, or float64 scores.

    Args:
        name (`str`):
            Name of the values in an error message.
        values (array-like of shape `(N,)`):
            Finite numbers.
        class_ids (`bool`):
            Whether the values must be class ids: integers, 0 or more.
        num_classes (`int`, *optional*):
            Class ids must be below this number.
    """
    column = np.asarray(values)
    if column.ndim != 1 or len(column) == 0:
        raise InputError(f"`{name}` must have shape (N,) with N of 1 or more, got {column.shape}.")
    if column.dtype.kind not in ("biu" if class_ids else "biuf"):
        raise InputError(f"`{name}` must be {'whole numbers' if class_ids else 'numbers'}, got {column.dtype}.")
    if not np.isfinite(column).all():
        raise InputError(f"`{name}` must be finite, got {column[~np.isfinite(column)][0]}.")
    if not class_ids:
        return column.astype(np.float64)
    column = column.astype(np.int64)
    outside = (column < 0) | (column >= (np.inf if num_classes is None else num_classes))
    if outside.any():
        allowed = "0 or more" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise InputError(f"`{name}` must be class ids {allowed}, got {column[outside][0]}.")
    return column


def checked_rows(
    predictions: Any,
    labels: Any,
    *,
    class_ids: bool,
    num_classes: int | None = None,
    names: tuple[str, str] = ("predictions", "labels"),
) -> tuple[np.ndarray, np.ndarray]:
    """
    Converts predictions and labels to arrays of the same shape `(N,)`, each as [`checked_column`] does.

    Args:
        predictions (array-like of shape `(N,)`):
            Finite numbers.
        labels (array-like of shape `(N,)`):
            Finite numbers.
        class_ids (`bool`):
            Whether the values must be class ids.
        num_classes (`int`, *optional*):
            Class ids must be below this number.
        names (`tuple[str, str]`, *optional*):
            Names of the two arrays in an error message.
    """
    first = checked_column(names[0], predictions, class_ids=class_ids, num_classes=num_classes)
    second = checked_column(names[1], labels, class_ids=class_ids, num_classes=num_classes)
    if len(first) != len(second):
        raise InputError(
            f"`{names[0]}` and `{names[1]}` must have equally many rows, got {len(first)} and {len(second)}."
        )
    return first, second


CLASS_FORMULAS: dict[str, Formula] = {
    "accuracy": formulas.accuracy,
    "f1": formulas.f1,
    "macro_f1": formulas.macro_f1,
    "within_1_accuracy": formulas.within_1_accuracy,
    "quadratic_kappa": formulas.quadratic_kappa,
}
"""Formulas for class ids, by the name of the metric."""

SCORE_FORMULAS: dict[str, Formula] = {
    "pearson": formulas.pearson,
    "spearman": formulas.spearman,
    "mse": formulas.mean_squared_error,
}
"""Formulas for scores, by the name of the metric."""

FORMULAS = CLASS_FORMULAS | SCORE_FORMULAS

NEEDS_VARIATION = ("quadratic_kappa", "pearson", "spearman")
"""Metrics that are undefined for constant predictions or labels."""


class ConstantInputWarning(UserWarning):
    """Predictions or labels are constant, so that a correlation is undefined and reported as 0.0."""


def compute_metric(name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """
    Computes one metric; warns with [`ConstantInputWarning`] if a constant input makes it undefined.

    Args:
        name (`str`):
            A key of `FORMULAS`.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids for a key of `CLASS_FORMULAS`, scores for one of `SCORE_FORMULAS`.
        labels (`np.ndarray` of shape `(N,)`):
            The correct values.
    """
    predictions, labels = checked_rows(predictions, labels, class_ids=name in CLASS_FORMULAS)
    if name in NEEDS_VARIATION:
        for side, values in (("predictions", predictions), ("labels", labels)):
            if (values == values[0]).all():
                message = f"`{name}` is 0.0 because the {side} are constant: all {len(values)} are {values[0]}."
                warnings.warn(message, ConstantInputWarning, stacklevel=2)
    return float(FORMULAS[name](predictions, labels, None))


def metric_names(task: TaskSpec) -> tuple[str, ...]:
    """Returns the names of the metrics of a task, keys of `FORMULAS`."""
    if task.head == "similarity":
        return ("pearson", "spearman", "mse")
    if task.head == "sentiment":
        return ("accuracy", "macro_f1", "within_1_accuracy", "quadratic_kappa")
    return ("accuracy", "f1") if len(task.class_names) == 2 else ("accuracy", "macro_f1")


def allowed_labels(task: TaskSpec) -> dict[str, Any]:
    """Returns the arguments of [`checked_rows`] for the predictions and labels of a task."""
    return {"class_ids": not task.is_regression, "num_classes": len(task.class_names) or None}


def compute_metrics(task: TaskSpec, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """
    Computes the metrics of a task, by name.

    Args:
        task ([`TaskSpec`]):
            The task. The head of the task selects the metrics, see [`metric_names`].
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids, or scores for a regression.
        labels (`np.ndarray` of shape `(N,)`):
            The correct values.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> compute_metrics(PAPER_TASKS["para"], np.array([1, 0, 1, 1]), np.array([1, 0, 0, 1]))
        {'accuracy': 0.75, 'f1': 0.8}
    """
    predictions, labels = checked_rows(predictions, labels, **allowed_labels(task))
    return {name: compute_metric(name, predictions, labels) for name in metric_names(task)}


def predictions_from_logits(task: TaskSpec, logits: np.ndarray) -> np.ndarray:
    """
    Converts logits to predictions: the class with the largest logit (the first of several), or the score.

    Args:
        task ([`TaskSpec`]):
            The task of the head.
        logits (`np.ndarray` of shape `(N, C)` for C classes, `(N, 1)` or `(N,)` for a regression):
            Finite numbers.

    Returns:
        `np.ndarray` of shape `(N,)`: int64 class ids or float64 scores.
    """
    if not np.isfinite(logits).all():
        raise InputError(f"`logits` must be finite, got {logits[~np.isfinite(logits)][0]}.")
    if task.is_regression:
        if logits.ndim != 1 and logits.shape[1:] != (1,):
            raise InputError(f"`logits` must have shape (N, 1) or (N,), got {logits.shape}.")
        return logits.reshape(-1).astype(np.float64)
    if logits.ndim != 2 or logits.shape[1] != len(task.class_names):
        raise InputError(f"`logits` must have shape (N, {len(task.class_names)}), got {logits.shape}.")
    return logits.argmax(axis=1)


AGGREGATES = ("mean", "cs224n_2024", "worst")
CORRELATIONS = ("pearson", "spearman", "quadratic_kappa")
ERRORS = ("mse",)


def aggregate_scores(tasks: Mapping[str, TaskSpec], metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """
    Aggregates the main metric of each task.

    Args:
        tasks (`Mapping[str, TaskSpec]`):
            The tasks. The `metric` of each is its main metric; higher must be better.
        metrics (`Mapping[str, Mapping[str, float]]`):
            The metrics of each task, by name.

    Returns:
        `dict[str, float]`: `"mean"`, the mean (CS224N 2023, and the paper); `"cs224n_2024"`, the mean in which a
        correlation `r` counts as `(r + 1) / 2`, so that all values are in [0, 1]; `"worst"`, the minimum.

    Raises:
        [`InputError`]: if the metric of a task is an error, for which lower is better.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> metrics = {"sst": {"accuracy": 0.5}, "para": {"accuracy": 0.75}, "sts": {"pearson": 0.25}}
        >>> aggregate_scores(PAPER_TASKS, metrics)
        {'mean': 0.5, 'cs224n_2024': 0.625, 'worst': 0.25}
    """
    scores, unit_scores = [], []
    for name, task in tasks.items():
        if task.metric in ERRORS:
            raise InputError(f"`metric` of {name} must be a metric for which higher is better, got {task.metric!r}.")
        value = metrics[name][task.metric]
        scores.append(value)
        unit_scores.append((value + 1) / 2 if task.metric in CORRELATIONS else value)
    return {
        "mean": sum(scores) / len(scores),
        "cs224n_2024": sum(unit_scores) / len(unit_scores),
        "worst": min(scores),
    }
