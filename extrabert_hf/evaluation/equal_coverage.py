"""Comparison of classifiers that abstain from the same number of rows: their scores on resampled rows."""

from collections.abc import Sequence

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import ResampledSetting, resampled_weights

AURC = "aurc"
"""Name of the area under the risk-coverage curve; lower is better."""


def check_coverages(coverages: Sequence[float]) -> None:
    """
    Checks the argument `coverage`.

    Raises:
        [`InputError`]: unless the values differ, and each one is above 0 and at most 1.

    Example:
        >>> check_coverages([0.5, 80])
        Traceback (most recent call last):
        extrabert_hf.errors.InputError: `coverage` must be shares above 0 and up to 1, such as 0.5 0.8, got 80.
    """
    for coverage in coverages:
        if not 0 < coverage <= 1:
            raise InputError(f"`coverage` must be shares above 0 and up to 1, such as 0.5 0.8, got {coverage:g}.")
    if len(set(coverages)) < len(coverages):
        raise InputError(f"`coverage` must be shares that differ, got {' '.join(map(str, coverages))}.")


def selective_scores(
    confidences: np.ndarray, correct: np.ndarray, coverages: Sequence[float], weights: np.ndarray | None = None
) -> np.ndarray:
    r"""
    Computes the accuracy of the most confident rows at each coverage, and the area under the risk-coverage curve.

    The accuracy at a coverage `C` is 1 minus the selective risk of Geifman and El-Yaniv (2017), Selective
    Classification for Deep Neural Networks, https://arxiv.org/abs/1705.08500, Section 2, with the 0/1 loss. Exactly
    `C * N` of N rows are answered, most confident first. As in [`RiskCoverage`], the order of the rows does not
    matter: if only a part of the rows with the same confidence is answered, each of these rows counts by this part.
    This is the mean over all orders of these rows. The area is [`RiskCoverage.aurc`].

    Args:
        confidences (`np.ndarray` of shape `(N,)`):
            Probability of each row's predicted class, 0 to 1. Only the order of the confidences matters. With
            two classes, a temperature does not change this order; with more classes it can.
        correct (`np.ndarray` of shape `(N,)`):
            Whether each prediction is correct.
        coverages (`Sequence[float]` of length `C`):
            Shares of the rows, above 0 to 1.
        weights (`np.ndarray` of shape `(R, N)`, *optional*):
            How often each row counts in each of R samples; each of the R rows sums to N. The most confident rows are
            selected in each sample. By default each row counts once.

    Returns:
        `np.ndarray` of shape `(C + 1,)`, or `(C + 1, R)` with weights: the accuracies, then the area, all 0 to 1.

    Example:
        >>> correct = np.array([True, False, True, False])
        >>> selective_scores(np.array([0.9, 0.8, 0.8, 0.6]), correct, [0.25, 0.5, 1]).round(4).tolist()
        [1.0, 0.75, 0.5, 0.2917]
    """
    rows = len(confidences)
    order = np.argsort(-confidences, kind="stable")
    _, starts = np.unique(-confidences[order], return_index=True)  # (K,) first row of each distinct confidence
    counts = np.ones((1, rows)) if weights is None else weights[:, order]  # (R, N), most confident first
    drawn = np.add.reduceat(counts, starts, axis=1)  # (R, K) rows of each confidence
    wrong = np.add.reduceat(counts * ~correct[order], starts, axis=1)  # (R, K)
    answered, errors = drawn.cumsum(axis=1), wrong.cumsum(axis=1)  # (R, K)
    scores, samples = [], np.arange(len(counts))
    for coverage in coverages:
        share = coverage * rows
        last = samples, (answered < share).sum(axis=1)  # the confidence of which a part is answered, (R,) each
        unanswered = (answered[last] - share) / drawn[last]  # (R,) part of the rows with this confidence
        scores.append((share - errors[last] + unanswered * wrong[last]) / share)
    risks = errors / np.maximum(answered, 1)  # a sample can lack the rows with the highest confidences
    scores.append((drawn * risks).sum(axis=1) / rows)
    return np.array(scores)[:, 0] if weights is None else np.array(scores)


def resample_selective(
    confidences: np.ndarray,
    correct: np.ndarray,
    coverages: Sequence[float],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, ResampledSetting]:
    """
    Scores one setting at each coverage, on all rows and on resampled rows, see [`selective_scores`].

    The samples are those of [`resample_setting`], so that [`paired_difference`] of two settings is the paired
    bootstrap of [`paired_bootstrap`] over the same rows. Each run of a setting answers its own most confident rows.

    Args:
        confidences (`np.ndarray` of shape `(runs, N)`):
            Probability of each row's predicted class, of one run or of several seeds.
        correct (`np.ndarray` of shape `(runs, N)`):
            Whether each prediction is correct.
        coverages (`Sequence[float]`):
            Shares of the rows, above 0 to 1.
        resamples (`int`, defaults to 2000):
            Number of samples, 1 or more.
        seed (`int`, defaults to 0):
            Seed of the draw.

    Returns:
        `dict[str, ResampledSetting]`: by metric, `"accuracy at coverage 0.5"`, ..., and `"aurc"`.
    """
    check_coverages(coverages)
    runs = list(zip(confidences, correct, strict=True))
    scores = np.mean([selective_scores(*run, coverages) for run in runs], axis=0)  # (C + 1,)
    chunks = resampled_weights(np.ones(confidences.shape[1], dtype=int), resamples, seed)
    resampled = np.hstack(
        [np.mean([selective_scores(*run, coverages, weights) for run in runs], axis=0) for weights in chunks]
    )  # (C + 1, resamples)
    names = [*(f"accuracy at coverage {coverage}" for coverage in coverages), AURC]
    return {
        name: ResampledSetting(float(score), of_samples, len(runs))
        for name, score, of_samples in zip(names, scores, resampled, strict=True)
    }
