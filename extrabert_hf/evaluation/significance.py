"""How far a score is to be trusted: bootstrap intervals, and what answering the same for every row would score."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.checking import checked_column, checked_rows
from extrabert_hf.evaluation.formulas import Formula
from extrabert_hf.evaluation.metrics import FORMULAS, allowed_labels, compute_metrics, metric_names
from extrabert_hf.tasks import TaskSpec

CHUNK_SIZE = 2**20  # weights held at a time, 8 MiB of them; more are no faster


def resampled_weights(counts: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """
    Draws samples of the rows with replacement, each as large as the whole, and says how often each row is in them.

    One draw serves every formula, and every model that answered the same rows.

    Args:
        counts (`np.ndarray` of shape `(D,)`):
            How many equal rows each of the D distinct rows stands for.
        resamples (`int`):
            How many samples to draw.
        seed (`int`):
            Seed of the draw.

    Yields:
        `np.ndarray` of shape `(R, D)`: weights of the next R samples; each row of it sums to the sum of `counts`.
    """
    generator = np.random.default_rng(seed)
    distinct_of_row = np.repeat(np.arange(len(counts)), counts)  # (N,)
    rows = len(distinct_of_row)
    chunk = max(1, CHUNK_SIZE // len(counts))
    for start in range(0, resamples, chunk):
        samples = [
            np.bincount(distinct_of_row[generator.integers(rows, size=rows)], minlength=len(counts))
            for _ in range(min(chunk, resamples - start))
        ]
        yield np.stack(samples).astype(np.float64)


def bootstrap_intervals(
    metric_functions: dict[str, Formula],
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """
    Percentile bootstrap intervals of several metrics over the same samples of the rows.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, Section 13.3. Rows that are equal are handled as one
    with a weight, which changes nothing but the time: class ids have few distinct rows.

    Args:
        metric_functions (`dict[str, Formula]`):
            Formulas of `evaluation/formulas.py`, or others that take weights as they do.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids or scores, as the formulas want them.
        labels (`np.ndarray` of shape `(N,)`):
            What the predictions should be.
        confidence (`float`, defaults to 0.95):
            Share of such intervals that hold the true value, between 0 and 1.
        resamples (`int`, defaults to 2000):
            How many samples to draw, at least 1.
        seed (`int`, defaults to 0):
            Seed of the draw.
    """
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must be between 0 and 1, got {confidence}.")
    if resamples < 1:
        raise InputError(f"`resamples` must be 1 or more, got {resamples}.")
    predictions, labels = checked_rows(predictions, labels, class_ids=False)
    distinct, counts = np.unique(np.stack([predictions, labels]), axis=1, return_counts=True)  # (2, D), (D,)
    values: dict[str, list[np.ndarray]] = {name: [] for name in metric_functions}
    for weights in resampled_weights(counts, resamples, seed):
        for name, metric_function in metric_functions.items():
            values[name].append(metric_function(*distinct, weights))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    return {name: tuple(np.quantile(np.concatenate(parts), tails).tolist()) for name, parts in values.items()}


def bootstrap_interval(
    metric_function: Formula,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of one metric, see [`bootstrap_intervals`].

    Example:
        >>> from extrabert_hf.evaluation.formulas import accuracy
        >>> bootstrap_interval(accuracy, predictions=np.ones(100, int), labels=np.repeat([0, 1], [20, 80]))
        (0.72, 0.88)
    """
    intervals = bootstrap_intervals(
        {"metric": metric_function}, predictions, labels, confidence=confidence, resamples=resamples, seed=seed
    )
    return intervals["metric"]


def majority_baseline(task: TaskSpec, train_labels: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """
    Metrics of the best answer that ignores the text: the most frequent training class, or the mean training score.

    Args:
        task ([`TaskSpec`]):
            The task. For a regression only `"mse"` is given, since a constant correlates with nothing.
        train_labels (`np.ndarray` of shape `(M,)`):
            Labels of the training rows; of equally frequent classes the one with the lowest id answers.
        labels (`np.ndarray` of shape `(N,)`):
            Labels of the rows that are scored.
    """
    train_labels = checked_column("train_labels", train_labels, **allowed_labels(task))
    labels = checked_column("labels", labels, **allowed_labels(task))
    answer = train_labels.mean() if task.is_regression else np.bincount(train_labels).argmax()
    predictions = np.full(len(labels), answer)
    names = ("mse",) if task.is_regression else metric_names(task)
    return {name: float(FORMULAS[name](predictions, labels, None)) for name in names}


def score(
    task: TaskSpec,
    predictions: np.ndarray,
    labels: np.ndarray,
    train_labels: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """
    All that is reported of a task's predictions, ready for JSON.

    Args:
        task ([`TaskSpec`]):
            The task.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids, or scores where the task is a regression.
        labels (`np.ndarray` of shape `(N,)`):
            What the predictions should be.
        train_labels (`np.ndarray` of shape `(M,)`, *optional*):
            Labels of the training rows, for the majority baseline.
        seed (`int`, defaults to 0):
            Seed of the bootstrap.

    Returns:
        `dict`: `rows` (N), `metrics` and `majority_baseline` by name (the latter `None` without `train_labels`), and
        `intervals`, a 95 % interval `[low, high]` by name.
    """
    predictions, labels = checked_rows(predictions, labels, **allowed_labels(task))
    metrics = compute_metrics(task, predictions, labels)
    intervals = bootstrap_intervals({name: FORMULAS[name] for name in metrics}, predictions, labels, seed=seed)
    return {
        "rows": len(labels),
        "metrics": metrics,
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "majority_baseline": None if train_labels is None else majority_baseline(task, train_labels, labels),
    }
