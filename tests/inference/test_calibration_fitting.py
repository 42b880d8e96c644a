import numpy as np
import pytest
import torch
from scipy.special import softmax

from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.inference.calibration import Calibration, calibrate, calibrate_model, fit_calibration
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.tasks import PAPER_TASKS


def drawn(classes, rows=4000, seed=0):
    """Logits, and labels that are as likely as their softmax says."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(scale=1.5, size=(rows, classes))
    labels = np.array([draw.choice(classes, p=row) for row in softmax(logits, axis=1)])
    return logits, labels


@pytest.mark.parametrize("classes", [2, 5])
def test_true_probabilities_stay_as_they_are(classes):
    found = fit_calibration(*drawn(classes))
    assert found.temperature == pytest.approx(1.0, abs=0.08)
    assert found.bias == pytest.approx(0.0, abs=0.12)


@pytest.mark.parametrize(("classes", "bias"), [(2, 1.3), (5, 0.0)])
def test_a_distortion_is_undone(classes, bias):
    logits, labels = drawn(classes)
    shifted = logits - np.array([0.0, bias]) if classes == 2 else logits
    report = calibrate(3.0 * shifted, labels)
    found = fit_calibration(3.0 * shifted, labels)
    assert found.temperature == pytest.approx(3.0, rel=0.08)
    assert found.bias == pytest.approx(bias, abs=0.15)
    assert report.before.expected_calibration_error > 0.1
    assert report.after.expected_calibration_error < 0.03
    assert report.after.nll < report.before.nll
    low, high = report.accuracy_gain
    gain = report.after.accuracy - report.before.accuracy
    assert low <= gain <= high and (low > 0) == (classes == 2)
    assert (report.temperature, report.bias, report.rows) == (found.temperature, found.bias, 4000)
    assert report.calibration == found


def test_scores_after_are_of_rows_that_the_fit_has_not_seen():
    draw = np.random.default_rng(0)
    report = calibrate(draw.normal(size=(100, 2)), draw.integers(0, 2, size=100))  # nothing to learn
    assert report.after.nll > np.log(2)  # worse than a coin: what it learnt were accidents


def test_predictions_that_are_never_wrong_do_not_send_the_fit_to_infinity():
    labels = np.arange(200) % 2
    found = fit_calibration(np.eye(2)[labels], labels)
    assert 1 / 20 <= found.temperature < 1 / 10


def test_too_few_rows_and_rows_of_one_class_are_refused():
    with pytest.raises(InputError, match="`labels` must be of two classes or more to calibrate by, got 1 only"):
        calibrate(np.zeros((200, 2)), np.ones(200, dtype=int))
    with pytest.raises(InputError, match="`labels` must be 100 or more to calibrate by, got 99"):
        calibrate(np.zeros((99, 2)), np.zeros(99, dtype=int))


@pytest.mark.parametrize("classes", [2, 5])
def test_a_classifier_gives_the_logits_of_its_calibration(classes):
    torch.manual_seed(0)
    classifier, vectors = torch.nn.Linear(8, classes), torch.randn(6, 8)
    calibration = Calibration(temperature=2.5, bias=0.7 if classes == 2 else 0.0)
    expected = calibration.apply(classifier(vectors).detach().numpy())
    calibration.write_into(classifier)
    np.testing.assert_allclose(classifier(vectors).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_model_is_calibrated_in_place(tiny_encoder):
    task = PAPER_TASKS["para"]
    model, tokenizer = build_model(tiny_encoder, task)
    rows = load_split(task, "sample", "train").splits["train"]
    sentences = [rows["sentence1"][:], rows["sentence2"][:]]
    before = predict_logits(model, tokenizer, *sentences)
    report = calibrate_model(TrainedModel(model, tokenizer, task), rows)
    expected = report.calibration.apply(before)
    np.testing.assert_allclose(predict_logits(model, tokenizer, *sentences), expected, rtol=1e-4, atol=1e-5)


def test_scores_are_refused(tiny_encoder):
    task = PAPER_TASKS["sts"]
    model, tokenizer = build_model(tiny_encoder, task)
    rows = load_split(task, "sample", "dev").splits["dev"]
    with pytest.raises(InputError, match="only classes have probabilities to calibrate, but 'sts' has scores"):
        calibrate_model(TrainedModel(model, tokenizer, task), rows)
