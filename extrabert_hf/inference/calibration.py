"""Probabilities that mean what they say: temperature scaling, of two classes with a bias, written into the head."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from torch import nn
from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import paired_bootstrap
from extrabert_hf.evaluation.formulas import accuracy
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.tasks import TaskSpec


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


logger = logging.getLogger(__name__)

FOLDS = 10
MIN_ROWS = 100
"""With fewer rows the fit would follow their accidents."""


@dataclass(frozen=True)
class CalibrationScores:
    """
    How good predicted probabilities are.

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
    What a calibration changed, measured by cross-validation: each row is calibrated by a fit to other rows.

    Args:
        temperature (`float`):
            Of the calibration that was fitted to all rows, 1/20 to 20.
        bias (`float`):
            Of the same, -10 to 10; 0 for more than two classes.
        rows (`int`):
            Number of rows of the fit.
        before, after (`CalibrationScores`):
            Without and with calibration.
        accuracy_gain (`tuple[float, float]`):
            95 % interval of the difference of the accuracies, from a paired bootstrap.
    """

    temperature: float
    bias: float
    rows: int
    before: CalibrationScores
    after: CalibrationScores
    accuracy_gain: tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    r"""
    What calibrated logits are: the raw ones over `temperature`, and `bias` more for the second of two classes.

    Temperature scaling, with the bias Platt scaling: Guo et al. (2017), On Calibration of Modern Neural Networks,
    https://arxiv.org/abs/1706.04599, Sections 4.1 and 4.2. Answers change by the bias only, which moves the threshold
    between the two classes.

    Args:
        temperature (`float`):
            Above 0; above 1 where the model was too sure of itself.
        bias (`float`, defaults to 0.0):
            Of two classes, what is added to the second one's logit.

    Example:
        >>> Calibration(temperature=2.0, bias=1.0).apply(np.array([[4.0, 0.0]])).tolist()
        [[2.0, 1.0]]
    """

    temperature: float
    bias: float = 0.0

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """`(N, C)` -> `(N, C)`."""
        logits = logits / self.temperature
        return logits + np.array([0.0, self.bias]) if logits.shape[1] == 2 else logits

    @torch.no_grad()
    def write_into(self, classifier: nn.Linear) -> None:
        """Changes a head's last layer so that its logits are calibrated, wherever the model then goes."""
        for parameter in classifier.parameters():
            parameter /= self.temperature
        if classifier.out_features == 2:
            classifier.bias[1] += self.bias


def fit_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """
    Finds the calibration under which labels are likeliest.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            A model's answers to rows that it was not trained on.
        labels (`np.ndarray` of shape `(N,)`):
            Their class ids.

    Returns:
        [`Calibration`]: with a temperature from 1/20 to 20 and a bias from -10 to 10.
    """

    def calibration_of(point: np.ndarray) -> Calibration:
        return Calibration(float(np.exp(point[0])), float(point[1]) if len(point) == 2 else 0.0)

    bounds = [(-np.log(20), np.log(20)), (-10, 10)][: 2 if logits.shape[1] == 2 else 1]
    logits = logits.astype(np.float64)
    found = minimize(
        lambda point: _surprise(calibration_of(point).apply(logits), labels), np.zeros(len(bounds)), bounds=bounds
    )
    return calibration_of(found.x)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> tuple[Calibration, CalibrationReport]:
    """
    Fits a calibration, and says what it is worth on rows it was not fitted to.

    Args:
        logits (`np.ndarray` of shape `(N, C)`):
            As for [`fit_calibration`], `N` at least 100.
        labels (`np.ndarray` of shape `(N,)`):
            As for [`fit_calibration`].

    Returns:
        `tuple[Calibration, dict]`: the calibration fitted to all rows, and `temperature`, `bias`, `rows`, and the
        scores `before` and `after`: `accuracy`, `expected_calibration_error` and `nll`, the mean negative
        log-likelihood in nats. Those after are of ten parts of the rows, each under a fit to the other nine;
        `accuracy_gain` is the paired 95 % interval of what is between the accuracies.

    Raises:
        [`InputError`]: for fewer rows, or rows of one class only.
    """
    if len(labels) < MIN_ROWS:
        raise InputError(f"`labels` must be {MIN_ROWS} or more to calibrate by, got {len(labels)}.")
    if len(set(labels.tolist())) < 2:
        raise InputError(f"`labels` must be of two classes or more to calibrate by, got {labels[0]} only.")
    found = fit_calibration(logits, labels)
    part = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    fitted = np.empty(logits.shape)
    for fold in range(FOLDS):
        others, its = part != fold, part == fold
        fitted[its] = fit_calibration(logits[others], labels[others]).apply(logits[its])
    gain = paired_bootstrap(accuracy, logits.argmax(axis=1), fitted.argmax(axis=1), labels)
    return found, CalibrationReport(
        temperature=found.temperature,
        bias=found.bias,
        rows=len(labels),
        before=_scores(logits.astype(np.float64), labels),
        after=_scores(fitted, labels),
        accuracy_gain=(gain.low, gain.high),
    )


def calibrate_model(
    model: ExtraBertForOneTask, tokenizer: PreTrainedTokenizerBase, task: TaskSpec, rows: Dataset, **options: Any
) -> CalibrationReport:
    """
    Calibrates the head of a model for classes.

    Args:
        model ([`ExtraBertForOneTask`]):
            Its head is changed in place.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task ([`TaskSpec`]):
            What the rows hold.
        rows (`Dataset`):
            Labelled ones that it was not trained on, with `sentence1`, for pairs `sentence2`, and `label`.
        options:
            Of [`predict_logits`].

    Returns:
        `dict`: what [`calibrate`] says.

    Raises:
        [`InputError`]: for a task that has no classes, or too few rows.
    """
    if task.is_regression:
        raise InputError(f"only classes have probabilities to calibrate, {task.name!r} has scores.")
    logits = predict_logits(model, tokenizer, *(rows[name][:] for name in task.sentence_columns), **options)
    found, report = calibrate(logits, np.asarray(rows["label"][:]))
    found.write_into(model.head.classifier)
    told = (
        f"{name.replace('_', ' ')} {value:.3f} -> {getattr(report.after, name):.3f}"
        for name, value in asdict(report.before).items()
    )
    low, high = report.accuracy_gain
    logger.info(
        "%s calibrated: %s, each row by a fit to others; gain of accuracy, 95 %% interval: %+.3f to %+.3f",
        *(task.name, ", ".join(told), low, high),
    )
    return report


def _surprise(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _scores(logits: np.ndarray, labels: np.ndarray) -> CalibrationScores:
    probabilities = softmax(logits, axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return CalibrationScores(
        accuracy=float(correct.mean()),
        expected_calibration_error=expected_calibration_error(probabilities.max(axis=1), correct),
        nll=_surprise(logits, labels),
    )
