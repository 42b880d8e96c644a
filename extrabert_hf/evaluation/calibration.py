"""Whether a model's probabilities mean what they say."""

import numpy as np

from extrabert_hf.errors import InputError


def reliability_bins(confidences: np.ndarray, correct: np.ndarray, bins: int = 10) -> list[tuple[float, float, int]]:
    """
    Groups answers by how sure the model was, in equally wide bins.

    Args:
        confidences (`np.ndarray` of shape `(N,)`):
            Probability of the class that was answered, 0 to 1.
        correct (`np.ndarray` of shape `(N,)`):
            Whether the answer was right.
        bins (`int`, defaults to 10):
            How many, 1 or more.

    Returns:
        `list[tuple[float, float, int]]`: of each bin that is not empty the mean confidence, the share of right answers
        and the number of rows.

    Example:
        >>> reliability_bins(np.array([0.9, 0.95, 0.55]), np.array([True, False, True]))
        [(0.55, 1.0, 1), (0.925, 0.5, 2)]
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if confidences.shape != correct.shape or confidences.ndim != 1:
        raise InputError(f"`correct` must have the shape of `confidences`, {confidences.shape}, got {correct.shape}.")
    if bins < 1 or not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError(f"`confidences` must be in [0, 1] and `bins` 1 or more, got {bins} bins.")
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    groups = [places == place for place in range(bins)]
    return [
        (round(float(confidences[rows].mean()), 12), float(correct[rows].mean()), int(rows.sum()))
        for rows in groups
        if rows.any()
    ]


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """
    Mean distance of confidence and share of right answers over the bins, weighted by their rows; 0 is best.

    Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599, Equation 3.
    Arguments as for [`reliability_bins`].

    Example:
        >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
        0.4
    """
    found = reliability_bins(confidences, correct, bins)
    rows = sum(count for _, _, count in found)
    return round(float(sum(count * abs(sure - right) for sure, right, count in found) / rows), 12)
