"""Abstention of a classifier: the risk-coverage curve, its area, and the threshold that reaches an accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import bootstrap_interval
from extrabert_hf.evaluation.formulas import accuracy
from extrabert_hf.evaluation.scores import interval_text
from extrabert_hf.tasks import TaskSpec

MIN_ANSWERED = 30
"""Minimum number of answered rows for a threshold: the accuracy of fewer rows would follow noise."""
FEW_ANSWERED = 100
"""Number of answered rows below which the text on a threshold is a warning."""
FOLDS = 10
"""Number of folds of the cross-validation that measures a threshold on rows that did not choose it."""
REPORTED_ACCURACY = 0.95
"""The accuracy that a report names a threshold for."""
NO_ROW = f"answer no row (a threshold must answer {MIN_ANSWERED} of the rows that chose it)"
"""The result of a cross-validation in which no row is answered."""


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """
    The risk-coverage curve of N labelled rows: the error rate of the rows that are answered, most confident first.

    A classifier that abstains below a threshold answers the rows whose confidence is at least the threshold. The share
    of answered rows is the coverage, the error rate of the answered rows the selective risk: El-Yaniv and Wiener
    (2010), On the Foundations of Noise-free Selective Classification, https://jmlr.org/papers/v11/el-yaniv10a.html;
    Geifman and El-Yaniv (2017), Selective Classification for Deep Neural Networks, https://arxiv.org/abs/1705.08500,
    Section 2, with the 0/1 loss. Rows with equal confidence are answered together: the curve has one point for each of
    the K distinct confidences, and the order of the rows does not matter.

    Args:
        thresholds (`np.ndarray` of shape `(K,)`):
            Distinct confidences, 0 to 1, in descending order.
        answered (`np.ndarray` of shape `(K,)`):
            Number of rows with a confidence of at least the threshold; the last one is N.
        errors (`np.ndarray` of shape `(K,)`):
            Number of wrong predictions among the answered rows.
    """

    thresholds: np.ndarray
    answered: np.ndarray
    errors: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows N."""
        return int(self.answered[-1])

    @property
    def coverages(self) -> np.ndarray:
        """Share of answered rows at each threshold, of shape `(K,)`, above 0 to 1."""
        return self.answered / self.rows

    @property
    def risks(self) -> np.ndarray:
        """Error rate of the answered rows at each threshold, of shape `(K,)`, 0 to 1."""
        return self.errors / self.answered

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of the answered rows at each threshold, of shape `(K,)`, 0 to 1."""
        return (self.answered - self.errors) / self.answered  # 1 - risk would be less than 0.45 for 18 of 40

    @cached_property
    def best_risks(self) -> np.ndarray:
        """Error rate of 1 to N rows, of shape `(N,)`, if all correct rows were more confident than all wrong rows."""
        answered = np.arange(1, self.rows + 1)
        return np.maximum(0, answered - (self.rows - self.errors[-1])) / answered

    @property
    def aurc(self) -> float:
        r"""
        Area under the curve, 0 to 1; 0 is best, and confidences without any information give about the error rate.

        `AURC = 1/N \sum_i risk(confidence_i)`, the mean over the rows of the selective risk with the row's own
        confidence as threshold: Geifman, Uziel and El-Yaniv (2019), Bias-Reduced Uncertainty Estimation for Deep
        Neural Classifiers, https://arxiv.org/abs/1805.08206. Tied rows all have the risk of the whole tie.
        """
        return float(np.sum(np.diff(self.answered, prepend=0) * self.risks) / self.rows)

    @property
    def excess_aurc(self) -> float:
        """
        The E-AURC of the same paper: [`aurc`] minus that of the best order of the same predictions, 0 or more.

        The paper approximates the best order for large N; here its area is exact, the mean of [`best_risks`].
        """
        return max(0.0, self.aurc - float(self.best_risks.mean()))  # the maximum is for rounding


def risk_coverage(confidences: np.ndarray, correct: np.ndarray) -> RiskCoverage:
    """
    Computes the risk-coverage curve.

    Args:
        confidences (`np.ndarray` of shape `(N,)`):
            Probability of each row's predicted class, 0 to 1; N is 1 or more.
        correct (`np.ndarray` of shape `(N,)`):
            Whether each prediction is correct.

    Raises:
        [`InputError`]: for other shapes or confidences.

    Example:
        >>> curve = risk_coverage(np.array([0.9, 0.8, 0.8, 0.6]), np.array([True, False, True, True]))
        >>> curve.answered.tolist(), curve.errors.tolist(), round(curve.aurc, 4)
        ([1, 3, 4], [0, 1, 1], 0.2292)
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if confidences.shape != correct.shape or confidences.ndim != 1 or not len(confidences):
        raise InputError(
            f"`confidences` and `correct` must have the same shape (N,), N above 0, got {confidences.shape} and "
            f"{correct.shape}."
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError("`confidences` must be in [0, 1], got others.")
    ascending, of_row = np.unique(confidences, return_inverse=True)
    rows, wrong = np.bincount(of_row), np.bincount(of_row, weights=~correct).astype(int)  # (K,) each, ascending
    return RiskCoverage(ascending[::-1], np.cumsum(rows[::-1]), np.cumsum(wrong[::-1]))


@dataclass(frozen=True)
class SelectivePoint:
    """
    A threshold on the probability of the predicted class, and the accuracy of the rows that it answers.

    Args:
        abstain_below (`float`):
            The threshold, 0 to 1: the rows with a smaller probability have no predicted class. 0 answers all rows.
        answered (`int`):
            Number of answered rows.
        rows (`int`):
            Number of rows.
        accuracy (`float`):
            Accuracy of the answered rows, 0 to 1.
        interval (`tuple[float, float]`):
            95 % bootstrap interval of the accuracy over the answered rows. The threshold is the same in all samples,
            so that the interval does not cover the choice of the threshold.
    """

    abstain_below: float
    answered: int
    rows: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def coverage(self) -> float:
        """Share of answered rows, above 0 to 1."""
        return self.answered / self.rows

    @property
    def share(self) -> str:
        """The answered rows as a text."""
        if self.answered == self.rows:
            return f"all {self.rows:,} rows"
        return f"the most confident {100 * self.coverage:.3g} % of the rows ({self.answered:,} of {self.rows:,})"


def threshold_for(curve: RiskCoverage, target_accuracy: float) -> SelectivePoint | None:
    """
    Chooses the smallest threshold, thus the one that answers most rows, with an accuracy of at least the target.

    Args:
        curve ([`RiskCoverage`]):
            The curve.
        target_accuracy (`float`):
            Accuracy of the answered rows, 0 to 1.

    Returns:
        [`SelectivePoint`], *optional*: `None` if no threshold that answers [`MIN_ANSWERED`] rows or more reaches the
        target.

    Example:
        >>> curve = risk_coverage(np.linspace(1, 0.5, 100), np.repeat([True, False], [60, 40]))
        >>> point = threshold_for(curve, 0.75)
        >>> point.answered, point.accuracy, point.abstain_below
        (80, 0.75, 0.5985)
    """
    index = _index_for(curve, target_accuracy)
    return None if index is None else _point(curve, index)


def most_accurate(curve: RiskCoverage) -> SelectivePoint | None:
    """Chooses the threshold with the highest accuracy, [`MIN_ANSWERED`] answered rows or more; `None` for fewer."""
    allowed = np.flatnonzero(curve.answered >= MIN_ANSWERED)
    if not len(allowed):
        return None
    best = curve.accuracies[allowed].max()
    return _point(curve, int(allowed[curve.accuracies[allowed] == best][-1]))


def curve_text(curve: RiskCoverage) -> str:
    """
    Formats the areas of a curve as one line.

    Example:
        >>> print(curve_text(risk_coverage(np.array([0.9, 0.8, 0.8, 0.6]), np.array([True, False, True, True]))))
        AURC 0.229, excess AURC 0.167
    """
    return f"AURC {curve.aurc:.3f}, excess AURC {curve.excess_aurc:.3f}"


def point_text(curve: RiskCoverage, target_accuracy: float) -> str:
    """
    Describes [`threshold_for`] in one sentence without a full stop.

    Example:
        >>> curve = risk_coverage(np.linspace(1, 0.5, 100), np.repeat([True, False], [60, 40]))
        >>> print(point_text(curve, 0.75))
        answering the most confident 80 % of the rows (80 of 100) gives an accuracy of 0.750
        >>> print(point_text(risk_coverage(np.linspace(1, 0.5, 100), np.arange(100) % 2 == 1), 0.75))
        no share of 30 rows or more reaches an accuracy of 0.75; the best is 0.500, of all 100 rows
    """
    point = threshold_for(curve, target_accuracy)
    if point is not None:
        return f"answering {point.share} gives an accuracy of {point.accuracy:.3f}"
    best = most_accurate(curve)
    others = "" if best is None else f"; the best is {best.accuracy:.3f}, of {best.share}"
    return f"no share of {MIN_ANSWERED} rows or more reaches an accuracy of {target_accuracy:g}{others}"


def target_lines(
    confidences: np.ndarray, correct: np.ndarray, target_accuracy: float, predict_flags: Sequence[str] = ()
) -> list[str]:
    """
    Describes the threshold for a target: the accuracy with its interval, and how optimistic it is.

    The first arguments are as for [`risk_coverage`] and [`threshold_for`]; `predict_flags` are the flags of `extrabert
    predict` that give these confidences, such as `--bf16`.

    Returns:
        `list[str]`: one line if no threshold reaches the target; otherwise one with the threshold, and one with the
        result of [`cross_validated`].
    """
    curve = risk_coverage(confidences, correct)
    point, text = threshold_for(curve, target_accuracy), point_text(curve, target_accuracy)
    if point is None:
        return [text]
    answered, measured = cross_validated(confidences, correct, target_accuracy)
    few = f"warning: only {point.answered} rows are answered, and " if point.answered < FEW_ANSWERED else ""
    command = " ".join(["extrabert predict", *predict_flags, f"--abstain_below {point.abstain_below}"])
    held_out = f"answer {100 * answered / curve.rows:.3g} % of the rows" if answered else NO_ROW
    return [
        f"{text} {interval_text(*point.interval)}: {command}",
        f"{few}this accuracy is optimistic, because the threshold was chosen on the same {curve.rows:,} rows; in "
        f"{FOLDS}-fold cross-validation, thresholds of other rows {held_out}"
        + (f" with an accuracy of {measured:.3f}" if answered else ""),
    ]


def check_abstention(argument: str, value: float, task: TaskSpec) -> None:
    """
    Checks an argument that a classifier abstains by.

    Raises:
        [`InputError`]: unless the task has classes and the value is from 0 to 1.

    Example:
        >>> check_abstention("abstain_below", 90.0, TaskSpec("sst", "sentiment", ("a", "b")))
        Traceback (most recent call last):
        extrabert_hf.errors.InputError: `abstain_below` must be from 0 to 1, such as 0.9, got 90.0.
    """
    if task.is_regression:
        raise InputError(f"`{argument}` is for classes, but {task.name!r} has scores without probabilities.")
    if not 0 <= value <= 1:
        raise InputError(f"`{argument}` must be from 0 to 1, such as 0.9, got {value}.")


def cross_validated(confidences: np.ndarray, correct: np.ndarray, target_accuracy: float) -> tuple[int, float]:
    """
    Measures [`threshold_for`] by cross-validation: each row is answered, or not, by a threshold from other rows.

    The arguments are as for [`risk_coverage`] and [`threshold_for`].

    Returns:
        `tuple[int, float]`: number of answered rows, and their accuracy; NaN if no row is answered.
    """
    fold = np.random.default_rng(0).permutation(len(confidences)) % FOLDS  # (N,)
    answered = np.zeros(len(confidences), dtype=bool)
    for index in np.unique(fold) if len(confidences) > FOLDS else ():
        held_out = fold == index
        curve = risk_coverage(confidences[~held_out], correct[~held_out])
        chosen = _index_for(curve, target_accuracy)
        if chosen is not None:
            answered[held_out] = confidences[held_out] >= _between(curve, chosen)
    return int(answered.sum()), float(correct[answered].mean()) if answered.any() else float("nan")


def _index_for(curve: RiskCoverage, target_accuracy: float) -> int | None:
    reached = np.flatnonzero((curve.accuracies >= target_accuracy) & (curve.answered >= MIN_ANSWERED))
    return int(reached[-1]) if len(reached) else None


def _point(curve: RiskCoverage, index: int) -> SelectivePoint:
    answered, correct = int(curve.answered[index]), int(curve.answered[index] - curve.errors[index])
    is_correct = np.repeat([1, 0], [correct, answered - correct])
    return SelectivePoint(
        abstain_below=_between(curve, index),
        answered=answered,
        rows=curve.rows,
        accuracy=correct / answered,
        interval=bootstrap_interval(accuracy, is_correct, np.ones(answered, dtype=int)),
    )


def _between(curve: RiskCoverage, index: int) -> float:
    """
    Returns a threshold that answers the same rows as `thresholds[index]`, with few digits: a number in the middle of
    this confidence and the next lower one, so that rounding in another batch of rows does not change the answers.
    """
    if index + 1 == len(curve.thresholds):
        return 0.0
    high, low = float(curve.thresholds[index]), float(curve.thresholds[index + 1])
    rounded = (round((low + high) / 2, digits) for digits in range(4, 17))
    return next((each for each in rounded if low < each <= high), high)
