"""Runs that answered the same rows: the interval of their mean score, and whether two settings really differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.checking import checked_rows
from extrabert_hf.evaluation.formulas import Formula
from extrabert_hf.evaluation.significance import resampled_weights


@dataclass(frozen=True)
class PairedDifference:
    """
    How much better setting b is than setting a on the same rows.

    Args:
        difference (`float`):
            Score of b minus score of a, in units of the metric.
        low, high (`float`):
            Bounds of its bootstrap interval.
        p_value (`float`):
            Two-sided, of no difference; between 1 / resamples and 1.
        runs_a, runs_b (`int`):
            How many runs stand on each side, 1 or more.
    """

    difference: float
    low: float
    high: float
    p_value: float
    runs_a: int
    runs_b: int


def paired_bootstrap(
    formula: Formula,
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """
    Resamples the rows, the same ones for both sides, and looks how the difference of the sides' scores varies.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap: the percentile interval of Section 13.3, and as
    p-value the level at which that interval begins to hold 0 (Chapters 15 and 16). A side's score is the mean of its
    runs' scores. The runs are held fixed: the answer is about other rows, not about other seeds.

    Args:
        formula (`Formula`):
            A metric of `evaluation/formulas.py`.
        predictions_a (`np.ndarray` of shape `(N,)` or `(runs, N)`):
            Class ids or scores of setting a; several runs are several seeds of it.
        predictions_b (`np.ndarray` of shape `(N,)` or `(runs, N)`):
            Those of setting b, not necessarily of equally many runs.
        labels (`np.ndarray` of shape `(N,)`):
            What the predictions should be.
        confidence (`float`, defaults to 0.95):
            Share of such intervals that hold the true difference, between 0 and 1.
        resamples (`int`, defaults to 2000):
            How many samples to draw, at least 1.
        seed (`int`, defaults to 0):
            Seed of the draw. Comparisons over equally many rows see the same samples.

    Example:
        >>> from extrabert_hf.evaluation.formulas import accuracy
        >>> worse, better = np.repeat([0, 1], [30, 70]), np.repeat([0, 1], [10, 90])
        >>> paired_bootstrap(accuracy, worse, better, labels=np.ones(100, int))
        PairedDifference(difference=0.2, low=0.12, high=0.28, p_value=0.0005, runs_a=1, runs_b=1)
    """
    sides = [
        _checked_runs("predictions_a", predictions_a, labels),  # (runs_a, N)
        _checked_runs("predictions_b", predictions_b, labels),  # (runs_b, N)
    ]
    labels = np.asarray(labels)
    unmerged = np.ones(len(labels), dtype=int)  # merging equal rows would make the draw depend on which side is a
    scores_a, scores_b = _resampled_scores(formula, sides, labels, unmerged, resamples, seed)
    differences = (scores_b - scores_a).round(12)  # equal means of runs stay equal, however they were rounded
    low, high = _percentile_interval(differences, confidence)
    p_value = 2 * min(np.mean(differences <= 0), np.mean(differences >= 0))
    score_a, score_b = (_mean_score(formula, runs, labels) for runs in sides)
    return PairedDifference(
        difference=float((score_b - score_a).round(12)),
        low=low,
        high=high,
        p_value=float(np.clip(p_value, 1 / resamples, 1.0)),
        runs_a=len(sides[0]),
        runs_b=len(sides[1]),
    )


def mean_interval(
    formula: Formula,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """
    Percentile bootstrap interval of the mean of several runs' scores, each sample of the rows serving all runs.

    Of one run it is the interval of [`bootstrap_interval`], to the last digit; arguments as for [`paired_bootstrap`].
    """
    runs = _checked_runs("predictions", predictions, labels)
    distinct, counts = np.unique(np.vstack([runs, labels]), axis=1, return_counts=True)  # (runs + 1, D), (D,)
    (scores,) = _resampled_scores(formula, [distinct[:-1]], distinct[-1], counts, resamples, seed)
    return _percentile_interval(scores, confidence)


def williams_test(r_ay: float, r_by: float, r_ab: float, rows: int) -> tuple[float, float]:
    """
    Tests whether a and b correlate equally well with y, all three measured on the same rows.

    Williams (1959), as given by Steiger (1980), Psychological Bulletin 87, equation 7, there T2.

    Args:
        r_ay (`float`):
            Pearson correlation of a with y, -1 to 1.
        r_by (`float`):
            Pearson correlation of b with y, -1 to 1.
        r_ab (`float`):
            Pearson correlation of a with b, -1 to 1.
        rows (`int`):
            How many rows they were measured on, at least 4.

    Returns:
        `tuple[float, float]`: t with `rows - 3` degrees of freedom, positive where b correlates better, and the
        two-sided p-value.

    Example:
        >>> t, p_value = williams_test(r_ay=0.4, r_by=0.5, r_ab=0.1, rows=103)
        >>> round(t, 2), round(p_value, 2)
        (0.89, 0.37)
    """
    if rows < 4:
        raise InputError(f"`rows` must be 4 or more, got {rows}.")
    for name, r in (("r_ay", r_ay), ("r_by", r_by), ("r_ab", r_ab)):
        if not -1 <= r <= 1:
            raise InputError(f"`{name}` must be a correlation from -1 to 1, got {r}.")
    determinant = 1 - r_ay**2 - r_by**2 - r_ab**2 + 2 * r_ay * r_by * r_ab
    determinant = max(determinant, np.finfo(float).eps)  # rounding takes that of equal a and b to 0 or below
    mean = (r_ay + r_by) / 2
    variance = 2 * (rows - 1) / (rows - 3) * determinant + mean**2 * (1 - r_ab) ** 3
    t = (r_by - r_ay) * math.sqrt((rows - 1) * (1 + r_ab) / variance)
    return t, float(2 * stats.t.sf(abs(t), rows - 3))


def mcnemar_test(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """
    Tests whether a and b are right equally often, by the rows that only one of them gets right.

    McNemar (1947), Psychometrika 12, in its exact form: under no difference each such row is a fair coin.

    Args:
        correct_a (`np.ndarray` of shape `(N,)`):
            Whether a has the row right.
        correct_b (`np.ndarray` of shape `(N,)`):
            Whether b has.

    Returns:
        `float`: the two-sided p-value, 1.0 where both are right on the same rows.

    Example:
        >>> mcnemar_test(np.array([1, 1, 0, 0, 0, 0, 0], bool), np.array([1, 0, 1, 1, 1, 1, 1], bool))
        0.21875
    """
    names = ("correct_a", "correct_b")
    correct_a, correct_b = checked_rows(correct_a, correct_b, class_ids=True, num_classes=2, names=names)
    only_a, only_b = int(np.sum(correct_a > correct_b)), int(np.sum(correct_b > correct_a))
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm_adjusted(p_values: Sequence[float]) -> np.ndarray:
    """
    P-values corrected for how many there are: rejecting those below 5 % errs anywhere in at most 5 % of such tables.

    Holm (1979), Scandinavian Journal of Statistics 6.

    Args:
        p_values (`Sequence[float]`):
            Of the T tests of one table, each 0 to 1.

    Returns:
        `np.ndarray` of shape `(T,)`, in the order they came.

    Example:
        >>> holm_adjusted([0.01, 0.5, 0.02]).tolist()
        [0.03, 0.5, 0.04]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)  # the smallest times T, the next times T - 1, ...
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1.0)
    return adjusted


def _checked_runs(name: str, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Predictions of one run or several -> `(runs, N)`, float64."""
    runs = np.atleast_2d(predictions)
    if runs.ndim != 2 or len(runs) == 0:
        raise InputError(f"`{name}` must have shape (N,) or (runs, N), got {np.shape(predictions)}.")
    return np.stack([checked_rows(run, labels, class_ids=False, names=(name, "labels"))[0] for run in runs])


def _mean_score(
    formula: Formula, runs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean of the runs' scores: a scalar, or with weights `(R, D)` of shape `(R,)`."""
    return np.mean([formula(run, labels, weights) for run in runs], axis=0)


def _resampled_scores(
    formula: Formula, sides: list[np.ndarray], labels: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Scores `(sides, resamples)` of sides `(runs, D)` that all meet the same samples of the D distinct rows."""
    if resamples < 1:
        raise InputError(f"`resamples` must be 1 or more, got {resamples}.")
    chunks = resampled_weights(counts, resamples, seed)
    return np.hstack([[_mean_score(formula, runs, labels, weights) for runs in sides] for weights in chunks])


def _percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must be between 0 and 1, got {confidence}.")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high
