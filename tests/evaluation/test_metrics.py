import json
import os
import subprocess
import sys

import evaluate
import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metric_classes import (
    F1,
    Accuracy,
    MacroF1,
    MeanSquaredError,
    Pearson,
    QuadraticKappa,
    Spearman,
    WithinOneAccuracy,
)
from extrabert_hf.evaluation.metrics import (
    CLASS_FORMULAS,
    FORMULAS,
    ConstantInputWarning,
    compute_metric,
    compute_metrics,
    metric_names,
    predictions_from_logits,
)
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

METRICS = [Accuracy, F1, MacroF1, WithinOneAccuracy, QuadraticKappa, Pearson, Spearman, MeanSquaredError]
SST, PARA, STS = PAPER_TASKS["sst"], PAPER_TASKS["para"], PAPER_TASKS["sts"]
PREDICTIONS, LABELS = [0, 1, 2, 2, 1], [0, 2, 2, 1, 1]


def test_every_formula_has_its_metric_class():
    assert {metric.key for metric in METRICS} == set(FORMULAS)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_gives_the_value_of_its_formula(metric):
    expected = {metric.key: compute_metric(metric.key, PREDICTIONS, LABELS)}
    assert metric().compute(predictions=PREDICTIONS, references=LABELS) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_rows_may_come_in_batches_or_one_by_one(metric):
    batches, singles = metric(), metric()
    batches.add_batch(predictions=PREDICTIONS[:2], references=LABELS[:2])
    batches.add_batch(predictions=np.array(PREDICTIONS[2:]), references=np.array(LABELS[2:]))
    for prediction, label in zip(PREDICTIONS, LABELS, strict=True):
        singles.add(prediction=prediction, reference=label)
    at_once = metric().compute(predictions=PREDICTIONS, references=LABELS)
    assert batches.compute() == singles.compute() == at_once
    assert batches.compute(predictions=PREDICTIONS, references=LABELS) == at_once  # the rows before are forgotten


def test_metrics_combine():
    combined = evaluate.combine([Accuracy(), MacroF1(), QuadraticKappa()])
    scores = combined.compute(predictions=PREDICTIONS, references=LABELS)
    assert scores == {name: compute_metric(name, PREDICTIONS, LABELS) for name in scores}
    assert list(scores) == ["accuracy", "macro_f1", "quadratic_kappa"]


@pytest.mark.parametrize("names", [("prediction", "reference"), ("predictions", "references")])
def test_combined_metrics_add_rows(names):
    combined = evaluate.combine([Accuracy(), MacroF1()])
    for row in zip(PREDICTIONS, LABELS, strict=True):
        combined.add(**dict(zip(names, row, strict=True)))
    assert combined.compute() == {name: compute_metric(name, PREDICTIONS, LABELS) for name in ("accuracy", "macro_f1")}


def test_metrics_side_by_side_do_not_mix_their_rows():
    first, second = Accuracy(), Accuracy()
    first.add_batch(predictions=[1, 1], references=[1, 1])
    second.add_batch(predictions=[1, 1], references=[0, 0])
    assert first.compute() == {"accuracy": 1.0}
    assert second.compute() == {"accuracy": 0.0}


def test_scores_are_not_rounded_to_float32():
    score = {"predictions": [1.0 + 1e-9, 2.0], "references": [1.0, 2.0]}
    assert MeanSquaredError().compute(**score)["mse"] == pytest.approx(5e-19, rel=1e-6, abs=0)


def test_metrics_write_nothing(tmp_path):
    for metric in METRICS:
        metric(cache_dir=tmp_path).compute(predictions=PREDICTIONS, references=LABELS)
    assert not list(tmp_path.iterdir())


def test_metrics_may_share_their_rows_through_files(tmp_path):
    metric = Accuracy(cache_dir=tmp_path, keep_in_memory=False)
    assert metric.compute(predictions=[1, 1], references=[1, 0]) == {"accuracy": 0.5}
    assert [folder.name for folder in tmp_path.iterdir()] == ["accuracy"]


@pytest.mark.launch
def test_metrics_need_no_network(tmp_path):
    code = """
import json, socket
def refuse(*arguments):
    raise AssertionError("a connection was tried")
socket.socket.connect = socket.getaddrinfo = refuse
from extrabert_hf.evaluation.metric_classes import Accuracy, Pearson
rows = {"predictions": [0, 1, 2], "references": [0, 1, 1]}
print(json.dumps(Accuracy().compute(**rows) | Pearson().compute(**rows)))
"""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == {"accuracy": pytest.approx(2 / 3), "pearson": pytest.approx(3**0.5 / 2)}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["quadratic_kappa", "pearson", "spearman"])
@pytest.mark.parametrize("side", ["predictions", "labels"])
def test_a_constant_input_gives_a_warning_and_scores_zero(name, side):
    rows = {"predictions": [0, 1, 2], "labels": [2, 1, 1], side: [2, 2, 2]}
    with pytest.warns(ConstantInputWarning, match=rf"`{name}` is 0\.0 because the {side} are constant: all 3 are 2"):
        assert compute_metric(name, **rows) == 0.0


def test_input_that_varies_gives_no_warning(recwarn):
    for name in FORMULAS:
        compute_metric(name, PREDICTIONS, LABELS)
    assert not recwarn.list


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([], [], r"`predictions` must have shape \(N,\) with N of 1 or more, got \(0,\)"),
        ([1, 0], [1], "must have equally many rows, got 2 and 1"),
        ([[1, 0]], [1], r"`predictions` must have shape \(N,\) .* got \(1, 2\)"),
        (None, [1], r"`predictions` must have shape \(N,\)"),
        ([1], ["a"], "must be .*numbers, got <U1"),
    ],
)
def test_wrong_rows_are_an_input_error(name, predictions, labels, message):
    metric = next(metric for metric in METRICS if metric.key == name)
    with pytest.raises(InputError, match=message):
        compute_metric(name, predictions, labels)
    with pytest.raises(InputError, match=message.replace("labels", "references")):
        metric().compute(predictions=predictions, references=labels)


@pytest.mark.parametrize("metric", METRICS)
def test_computing_without_rows_is_an_input_error(metric):
    with pytest.raises(InputError, match="got no rows"):
        metric().compute()


@pytest.mark.parametrize("metric", [Pearson, Spearman, MeanSquaredError])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_input_error(metric, value):
    with pytest.raises(InputError, match="`predictions` must be finite, got"):
        metric().compute(predictions=[0.0, value], references=[0.0, 1.0])
    with pytest.raises(InputError, match="`labels` must be finite, got"):
        compute_metric(metric.key, [0.0, 1.0], [value, 1.0])
    with pytest.raises(InputError, match="`prediction"):
        metric().add(prediction=value, reference=1.0)


@pytest.mark.parametrize("name", CLASS_FORMULAS)
def test_classes_must_be_whole_and_not_negative(name):
    with pytest.raises(InputError, match="`predictions` must be whole numbers, got float64"):
        compute_metric(name, [0.7, 1.0], [0, 1])
    with pytest.raises(InputError, match="`labels` must be class ids 0 or more, got -100"):
        compute_metric(name, [0, 1], [0, -100])


def test_unsigned_labels_do_not_wrap_around():
    rows = np.array([0, 30], dtype=np.uint8), np.array([1, 0], dtype=np.uint8)
    assert compute_metric("within_1_accuracy", *rows) == 0.5
    assert compute_metric("mse", *rows) == (1 + 900) / 2


def test_each_task_has_its_metrics():
    three_way = TaskSpec("nli", "paraphrase", ("entailment", "neutral", "contradiction"))
    assert metric_names(SST) == ("accuracy", "macro_f1", "within_1_accuracy", "quadratic_kappa")
    assert metric_names(PARA) == ("accuracy", "f1")
    assert metric_names(three_way) == ("accuracy", "macro_f1")
    assert metric_names(STS) == ("pearson", "spearman", "mse")
    for task in (*PAPER_TASKS.values(), three_way):
        labels = np.array([0, 1, 1, 0])
        scores = compute_metrics(task, labels, labels)
        assert tuple(scores) == metric_names(task)
        assert task.metric in scores
        assert all(type(value) is float for value in scores.values())


def test_a_class_the_task_does_not_have_is_an_input_error():
    with pytest.raises(InputError, match="`predictions` must be class ids from 0 to 1, got 2"):
        compute_metrics(PARA, np.array([2, 1]), np.array([0, 1]))


def test_predictions_from_logits():
    logits = np.array([[0.1, 0.9], [2.0, -1.0], [0.5, 0.5]], dtype=np.float32)
    assert predictions_from_logits(PARA, logits).tolist() == [1, 0, 0]
    scores = np.array([[1.5], [2.5]], dtype=np.float32)
    for shape in ((2, 1), (2,)):
        predictions = predictions_from_logits(STS, scores.reshape(shape))
        assert predictions.tolist() == [1.5, 2.5]
        assert predictions.dtype == np.float64
    assert predictions_from_logits(STS, scores[:1]).shape == (1,)


@pytest.mark.parametrize(
    ("task", "logits", "message"),
    [
        (PARA, np.zeros((3, 5)), r"`logits` must have shape \(N, 2\), got \(3, 5\)"),
        (PARA, np.zeros(3), r"`logits` must have shape \(N, 2\), got \(3,\)"),
        (STS, np.zeros((3, 2)), r"`logits` must have shape \(N, 1\) or \(N,\), got \(3, 2\)"),
        (PARA, np.array([[0.0, np.nan]]), "`logits` must be finite, got nan"),
    ],
)
def test_wrong_logits_are_an_input_error(task, logits, message):
    with pytest.raises(InputError, match=message):
        predictions_from_logits(task, logits)
