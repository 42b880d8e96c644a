"""Significance tests for two models on the same rows, and the correction for multiple tests."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import checked_rows


def williams_test(r_ay: float, r_by: float, r_ab: float, rows: int) -> tuple[float, float]:
    """
    Tests whether a and b correlate equally well with y, all three measured on the same rows.

    Williams (1959), in the form of Steiger (1980), Psychological Bulletin 87, equation 7 (T2).

    Args:
        r_ay (`float`):
            Pearson correlation of a with y, -1 to 1.
        r_by (`float`):
            Pearson correlation of b with y, -1 to 1.
        r_ab (`float`):
            Pearson correlation of a with b, -1 to 1.
        rows (`int`):
            Number of rows, 4 or more.

    Returns:
        `tuple[float, float]`: t with `rows - 3` degrees of freedom, positive if b correlates better, and the
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
    determinant = max(determinant, np.finfo(float).eps)  # for equal a and b, rounding can make it 0 or negative
    mean = (r_ay + r_by) / 2
    variance = 2 * (rows - 1) / (rows - 3) * determinant + mean**2 * (1 - r_ab) ** 3
    t = (r_by - r_ay) * math.sqrt((rows - 1) * (1 + r_ab) / variance)
    return t, float(2 * stats.t.sf(abs(t), rows - 3))


def mcnemar_test(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """
    Tests whether a and b have the same accuracy, from the rows on which only one of them is correct.

    Exact test of McNemar (1947), Psychometrika 12: if the accuracies are equal, each such row favours a or b with
    probability 1/2.

    Args:
        correct_a (`np.ndarray` of shape `(N,)`):
            Whether the prediction of a is correct.
        correct_b (`np.ndarray` of shape `(N,)`):
            Whether the prediction of b is correct.

    Returns:
        `float`: the two-sided p-value, 1.0 if both are correct on the same rows.

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
    Adjusts p-values for multiple tests: rejecting adjusted values below 5 % limits the family-wise error rate to 5 %.

    Holm (1979), Scandinavian Journal of Statistics 6.

    Args:
        p_values (`Sequence[float]`):
            P-values of the T tests of one table, each in `[0, 1]`.

    Returns:
        `np.ndarray` of shape `(T,)`, in the same order.

    Example:
        >>> holm_adjusted([0.01, 0.5, 0.02]).tolist()
        [0.03, 0.5, 0.04]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    stepped = values[order] * np.arange(len(values), 0, -1)  # the smallest times T, the next times T - 1, ...
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1.0)
    return adjusted
