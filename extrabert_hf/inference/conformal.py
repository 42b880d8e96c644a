"""Fits the quantiles of split conformal prediction on labelled rows, and writes them into the config of a model."""

import logging
import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import beta

from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.models.conformal_extrabert import (
    CLASS_METHODS,
    SCORE_METHODS,
    class_nonconformity,
    prediction_intervals,
    prediction_sets,
    residual_scale,
)
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import TaskSpec

KNOTS = 10
"""Largest number of knots of the interpolated errors of `"normalized"`."""
ROWS_PER_KNOT = 20
"""Smallest number of rows for the mean error of one knot."""
LEAST_SCALE = 0.1
"""Smallest expected error of `"normalized"`, as a share of the mean error: a scale near 0 would give huge ratios."""

logger = logging.getLogger(__name__)


def check_coverage(coverage: float, method: str | None, task: TaskSpec) -> str:
    """
    Returns the method of a calibration; the default is the first of [`CLASS_METHODS`] or [`SCORE_METHODS`].

    Raises:
        [`InputError`]: if `coverage` is not between 0 and 1, or the method is not one for the task.
    """
    if not 0 < coverage < 1:
        raise InputError(f"`coverage` must be above 0 and below 1, such as 0.9, got {coverage:g}.")
    methods = SCORE_METHODS if task.is_regression else CLASS_METHODS
    if method is not None and method not in methods:
        what = "scores" if task.is_regression else "classes"
        names = ", ".join(map(repr, methods))
        raise InputError(
            f"`conformal_method` must be one of {names} for {task.name!r}, which has {what}, got {method!r}."
        )
    return methods[0] if method is None else method


def rows_needed(coverage: float) -> int:
    """
    Returns the smallest number of rows `n` with a finite quantile, `ceil((n + 1) coverage) <= n`.

    Example:
        >>> rows_needed(0.9), rows_needed(0.95), rows_needed(0.8)
        (9, 19, 4)
    """
    share = Fraction(str(coverage))
    return math.ceil(share / (1 - share))


def conformal_quantile(values: np.ndarray, coverage: float) -> float:
    """
    Returns the quantile that the value of one more row is not above, with a probability of `coverage` or more.

    It is the `ceil((n + 1) coverage)`-th smallest of `n` values, as in split (inductive) conformal prediction: Vovk,
    Gammerman and Shafer (2005), Algorithmic Learning in a Random World, Chapter 4; Lei et al. (2018),
    https://arxiv.org/abs/1604.04173, Algorithm 2.

    Args:
        values (`np.ndarray` of shape `(n,)`):
            Nonconformity of rows that the model was not trained on, exchangeable with later rows.
        coverage (`float`):
            Above 0 and below 1.

    Raises:
        [`InputError`]: if there are fewer rows than [`rows_needed`].

    Example:
        >>> conformal_quantile(np.array([3.0, 1.0, 2.0, 4.0]), 0.6)  # ceil(5 * 0.6) = 3
        3.0
    """
    if len(values) < rows_needed(coverage):
        raise InputError(f"`coverage` {coverage:g} needs {rows_needed(coverage):,} rows or more, got {len(values):,}.")
    return float(np.sort(values)[math.ceil((len(values) + 1) * Fraction(str(coverage))) - 1])


def coverage_range(rows: int, coverage: float) -> tuple[float, float]:
    """
    Returns the range in which the coverage of new rows is for 95 % of the draws of the rows of the fit.

    The coverage has a beta distribution if no values are equal: Vovk (2012), Conditional Validity of Inductive
    Conformal Predictors, https://arxiv.org/abs/1209.2673, Section 3.

    Example:
        >>> tuple(round(end, 2) for end in coverage_range(1000, 0.9))
        (0.88, 0.92)
    """
    rank = math.ceil((rows + 1) * Fraction(str(coverage)))
    low, high = beta.ppf([0.025, 0.975], rank, rows + 1 - rank)
    return float(low), float(high)


def fit_sets(logits: np.ndarray, labels: np.ndarray, coverage: float, method: str = "lac") -> dict[str, Any]:
    """
    Fits prediction sets: a set holds the class of a row with a probability of `coverage` or more.

    With `"lac"` and `"aps"` this holds on average over all rows, with `"class_conditional"` also for the rows of each
    class: Vovk, Gammerman and Shafer (2005), Chapter 4; Sadinle, Lei and Wasserman (2019), Section 2.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            Logits of rows that the model was not trained on.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids.
        coverage (`float`):
            Above 0 and below 1.
        method (`str`, defaults to `"lac"`):
            One of [`CLASS_METHODS`], see [`class_nonconformity`].

    Returns:
        `dict[str, Any]`: the config's `conformal`.

    Raises:
        [`InputError`]: if there are too few rows, with `"class_conditional"` of a class.
    """
    labels = np.asarray(labels).astype(int)
    nonconformity = class_nonconformity(torch.as_tensor(logits), method).numpy()
    values = nonconformity[np.arange(len(labels)), labels]
    groups = [labels == c for c in range(logits.shape[1])] if method == "class_conditional" else [labels >= 0]
    quantiles = [conformal_quantile(values[group], coverage) for group in groups]
    return {"method": method, "coverage": coverage, "rows": len(labels), "quantiles": quantiles}


def fit_intervals(
    scores: np.ndarray,
    labels: np.ndarray,
    coverage: float,
    score_range: tuple[float, float],
    method: str = "absolute",
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """
    Fits prediction intervals: an interval holds the label of a row with a probability of `coverage` or more.

    `"normalized"` first fits the mean absolute error near each predicted score to a random half of the rows, then
    the quantile to the other half. So intervals are narrow for scores at which errors are small.

    Args:
        scores (`np.ndarray` of shape `(N,)`):
            Predicted scores of rows that the model was not trained on.
        labels (`np.ndarray` of shape `(N,)`):
            True scores, in `score_range`.
        coverage (`float`):
            Above 0 and below 1.
        score_range (`tuple[float, float]`):
            Smallest and largest score. Predicted scores are clamped to it.
        method (`str`, defaults to `"absolute"`):
            One of [`SCORE_METHODS`], see [`prediction_intervals`].
        seed (`int`, defaults to 0):
            Seed of the halves.

    Returns:
        `dict[str, Any]`: the config's `conformal`.

    Raises:
        [`InputError`]: if there are too few rows.
    """
    scores = np.asarray(scores, dtype=np.float32).clip(*score_range)
    errors = np.abs(scores - labels)
    fitted = {"method": method, "coverage": coverage, "rows": len(labels)}
    if method == "absolute":
        return fitted | {"quantiles": [conformal_quantile(errors, coverage)]}
    needed = 2 * max(rows_needed(coverage), 2 * ROWS_PER_KNOT)
    if len(labels) < needed:
        raise InputError(
            f"`coverage` {coverage:g} needs {needed:,} rows or more for 'normalized', got {len(labels):,}: give more "
            "rows, or --conformal_method absolute."
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    first, second = np.sort(order[: len(order) // 2]), order[len(order) // 2 :]
    knots = _knots(scores[first], errors[first])
    scale = residual_scale(torch.as_tensor(scores[second]), knots).numpy()
    return fitted | {"quantiles": [conformal_quantile(errors[second] / scale, coverage)], "knots": knots}


def calibrate_coverage(
    trained: TrainedModel,
    rows: Dataset,
    coverage: float,
    method: str | None = None,
    *,
    batch_size: int = 64,
    progress: bool = False,
) -> dict[str, Any]:
    """
    Fits prediction sets or intervals to a model, and writes their quantiles into its config.

    Args:
        trained ([`TrainedModel`]):
            The model. Its config is changed, its weights are not.
        rows (`Dataset`):
            Labelled rows that the model was not trained on; as for [`Predictor.predict`].
        coverage (`float`):
            Above 0 and below 1.
        method (`str`, *optional*):
            As for [`check_coverage`].
        batch_size (`int`, defaults to 64):
            Number of sentences in a batch.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `dict[str, Any]`: the config's `conformal`.

    Raises:
        [`InputError`]: as [`check_coverage`], and if there are too few rows.
    """
    task, config = trained.task, trained.model.config
    method = check_coverage(coverage, method, task)
    labels = np.asarray(rows["label"][:])
    if method == "class_conditional":
        _check_classes(task, labels, coverage)
    elif len(rows) < rows_needed(coverage):
        raise InputError(f"`coverage` {coverage:g} needs {rows_needed(coverage):,} rows or more, got {len(rows):,}.")
    logits = Predictor((trained,), batch_size=batch_size, progress=progress).predict(rows).logits
    if task.is_regression:
        low, high = config.score_range
        config.conformal = fit_intervals(logits[:, 0], labels, coverage, (low, high), method)
        ends = prediction_intervals(torch.as_tensor(logits[:, 0]), config.conformal, config.score_range)
        width = (ends[:, 1] - ends[:, 0]).mean()
        size, fitted = f"intervals, {width:.2f} wide", len(rows) // 2 if method == "normalized" else len(rows)
    else:
        config.conformal = fit_sets(logits, labels, coverage, method)
        mean = prediction_sets(torch.as_tensor(logits), config.conformal).sum(dim=-1).float().mean()
        size = f"sets of {mean:.2f} of {logits.shape[1]} classes"
        fitted = np.bincount(labels.astype(int)).min() if method == "class_conditional" else len(rows)
    low, high = coverage_range(fitted, coverage)
    logger.info(
        "%s: %s on average for a coverage of %g (%s, %s rows); with so many rows, new rows%s have a coverage of %.3f "
        "to %.3f in 95 %% of fits",
        *(task.name, size, coverage, method, f"{len(rows):,}"),
        *(" of the rarest class" if method == "class_conditional" else "", low, high),
    )
    return config.conformal


def _check_classes(task: TaskSpec, labels: np.ndarray, coverage: float) -> None:
    """Raises [`InputError`] if a class has too few rows for a quantile of its own."""
    counts = np.bincount(labels.astype(int), minlength=len(task.class_names))
    few = [
        f"{count} of {name!r}"
        for name, count in zip(task.class_names, counts, strict=True)
        if count < rows_needed(coverage)
    ]
    if few:
        raise InputError(
            f"`coverage` {coverage:g} needs {rows_needed(coverage):,} rows or more of each class for "
            f"'class_conditional', got {', '.join(few)}: give more rows, or --conformal_method lac."
        )


def _knots(scores: np.ndarray, errors: np.ndarray) -> list[list[float]]:
    """Returns the mean score and the mean error of groups of rows with near scores, by ascending score."""
    order = np.argsort(scores, kind="stable")
    groups = np.array_split(order, max(2, min(KNOTS, len(order) // ROWS_PER_KNOT)))
    least = LEAST_SCALE * float(errors.mean()) or 1.0
    by_score = {float(scores[group].mean()): max(float(errors[group].mean()), least) for group in groups}
    if len(by_score) < 2:
        raise InputError("`conformal_method` 'normalized' needs different scores, got one score for all rows.")
    return [[score, error] for score, error in sorted(by_score.items())]
