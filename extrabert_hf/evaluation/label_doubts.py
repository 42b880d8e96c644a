"""Rows whose label is probably wrong, found by predictions of models that were not trained on the rows."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from extrabert_hf.errors import InputError, need_packages

LARGEST_RESIDUAL = 2.5
"""Size of a residual, in robust standard deviations, above which a score is doubtful; recommended by Leys et al."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution whose median absolute deviation is 1."""


@dataclass(frozen=True, eq=False)
class LabelDoubts:
    """
    The doubt about each of N labels.

    Args:
        suggested (`np.ndarray` of shape `(N,)`):
            The predicted class ids or scores.
        sizes (`np.ndarray` of shape `(N,)`):
            Of classes: 1 minus the probability of the given label, 0 to 1. Of scores: the size of the
            residual in robust standard deviations, 0 or more.
        is_found (`np.ndarray` of shape `(N,)`):
            Whether each label is probably wrong.
    """

    suggested: np.ndarray
    sizes: np.ndarray
    is_found: np.ndarray

    @cached_property
    def rows(self) -> list[int]:
        """Indices of the labels that are probably wrong, the largest doubt first."""
        return [int(row) for row in np.argsort(-self.sizes, kind="stable") if self.is_found[row]]


def need_cleanlab() -> None:
    """Raises [`InputError`] if cleanlab, which [`doubt_classes`] needs, is not installed."""
    need_packages("the search for wrong classes", "labels", "cleanlab")


def doubt_classes(labels: np.ndarray, probabilities: np.ndarray) -> LabelDoubts:
    """
    Finds the classes that are probably wrong by confident learning, with the package cleanlab.

    Northcutt et al. (2021), Confident Learning, https://arxiv.org/abs/1911.00068: a row counts as mislabelled if its
    probability of another class is at least the mean probability of that class over the rows that are labelled with it
    (Equations 1 and 2). This gives the number of wrong labels. The found rows are as many rows as that, those with the
    lowest probability of the given label, without rows whose most probable class is the given label.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            The given class ids.
        probabilities (`np.ndarray` of shape `(N, C)`):
            Probability of each class, 0 to 1, from models that were not trained on the row.

    Raises:
        [`InputError`]: if all labels are of one class.
        `ImportError`: if cleanlab is not installed, see [`need_cleanlab`].

    Example:
        >>> labels = np.array([0] * 10 + [1] * 10)
        >>> probabilities = np.array([[0.9, 0.1]] * 9 + [[0.1, 0.9]] + [[0.2, 0.8]] * 10)
        >>> doubt_classes(labels, probabilities).rows  # doctest: +SKIP
        [9]
    """
    from cleanlab.filter import find_label_issues  # takes a second to import
    from cleanlab.rank import get_label_quality_scores

    if len(set(labels.tolist())) < 2:
        raise InputError("`labels` must be of two classes or more to find wrong ones, got one class only.")
    suggested = probabilities.argmax(axis=1)
    is_found = find_label_issues(labels, probabilities, filter_by="low_self_confidence", n_jobs=1)
    return LabelDoubts(
        suggested=suggested,
        sizes=1 - get_label_quality_scores(labels, probabilities, method="self_confidence"),
        is_found=is_found & (suggested != labels),
    )


def doubt_scores(labels: np.ndarray, predictions: np.ndarray) -> LabelDoubts:
    """
    Finds the scores that are probably wrong: those with a large residual, in units of the spread of the residuals.

    The unit is robust, since wrong labels would increase a standard deviation. The size of the residual `r = label -
    prediction` is `|r - median(r)| / (1.4826 median(|r - median(r)|))`, and sizes above 2.5 are found: Leys et al.
    (2013), Detecting outliers, https://doi.org/10.1016/j.jesp.2013.03.013.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            The given scores.
        predictions (`np.ndarray` of shape `(N,)`):
            Scores from models that were not trained on the row.

    Raises:
        [`InputError`]: if half of the residuals or more are equal, so that the residuals have no unit.

    Example:
        >>> labels = np.array([1.0, 2.0, 3.0, 4.0, 0.0])
        >>> doubt_scores(labels, np.array([1.1, 1.9, 3.2, 3.9, 4.5])).rows
        [4]
    """
    residuals = labels - predictions
    deviations = residuals - np.median(residuals)
    unit = MAD_TO_DEVIATION * np.median(np.abs(deviations))
    if not unit > 0:
        raise InputError("`predictions` must differ from `labels` by different amounts, got half of them equal.")
    sizes = np.abs(deviations) / unit
    return LabelDoubts(suggested=predictions, sizes=sizes, is_found=sizes > LARGEST_RESIDUAL)
