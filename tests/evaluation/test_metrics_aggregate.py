from dataclasses import replace

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.tasks import PAPER_TASKS


def test_a_correlation_is_brought_to_the_range_of_an_accuracy_in_2024_only():
    metrics = {"sst": {"accuracy": 0.5}, "para": {"accuracy": 0.5}, "sts": {"pearson": -0.5}}
    assert aggregate_scores(PAPER_TASKS, metrics) == {
        "mean": pytest.approx(1 / 6),
        "cs224n_2024": pytest.approx((0.5 + 0.5 + 0.25) / 3),
        "worst": -0.5,
    }


def test_the_main_metric_counts_whatever_else_there_is():
    metrics = {"para": {"f1": 0.9, "accuracy": 0.25}}
    assert set(aggregate_scores({"para": PAPER_TASKS["para"]}, metrics).values()) == {0.25}


def test_an_error_has_no_place_in_a_mean_of_scores():
    task = replace(PAPER_TASKS["sts"], metric="mse")
    with pytest.raises(InputError, match="`metric` of sts must be a metric for which higher is better, got 'mse'"):
        aggregate_scores({"sts": task}, {"sts": {"mse": 1.0}})
