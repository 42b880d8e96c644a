"""Calibrates classifiers by temperature scaling, for two classes with a bias, and writes the result into the head."""

import logging
from dataclasses import dataclass, fields

import numpy as np
import torch
from datasets import Dataset
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch import nn

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import paired_bootstrap
from extrabert_hf.evaluation.formulas import accuracy
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.loading import TrainedModel

FOLDS = 10
"""Number of folds of the cross-validation that measures a calibration."""
MIN_ROWS = 100
"""Minimum number of rows to calibrate on: a fit to fewer rows would follow noise."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReliabilityBin:
    """
    The predictions with a confidence in one bin.

    Args:
        confidence (`float`):
            Mean probability of the predicted class, 0 to 1.
        accuracy (`float`):
            Share of correct predictions, 0 to 1.
        rows (`int`):
            Number of rows, 1 or more.
    """

    confidence: float
    accuracy: float
    rows: int


def reliability_bins(confidences: np.ndarray, correct: np.ndarray, bins: int = 10) -> list[ReliabilityBin]:
    """
    Groups predictions by confidence, in equally wide bins.

    Args:
        confidences (`np.ndarray` of shape `(N,)`):
            Probability of each row's predicted class, 0 to 1.
        correct (`np.ndarray` of shape `(N,)`):
            Whether each prediction is correct.
        bins (`int`, defaults to 10):
            Number of bins, 1 or more.

    Returns:
        `list[ReliabilityBin]`: the bins that are not empty, in ascending order.

    Example:
        >>> for each in reliability_bins(np.array([0.9, 0.95, 0.55]), np.array([True, False, True])):
        ...     print(each)
        ReliabilityBin(confidence=0.55, accuracy=1.0, rows=1)
        ReliabilityBin(confidence=0.925, accuracy=0.5, rows=2)
    """
    confidences, correct = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
    if confidences.shape != correct.shape or confidences.ndim != 1:
        raise InputError(f"`correct` must have the shape of `confidences`, {confidences.shape}, got {correct.shape}.")
    if bins < 1 or not ((confidences >= 0) & (confidences <= 1)).all():
        raise InputError(f"`confidences` must be in [0, 1] and `bins` 1 or more, got {bins} bins.")
    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)
    groups = [bin_of == index for index in range(bins)]
    return [
        ReliabilityBin(round(float(confidences[rows].mean()), 12), float(correct[rows].mean()), int(rows.sum()))
        for rows in groups
        if rows.any()
    ]


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """
    Mean absolute difference of confidence and accuracy over the bins, weighted by rows; 0 is best.

    Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599, Equation 3.
    Arguments as for [`reliability_bins`].

    Example:
        >>> expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
        0.4
    """
    found = reliability_bins(confidences, correct, bins)
    total = sum(each.rows * abs(each.confidence - each.accuracy) for each in found)
    return round(float(total / sum(each.rows for each in found)), 12)


@dataclass(frozen=True)
class Calibration:
    r"""
    Maps logits to calibrated logits: divides them by `temperature`, then adds `bias` to the second of two classes.

    Temperature scaling; with the bias, Platt scaling. Guo et al. (2017), On Calibration of Modern Neural Networks,
    https://arxiv.org/abs/1706.04599, Sections 4.1 and 4.2. Only the bias changes predictions: it moves the threshold
    between the two classes.

    Args:
        temperature (`float`):
            Above 0; above 1 for a model that was overconfident.
        bias (`float`, defaults to 0.0):
            Added to the logit of the second of two classes; unused for more classes.

    Example:
        >>> Calibration(temperature=2.0, bias=1.0).apply(np.array([[4.0, 0.0]])).tolist()
        [[2.0, 1.0]]
    """

    temperature: float
    bias: float = 0.0

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Calibrates logits of shape `(N, C)`."""
        logits = logits / self.temperature
        return logits + np.array([0.0, self.bias]) if logits.shape[1] == 2 else logits

    @torch.no_grad()
    def write_into(self, classifier: nn.Linear) -> None:
        """Changes the last layer of a head in place, so that the head's logits are calibrated."""
        for parameter in classifier.parameters():
            parameter /= self.temperature
        if classifier.out_features == 2:
            classifier.bias[1] += self.bias


@dataclass(frozen=True)
class CalibrationScores:
    """
    Quality of predicted probabilities.

    Args:
        accuracy (`float`):
            Share of rows whose most probable class is the label, 0 to 1.
        expected_calibration_error (`float`):
            See [`expected_calibration_error`], 0 to 1, 0 is best.
        nll (`float`):
            Mean negative log-likelihood of the labels, in nats, 0 or more.
    """

    accuracy: float
    expected_calibration_error: float
    nll: float


@dataclass(frozen=True)
class CalibrationReport:
    """
    A calibration that was fitted to all rows, and its effect, measured by cross-validation.

    Args:
        temperature (`float`):
            Temperature of the calibration, 1/20 to 20.
        bias (`float`):
            Bias of the calibration, -10 to 10; 0 for more than two classes.
        rows (`int`):
            Number of rows of the fit.
        before (`CalibrationScores`):
            Scores without calibration.
        after (`CalibrationScores`):
            Scores with calibration; each row is calibrated by a fit to other rows.
        accuracy_gain (`tuple[float, float]`):
            95 % interval of the difference of the accuracies, from a paired bootstrap.
    """

    temperature: float
    bias: float
    rows: int
    before: CalibrationScores
    after: CalibrationScores
    accuracy_gain: tuple[float, float]

    @property
    def calibration(self) -> Calibration:
        """The calibration that was fitted to all rows."""
        return Calibration(self.temperature, self.bias)


def fit_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """
    Fits the calibration that maximizes the likelihood of the labels.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            Logits of rows that the model was not trained on.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids of these rows.

    Returns:
        [`Calibration`]: with a temperature from 1/20 to 20 and a bias from -10 to 10.
    """

    def calibration_of(point: np.ndarray) -> Calibration:
        return Calibration(float(np.exp(point[0])), float(point[1]) if len(point) == 2 else 0.0)

    bounds = [(-np.log(20), np.log(20)), (-10, 10)][: 2 if logits.shape[1] == 2 else 1]
    logits = logits.astype(np.float64)
    found = minimize(
        lambda point: _nll(calibration_of(point).apply(logits), labels), np.zeros(len(bounds)), bounds=bounds
    )
    return calibration_of(found.x)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> CalibrationReport:
    """
    Fits a calibration to all rows, and measures its effect by 10-fold cross-validation.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            As for [`fit_calibration`], `N` at least 100.
        labels (`np.ndarray` of shape `(N,)`):
            As for [`fit_calibration`].

    Raises:
        [`InputError`]: for fewer rows, or labels of one class only.
    """
    if len(labels) < MIN_ROWS:
        raise InputError(f"`labels` must be {MIN_ROWS} or more to calibrate by, got {len(labels)}.")
    if len(set(labels.tolist())) < 2:
        raise InputError(f"`labels` must be of two classes or more to calibrate by, got {labels[0]} only.")
    calibration = fit_calibration(logits, labels)
    fold_of = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    calibrated = np.empty(logits.shape)
    for fold in range(FOLDS):
        held_out = fold_of == fold
        calibrated[held_out] = fit_calibration(logits[~held_out], labels[~held_out]).apply(logits[held_out])
    gain = paired_bootstrap(accuracy, logits.argmax(axis=1), calibrated.argmax(axis=1), labels)
    return CalibrationReport(
        temperature=calibration.temperature,
        bias=calibration.bias,
        rows=len(labels),
        before=_scores(logits.astype(np.float64), labels),
        after=_scores(calibrated, labels),
        accuracy_gain=(gain.low, gain.high),
    )


def calibrate_model(
    trained: TrainedModel, rows: Dataset, *, batch_size: int = 64, progress: bool = False
) -> CalibrationReport:
    """
    Calibrates the head of a classifier in place.

    Args:
        trained ([`TrainedModel`]):
            A model of a task with classes; its head is changed.
        rows (`Dataset`):
            Labelled rows that the model was not trained on, 100 or more; as for [`Predictor.predict`].
        batch_size (`int`, defaults to 64):
            Number of sentences in a batch.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Raises:
        [`InputError`]: for a task with scores, and as for [`calibrate`].
    """
    task = trained.task
    if task.is_regression:
        raise InputError(
            f"only classes have probabilities to calibrate, but {task.name!r} has scores: give --coverage 0.9 for "
            "intervals."
        )
    predictions = Predictor((trained,), batch_size=batch_size, progress=progress).predict(rows)
    report = calibrate(predictions.logits, predictions.labels)
    report.calibration.write_into(trained.model.head.classifier)
    if trained.model.config.conformal is not None:
        trained.model.config.conformal = None
        logger.warning("the prediction sets of %s are removed: they do not fit the new probabilities", task.name)
    changes = [
        f"{field.name.replace('_', ' ')} {getattr(report.before, field.name):.3f} -> "
        f"{getattr(report.after, field.name):.3f}"
        for field in fields(CalibrationScores)
    ]
    low, high = report.accuracy_gain
    logger.info(
        "%s calibrated, measured by cross-validation: %s; accuracy gain, 95 %% interval: %+.3f to %+.3f",
        *(task.name, ", ".join(changes), low, high),
    )
    return report


def _nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _scores(logits: np.ndarray, labels: np.ndarray) -> CalibrationScores:
    probabilities = softmax(logits, axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return CalibrationScores(
        accuracy=float(correct.mean()),
        expected_calibration_error=expected_calibration_error(probabilities.max(axis=1), correct),
        nll=_nll(logits, labels),
    )
