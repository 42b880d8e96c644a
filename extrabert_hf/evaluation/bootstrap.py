"""Intervals of a score, and of the difference between two models on the same rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.formulas import Formula, accuracy, within_1_accuracy
from extrabert_hf.evaluation.metrics import checked_rows

CHUNK_SIZE = 2**20  # number of weights in memory, 8 MiB; larger chunks are not faster

PROPORTIONS = (accuracy, within_1_accuracy)
"""Formulas that are a share of the rows. If a bootstrap interval has no width, the interval is [`wilson_interval`]."""


def wilson_interval(count: int, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """
    Score interval of a proportion.

    Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference,
    https://doi.org/10.1080/01621459.1927.10502953. Unlike a bootstrap interval or a standard error, it has a width for
    a proportion of 0 or 1, and for a single row.

    Args:
        count (`int`):
            Number of rows that have the property, 0 to `rows`.
        rows (`int`):
            Number of rows, 1 or more.
        confidence (`float`, defaults to 0.95):
            Confidence level of the interval, between 0 and 1.

    Example:
        >>> [round(bound, 2) for bound in wilson_interval(3, 3)]
        [0.44, 1.0]
    """
    from scipy.stats import binomtest  # slow to import

    interval = binomtest(int(count), int(rows)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def resampled_weights(counts: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """
    Resamples the rows with replacement, to samples of the same size, and yields how often each row is drawn.

    The same weights can be used for every metric, and for every model that was scored on the rows.

    Args:
        counts (`np.ndarray` of shape `(D,)`):
            Number of copies of each of the D distinct rows.
        resamples (`int`):
            Number of samples.
        seed (`int`):
            Seed of the draw.

    Yields:
        `np.ndarray` of shape `(R, D)`: weights of the next R samples; each of the R rows sums to the sum of `counts`.
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

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, Section 13.3. Equal rows are merged into one row
    with a weight. This saves time, as class ids have few distinct rows, and does not change the result. A share of the
    rows, such as an accuracy of 1, whose samples all have the same value gets the [`wilson_interval`]. Another metric
    then has two equal bounds: the rows do not show how uncertain it is.

    Args:
        metric_functions (`dict[str, Formula]`):
            Formulas of `evaluation/formulas.py`, or other functions with the same arguments.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
        labels (`np.ndarray` of shape `(N,)`):
            The correct values.
        confidence (`float`, defaults to 0.95):
            Confidence level of the intervals, between 0 and 1.
        resamples (`int`, defaults to 2000):
            Number of samples, 1 or more.
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
            values[name].append(metric_function(distinct[0], distinct[1], weights))
    return {
        name: _score_interval(formula, np.concatenate(values[name]), predictions[np.newaxis], labels, confidence)
        for name, formula in metric_functions.items()
    }


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


@dataclass(frozen=True)
class PairedDifference:
    """
    Difference between the scores of settings a and b on the same rows.

    Args:
        difference (`float`):
            Score of b minus score of a, in units of the metric.
        low, high (`float`):
            Bounds of the bootstrap interval of the difference.
        p_value (`float`):
            Two-sided p-value of no difference, between 1 / resamples and 1.
        runs_a, runs_b (`int`):
            Number of runs of each setting, 1 or more.
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
    Computes the bootstrap interval of the difference between two settings, with the same samples for both.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap. The interval is the percentile interval of Section
    13.3. The p-value is the level at which the interval starts to contain 0 (Chapters 15 and 16). The score of a
    setting is the mean over its runs. Only rows are resampled: the interval covers the choice of rows, not the choice
    of seeds.

    Args:
        formula (`Formula`):
            A metric of `evaluation/formulas.py`.
        predictions_a (`np.ndarray` of shape `(N,)` or `(runs, N)`):
            Class ids or scores of setting a, of one run or of several seeds.
        predictions_b (`np.ndarray` of shape `(N,)` or `(runs, N)`):
            Class ids or scores of setting b; the number of runs may differ.
        labels (`np.ndarray` of shape `(N,)`):
            The correct values.
        confidence (`float`, defaults to 0.95):
            Confidence level of the interval, between 0 and 1.
        resamples (`int`, defaults to 2000):
            Number of samples, 1 or more.
        seed (`int`, defaults to 0):
            Seed of the draw. Comparisons over the same number of rows use the same samples.

    Example:
        >>> from extrabert_hf.evaluation.formulas import accuracy
        >>> worse, better = np.repeat([0, 1], [30, 70]), np.repeat([0, 1], [10, 90])
        >>> paired_bootstrap(accuracy, worse, better, labels=np.ones(100, int))
        PairedDifference(difference=0.2, low=0.12, high=0.28, p_value=0.0005, runs_a=1, runs_b=1)
    """
    a, b = (
        resample_setting(formula, predictions, labels, resamples=resamples, seed=seed, name=name)
        for name, predictions in (("predictions_a", predictions_a), ("predictions_b", predictions_b))
    )
    return paired_difference(a, b, confidence=confidence)


@dataclass(frozen=True, eq=False)
class ResampledSetting:
    """
    The score of one setting, and its scores on resampled rows.

    Args:
        score (`float`):
            Mean score of the runs.
        resampled (`np.ndarray` of shape `(resamples,)`):
            Mean score of the runs on each sample of the rows.
        runs (`int`):
            Number of runs, 1 or more.
    """

    score: float
    resampled: np.ndarray
    runs: int


def resample_setting(
    formula: Formula,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int = 2000,
    seed: int = 0,
    name: str = "predictions",
) -> ResampledSetting:
    """
    Scores one setting on resampled rows: the samples depend only on the number of rows and the seed, so that each
    setting is scored once for all comparisons. The arguments are as for [`paired_bootstrap`].
    """
    runs, labels = _checked_runs(name, predictions, labels), np.asarray(labels)  # (runs, N), (N,)
    unmerged = np.ones(len(labels), dtype=int)  # if equal rows were merged, the draw would depend on the predictions
    (resampled,) = _resampled_scores(formula, [runs], labels, unmerged, resamples, seed)
    return ResampledSetting(float(_mean_score(formula, runs, labels)), resampled, len(runs))


def paired_difference(a: ResampledSetting, b: ResampledSetting, *, confidence: float = 0.95) -> PairedDifference:
    """Computes the difference of two settings on the same samples of the same rows, see [`paired_bootstrap`]."""
    scores_a, scores_b, resamples = a.resampled, b.resampled, len(a.resampled)
    differences = (scores_b - scores_a).round(12)  # so that rounding does not make equal means differ
    low, high = _percentile_interval(differences, confidence)
    p_value = 2 * min(np.mean(differences <= 0), np.mean(differences >= 0))
    return PairedDifference(
        difference=round(b.score - a.score, 12),
        low=low,
        high=high,
        p_value=float(np.clip(p_value, 1 / resamples, 1.0)),
        runs_a=a.runs,
        runs_b=b.runs,
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
    Percentile bootstrap interval of the mean score of several runs, with the same samples for all runs.

    For one run the result equals [`bootstrap_interval`] exactly. The arguments are as for [`paired_bootstrap`].
    """
    runs = _checked_runs("predictions", predictions, labels)
    distinct, counts = np.unique(np.vstack([runs, labels]), axis=1, return_counts=True)  # (runs + 1, D), (D,)
    (scores,) = _resampled_scores(formula, [distinct[:-1]], distinct[-1], counts, resamples, seed)
    return _score_interval(formula, scores, runs, np.asarray(labels), confidence)


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
    """Scores `(sides, resamples)` of sides `(runs, D)` on the same samples of the D distinct rows."""
    if resamples < 1:
        raise InputError(f"`resamples` must be 1 or more, got {resamples}.")
    chunks = resampled_weights(counts, resamples, seed)
    return np.hstack([[_mean_score(formula, runs, labels, weights) for runs in sides] for weights in chunks])


def _score_interval(
    formula: Formula, resampled: np.ndarray, runs: np.ndarray, labels: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Interval of the mean score of runs `(runs, N)` from their scores `(resamples,)` on samples of the rows."""
    low, high = _percentile_interval(resampled, confidence)
    if low == high and formula in PROPORTIONS:
        return wilson_interval(round(float(_mean_score(formula, runs, labels)) * len(labels)), len(labels), confidence)
    return low, high


def _percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InputError(f"`confidence` must be between 0 and 1, got {confidence}.")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return low, high
