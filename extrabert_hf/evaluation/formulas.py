"""
The formulas of the metrics, for weighted rows.

Every formula has an argument `weights`: how often each row counts. By default each row counts once. With weights of
shape `(R, N)` the result has shape `(R,)`: the metric of R resamples, as a bootstrap needs it. A row of weight 3
counts like three equal rows; a row of weight 0 does not count.

A formula that is undefined (0 / 0) returns 0.0, never NaN.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

Formula = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""`formula(predictions (N,), labels (N,), weights (N,) or (R, N) or None)`, a scalar or `(R,)`."""


def accuracy(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of rows with the correct predicted class."""
    return _mean(predictions == labels, weights)


def within_1_accuracy(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of rows with a predicted class at most 1 from the label; the classes are ordered."""
    return _mean(np.abs(predictions - labels) <= 1, weights)


def f1(
    predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, positive_class: int = 1
) -> np.ndarray:
    """
    Harmonic mean of precision and recall of one class, `2 TP / (predicted + labelled)`.

    The result is 0.0 if no row has the class as prediction or label.
    """
    predicted, labelled = predictions == positive_class, labels == positive_class  # (N,)
    return _ratio(2 * _total(predicted & labelled, weights), _total(predicted, weights) + _total(labelled, weights))


def macro_f1(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """
    Unweighted mean of the [`f1`] of each class, so that a rare class counts as much as a frequent one.

    The mean is over the classes that some row has as prediction or label.
    """
    _, class_of = np.unique(np.concatenate([predictions, labels]), return_inverse=True)  # (2N,) of C classes
    predicted_class, labelled_class = np.split(class_of, 2)  # (N,) each
    classes = class_of.max() + 1
    rows = np.ones((1, len(labels))) if weights is None else np.atleast_2d(weights).astype(np.float64)  # (R, N)
    predicted = _total_by_class(rows, predicted_class, classes)  # (C, R)
    labelled = _total_by_class(rows, labelled_class, classes)
    is_correct = predicted_class == labelled_class
    correct = _total_by_class(rows[:, is_correct], labelled_class[is_correct], classes)
    scores = _ratio(2 * correct, predicted + labelled)
    means = scores.sum(axis=0) / (predicted + labelled > 0).sum(axis=0)  # a class that does not occur has a score of 0
    return means[0] if weights is None or weights.ndim == 1 else means


def quadratic_kappa(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """
    Agreement beyond chance where an error counts by the square of its distance: `1 - observed / expected`.

    Weighted kappa of Cohen (1968), https://doi.org/10.1037/h0026256, with weights `(prediction - label)^2`. `observed`
    is the mean weight over the rows, `expected` the mean weight over all pairs of a prediction and a label. Both are
    computed times `N^2`, as whole numbers, so that chance agreement is exactly 0.0. The result is also 0.0 if all
    predictions and labels are one class.
    """
    rows = _total(np.ones(len(labels)), weights)
    observed = rows * _total((predictions - labels) ** 2, weights)
    expected = rows * _total(predictions**2 + labels**2, weights)
    expected = expected - 2 * _total(predictions, weights) * _total(labels, weights)
    return _ratio(expected - observed, expected)


def pearson(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Linear correlation, -1 to 1; 0.0 if predictions or labels are constant up to rounding."""
    x, y = _deviations(predictions, weights), _deviations(labels, weights)  # (..., N)
    spread = _root_mean_square(x, weights) * _root_mean_square(y, weights)
    return np.clip(_ratio(_mean(x * y, weights), spread), -1.0, 1.0)


def spearman(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Correlation of the ranks, -1 to 1; tied rows, and the copies of a weighted row, get the mean of the ranks."""
    return pearson(_ranks(predictions, weights), _ranks(labels, weights), weights)


def mean_squared_error(predictions: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of the squared differences, in squared units of the label."""
    return _mean((predictions - labels) ** 2, weights)


def _total(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Sum over the rows: `(N,)` or `(R, N)` values, a scalar or `(R,)`."""
    if weights is None:
        return values.sum(axis=-1, dtype=np.float64)
    return np.einsum("...n,...n->...", weights, values, dtype=np.float64)


def _total_by_class(weights: np.ndarray, class_of: np.ndarray, classes: int) -> np.ndarray:
    """Sum of the weights `(R, N)` of each class's rows: `(C, R)`. The classes of the rows are `(N,)`."""
    indicator = csr_array((np.ones(len(class_of)), (class_of, np.arange(len(class_of)))), (classes, len(class_of)))
    return indicator @ weights.T


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return _total(values, weights) / _total(np.ones(values.shape[-1]), weights)


def _deviations(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Distances from the mean, `(..., N)`, in units of the largest value; deviations within rounding are exactly 0."""
    values = values / (np.abs(values).max() or 1.0)
    deviations = values - np.expand_dims(_mean(values, weights), -1)
    deviations[np.abs(deviations) <= 1e-14] = 0.0  # 45 times the spacing of float64 at 1
    return deviations


def _root_mean_square(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.sqrt(_mean(values**2, weights))


def _ranks(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Rank of each row, from 1, in the sample that the weights describe: `(N,)` values, `(N,)` or `(R, N)` ranks."""
    weights = np.ones(len(values)) if weights is None else weights
    _, tie = np.unique(values, return_inverse=True)  # (N,) which of the U distinct values
    order = np.argsort(tie, kind="stable")
    first = np.flatnonzero(np.diff(tie[order], prepend=-1))  # (U,) start of each tie in that order
    size = np.add.reduceat(np.take(weights, order, axis=-1), first, axis=-1)  # (..., U) rows in each tie
    middle = np.cumsum(size, axis=-1) - (size - 1) / 2  # (..., U)
    return np.take(middle, tie, axis=-1)  # (..., N)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, 0.0 if the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(np.shape(denominator)), where=denominator != 0)
