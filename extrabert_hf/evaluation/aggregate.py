"""Several tasks' scores -> one number."""

from collections.abc import Mapping

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

AGGREGATES = ("mean", "cs224n_2024", "worst")
CORRELATIONS = ("pearson", "spearman", "quadratic_kappa")
ERRORS = ("mse",)


def aggregate_scores(tasks: Mapping[str, TaskSpec], metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """
    Joins the tasks' main metrics.

    Args:
        tasks (`Mapping[str, TaskSpec]`):
            The tasks; each one's `metric` is its main one, and more of it is better.
        metrics (`Mapping[str, Mapping[str, float]]`):
            By task, its metrics by name.

    Returns:
        `dict[str, float]`: `"mean"`, the plain mean (CS224N 2023, and the paper); `"cs224n_2024"`, the mean with
        correlations `r` as `(r + 1) / 2`, so that all are in [0, 1]; `"worst"`, the smallest.

    Raises:
        [`InputError`]: if a task's metric is an error, less of which is better.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> metrics = {"sst": {"accuracy": 0.5}, "para": {"accuracy": 0.75}, "sts": {"pearson": 0.25}}
        >>> aggregate_scores(PAPER_TASKS, metrics)
        {'mean': 0.5, 'cs224n_2024': 0.625, 'worst': 0.25}
    """
    scores, unit_scores = [], []
    for name, task in tasks.items():
        if task.metric in ERRORS:
            raise InputError(f"`metric` of {name} must be one of which more is better, got {task.metric!r}.")
        value = metrics[name][task.metric]
        scores.append(value)
        unit_scores.append((value + 1) / 2 if task.metric in CORRELATIONS else value)
    return {
        "mean": sum(scores) / len(scores),
        "cs224n_2024": sum(unit_scores) / len(unit_scores),
        "worst": min(scores),
    }
