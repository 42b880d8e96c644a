import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import (
    CHUNK_SIZE,
    bootstrap_interval,
    mean_interval,
    resampled_weights,
    wilson_interval,
)
from extrabert_hf.evaluation.formulas import accuracy, pearson
from extrabert_hf.evaluation.metrics import CLASS_FORMULAS, FORMULAS, compute_metrics, metric_names
from extrabert_hf.evaluation.scores import SplitScores, majority_baseline, score, summarize
from extrabert_hf.tasks import PAPER_TASKS

SST, PARA, STS = PAPER_TASKS["sst"], PAPER_TASKS["para"], PAPER_TASKS["sts"]


def some_rows(name, rows, seed=0):
    """A model that is right more often than not, or correlates by 0.8."""
    generator = np.random.default_rng(seed)
    if name in CLASS_FORMULAS:
        labels = generator.integers(3, size=rows)
        return np.where(generator.random(rows) < 0.7, labels, generator.integers(3, size=rows)), labels
    labels = generator.normal(size=rows)
    return 0.8 * labels + 0.6 * generator.normal(size=rows), labels


def test_weights_are_samples_with_replacement():
    counts = np.array([3, 1, 6])
    weights = np.concatenate(list(resampled_weights(counts, resamples=4000, seed=0)))
    assert weights.shape == (4000, 3)
    assert (weights.sum(axis=1) == 10).all()
    np.testing.assert_allclose(weights.mean(axis=0), counts, rtol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), counts * (1 - counts / 10), rtol=0.1)  # as of a multinomial


def test_many_rows_come_in_chunks_of_bounded_size():
    counts = np.ones(CHUNK_SIZE // 2, dtype=int)
    shapes = [weights.shape for weights in resampled_weights(counts, resamples=5, seed=0)]
    assert shapes == [(2, len(counts)), (2, len(counts)), (1, len(counts))]


@pytest.mark.parametrize("name", FORMULAS)
def test_interval_contains_the_metric_and_shrinks_with_rows(name):
    widths = []
    for rows in (400, 6400):
        predictions, labels = some_rows(name, rows)
        low, high = bootstrap_interval(FORMULAS[name], predictions, labels, resamples=500)
        assert low < FORMULAS[name](predictions, labels) < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)  # the square root of 16


@pytest.mark.parametrize("name", FORMULAS)
def test_interval_is_that_of_resampling_the_rows_themselves(name):
    predictions, labels = some_rows(name, 80)
    generator = np.random.default_rng(5)
    draws = [generator.integers(80, size=80) for _ in range(3000)]
    by_rows = np.quantile([FORMULAS[name](predictions[d], labels[d]) for d in draws], [0.025, 0.975])
    interval = bootstrap_interval(FORMULAS[name], predictions, labels, resamples=3000)
    np.testing.assert_allclose(interval, by_rows, atol=0.12 * (by_rows[1] - by_rows[0]))


def test_interval_agrees_with_scipy():
    rows = some_rows("pearson", 120)
    of_scipy = stats.bootstrap(
        rows,
        lambda x, y: stats.pearsonr(x, y)[0],
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
    ).confidence_interval
    np.testing.assert_allclose(bootstrap_interval(pearson, *rows), of_scipy, atol=0.01)


def test_interval_is_reproducible_by_its_seed():
    rows = some_rows("pearson", 50)
    assert bootstrap_interval(pearson, *rows, seed=1) == bootstrap_interval(pearson, *rows, seed=1)
    assert bootstrap_interval(pearson, *rows, seed=1) != bootstrap_interval(pearson, *rows, seed=2)


def test_higher_confidence_is_wider():
    rows = some_rows("accuracy", 200)
    low_90, high_90 = bootstrap_interval(accuracy, *rows, confidence=0.90)
    low_99, high_99 = bootstrap_interval(accuracy, *rows, confidence=0.99)
    assert low_99 < low_90 < high_90 < high_99


def test_interval_covers_the_true_value_about_as_often_as_promised():
    covered = {"accuracy": 0, "pearson": 0}
    true_value = {"accuracy": 0.7 + 0.3 / 3, "pearson": 0.8}
    for seed in range(200):
        for name in covered:
            low, high = bootstrap_interval(FORMULAS[name], *some_rows(name, 100, seed), resamples=200, seed=seed)
            covered[name] += low <= true_value[name] <= high
    for times in covered.values():
        assert 0.88 <= times / 200 <= 0.985  # 95 % minus what a percentile interval of 100 rows is known to lose


@pytest.mark.parametrize("name", FORMULAS)
def test_intervals_are_numbers_for_few_or_constant_rows(name, recwarn):
    for predictions, labels in (([1], [1]), ([1, 0], [0, 1]), ([1, 1, 1], [0, 1, 2])):
        assert np.isfinite(bootstrap_interval(FORMULAS[name], predictions, labels, resamples=50)).all()
    assert not recwarn.list


@pytest.mark.parametrize("argument", [{"confidence": 0.0}, {"confidence": 95}, {"resamples": 0}])
def test_wrong_options_are_an_input_error(argument):
    with pytest.raises(InputError, match=f"`{next(iter(argument))}` must be"):
        bootstrap_interval(accuracy, [1, 0], [1, 1], **argument)


def test_majority_baseline_of_classes_predicts_the_most_frequent_training_class(recwarn):
    baseline = majority_baseline(SST, train_labels=np.array([3, 3, 1]), labels=np.array([3, 1, 2, 2]))
    assert baseline == {
        "accuracy": 0.25,
        "macro_f1": pytest.approx(2 / 5 / 3),
        "within_1_accuracy": 0.75,
        "quadratic_kappa": 0.0,
    }
    assert not recwarn.list


def test_majority_baseline_of_scores_predicts_the_training_mean():
    baseline = majority_baseline(STS, train_labels=np.array([1.0, 2.0]), labels=np.array([1.5, 3.5]))
    assert baseline == {"mse": 2.0}


def test_wrong_training_labels_are_named():
    with pytest.raises(InputError, match="`train_labels` must be class ids from 0 to 1, got 3"):
        majority_baseline(PARA, train_labels=np.array([3]), labels=np.array([1]))


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=PAPER_TASKS)
def test_score_is_a_whole_report_ready_for_json(task):
    predictions, labels = some_rows("pearson" if task.is_regression else "accuracy", 60)
    if task is PARA:
        predictions, labels = predictions % 2, labels % 2
    scores = score(task, predictions, labels, train_labels=labels)
    assert SplitScores.from_dict(json.loads(json.dumps(asdict(scores), allow_nan=False))) == scores
    assert scores.rows == 60
    assert scores.metrics == compute_metrics(task, predictions, labels)
    assert tuple(scores.intervals) == metric_names(task)
    for name, (low, high) in scores.intervals.items():
        assert low <= scores.metrics[name] <= high
        assert (low, high) == bootstrap_interval(FORMULAS[name], predictions, labels)
    assert scores.majority_baseline == majority_baseline(task, labels, labels)
    assert score(task, predictions, labels).majority_baseline is None


@pytest.mark.parametrize(("count", "rows"), [(0, 7), (7, 7), (1, 1), (3, 40)])
def test_the_wilson_bounds_are_where_the_score_test_starts_to_reject(count, rows):
    for bound in wilson_interval(count, rows):
        if 0 < bound < 1:  # (count / rows - p)^2 = z^2 p (1 - p) / rows
            z = (count / rows - bound) / np.sqrt(bound * (1 - bound) / rows)
            assert abs(z) == pytest.approx(stats.norm.ppf(0.975))
        else:
            assert bound == count / rows


@pytest.mark.parametrize("wrong", [False, True])
def test_an_accuracy_of_0_or_1_has_an_interval_with_a_width_and_another_metric_has_none(wrong):
    labels = np.array([0, 1, 2])
    scores = score(SST, labels + 2 * wrong, labels)
    assert scores.intervals["accuracy"] == wilson_interval(0 if wrong else 3, 3)
    assert np.diff(scores.intervals["accuracy"]) > 0.5
    assert scores.intervals["accuracy"] == mean_interval(accuracy, [labels + 2 * wrong] * 2, labels)
    if not wrong:
        assert scores.intervals["macro_f1"] == (1.0, 1.0)
        lines = summarize("sst dev", scores).splitlines()
        assert "[0.439, 1.000]" in lines[1] and "no interval" in lines[2]


def test_one_wrong_row_leaves_the_bootstrap_as_it_is():
    labels = np.arange(40) % 2
    predictions = np.where(np.arange(40) == 0, 1, labels)
    low, high = bootstrap_interval(accuracy, predictions, labels)
    assert (low, high) == (0.925, 1.0) != wilson_interval(39, 40)
