from dataclasses import replace

import numpy as np
import pytest

from extrabert_hf.evaluation.formulas import f1, macro_f1
from extrabert_hf.evaluation.scores import SplitScores, baseline_warning, score, summarize
from extrabert_hf.tasks import PAPER_TASKS

SST, STS = PAPER_TASKS["sst"], PAPER_TASKS["sts"]


def scores_of(metric, value, low, high, baseline):
    majority = None if baseline is None else {metric: baseline}
    return SplitScores(50, {metric: value}, {metric: (low, high)}, majority)


@pytest.mark.parametrize(
    ("value", "low", "high", "due"),
    [
        (0.2, 0.1, 0.3, "is not above the majority baseline, 0.250"),
        (0.25, 0.1, 0.4, "is not above the majority baseline, 0.250"),
        (0.3, 0.2, 0.4, "may be chance: the interval [0.200, 0.400] contains the majority baseline, 0.250"),
        (0.3, 0.25, 0.4, "may be chance"),
        (0.4, 0.3, 0.5, None),
    ],
)
def test_a_score_is_compared_with_the_majority_baseline(value, low, high, due):
    scores = scores_of("accuracy", value, low, high, 0.25)
    warning = baseline_warning("sst dev", SST, scores)
    assert warning is None if due is None else due in warning
    assert (f"warning: {warning}" in summarize("sst dev", scores, SST)) == (due is not None)
    assert "warning" not in summarize("sst dev", scores)


def test_a_correlation_is_compared_with_0_and_an_error_is_better_below():
    assert "0, no correlation" in baseline_warning("sts dev", STS, scores_of("pearson", 0.1, -0.1, 0.3, None))
    assert baseline_warning("sts dev", STS, scores_of("pearson", 0.3, 0.1, 0.5, None)) is None
    task = replace(STS, metric="mse")
    assert "is not below" in baseline_warning("sts dev", task, scores_of("mse", 2.0, 1.0, 3.0, 2.0))
    assert "may be chance" in baseline_warning("sts dev", task, scores_of("mse", 1.5, 1.0, 2.5, 2.0))
    assert baseline_warning("sts dev", task, scores_of("mse", 1.0, 0.5, 1.5, 2.0)) is None


def test_a_model_without_a_known_baseline_has_no_warning():
    assert baseline_warning("sst dev", SST, scores_of("accuracy", 0.1, 0.0, 0.2, None)) is None


def test_the_macro_f1_of_many_classes_is_the_mean_of_their_f1():
    generator = np.random.default_rng(0)
    predictions, labels = generator.integers(0, 90, size=(2, 150)) * 3  # some classes do not occur
    weights = generator.integers(0, 3, size=(7, 150))
    occurring = [np.union1d(predictions[row > 0], labels[row > 0]) for row in weights]
    due = [
        np.mean([f1(predictions, labels, row, c) for c in ids]) for row, ids in zip(weights, occurring, strict=True)
    ]
    assert macro_f1(predictions, labels, weights) == pytest.approx(due)
    assert macro_f1(predictions, labels, weights[3]) == pytest.approx(due[3])


def test_a_thousand_classes_are_scored_in_seconds():
    generator = np.random.default_rng(0)
    task = replace(SST, class_names=tuple(map(str, range(1000))))
    labels, predictions = generator.integers(0, 1000, size=(2, 2000))
    assert set(score(task, predictions, labels, train_labels=labels).intervals) >= {"accuracy", "macro_f1"}
