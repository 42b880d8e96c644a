import time

import numpy as np
import pytest
from scipy import stats

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import bootstrap_interval, mean_interval, paired_bootstrap
from extrabert_hf.evaluation.formulas import accuracy, pearson
from extrabert_hf.evaluation.metrics import CLASS_FORMULAS, FORMULAS
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test


def draw_predictions(name, rows, skills, seed=0):
    """Labels, and a model per skill: the share of rows it knows, or how much it correlates."""
    generator = np.random.default_rng(seed)
    if name in CLASS_FORMULAS:
        labels = generator.integers(3, size=rows)
        guesses = generator.integers(3, size=(len(skills), rows))
        return np.where(generator.random((len(skills), rows)) < np.array(skills)[:, None], labels, guesses), labels
    labels = generator.normal(size=rows)
    skills = np.array(skills)[:, None]
    return skills * labels + (1 - skills**2) ** 0.5 * generator.normal(size=(len(skills), rows)), labels


@pytest.mark.parametrize("name", FORMULAS)
def test_identical_predictions_differ_by_nothing(name):
    (predictions,), labels = draw_predictions(name, 60, [0.7])
    found = paired_bootstrap(FORMULAS[name], predictions, predictions, labels, resamples=50)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("name", FORMULAS)
def test_swapping_the_sides_turns_the_sign_and_nothing_else(name):
    (a, b), labels = draw_predictions(name, 80, [0.6, 0.8])
    forward = paired_bootstrap(FORMULAS[name], a, b, labels, resamples=200)
    back = paired_bootstrap(FORMULAS[name], b, a, labels, resamples=200)
    assert (back.difference, back.p_value) == (-forward.difference, forward.p_value)
    assert (back.low, back.high) == pytest.approx((-forward.high, -forward.low), abs=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "pearson"])
def test_a_better_model_is_better_for_sure(name):
    (a, b), labels = draw_predictions(name, 600, [0.5, 0.8])
    found = paired_bootstrap(FORMULAS[name], a, b, labels, resamples=400)
    score_a, score_b = (float(FORMULAS[name](one, labels)) for one in (a, b))
    assert found.difference == pytest.approx(score_b - score_a, abs=1e-12)
    assert 0 < found.low < found.difference < found.high
    assert found.p_value == 1 / 400  # no resample says otherwise, and fewer than one in so many cannot be told


def test_the_two_sides_meet_the_same_rows():
    (a,), labels = draw_predictions("pearson", 200, [0.3])
    b = a + 0.01 * np.random.default_rng(1).normal(size=200)
    found = paired_bootstrap(pearson, a, b, labels, resamples=200)
    low, high = bootstrap_interval(pearson, a, labels, resamples=200)
    assert found.high - found.low < 0.1 * (high - low)


def test_the_p_value_is_where_the_interval_begins_to_hold_zero():
    (a, b), labels = draw_predictions("pearson", 150, [0.5, 0.55])
    p_value = paired_bootstrap(pearson, a, b, labels).p_value
    assert 0.05 < p_value < 0.9
    wider = paired_bootstrap(pearson, a, b, labels, confidence=1 - p_value + 0.01)
    narrower = paired_bootstrap(pearson, a, b, labels, confidence=1 - p_value - 0.01)
    assert wider.low <= 0 <= wider.high
    assert not narrower.low <= 0 <= narrower.high


def test_the_interval_covers_the_true_difference_and_the_test_errs_as_often_as_promised():
    covered, rejected = 0, 0
    for seed in range(250):
        (a, b, equal_b), labels = draw_predictions("accuracy", 150, [0.5, 0.65, 0.5], seed)
        found = paired_bootstrap(accuracy, a, b, labels, resamples=200, seed=seed)
        covered += found.low <= 0.15 * 2 / 3 <= found.high  # an unknown row is guessed right once in three
        rejected += paired_bootstrap(accuracy, a, equal_b, labels, resamples=200, seed=seed).p_value < 0.05
    assert 0.90 <= covered / 250 <= 0.985
    assert 0.01 <= rejected / 250 <= 0.09


def test_a_side_is_the_mean_of_its_runs():
    (a, b, c), labels = draw_predictions("accuracy", 120, [0.4, 0.6, 0.8])
    found = paired_bootstrap(accuracy, np.stack([a, b]), c, labels, resamples=100)
    mean = (accuracy(a, labels) + accuracy(b, labels)) / 2
    assert found.difference == pytest.approx(accuracy(c, labels) - mean)
    assert (found.runs_a, found.runs_b) == (2, 1)
    repeated = paired_bootstrap(accuracy, np.stack([a, a, a]), np.stack([c, c]), labels, resamples=100)
    once = paired_bootstrap(accuracy, a, c, labels, resamples=100)
    assert (repeated.difference, repeated.p_value) == (once.difference, once.p_value)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))


def test_the_order_of_the_runs_does_not_make_a_difference():
    predictions, labels = draw_predictions("accuracy", 120, [0.4, 0.6, 0.8])
    found = paired_bootstrap(accuracy, predictions, predictions[[2, 0, 1]], labels, resamples=200)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_seed_decides_the_samples():
    (a, b), labels = draw_predictions("pearson", 50, [0.5, 0.7])
    assert paired_bootstrap(pearson, a, b, labels, seed=1) == paired_bootstrap(pearson, a, b, labels, seed=1)
    assert paired_bootstrap(pearson, a, b, labels, seed=1) != paired_bootstrap(pearson, a, b, labels, seed=2)


def test_a_constant_side_is_compared_without_warnings(recwarn):
    (a,), labels = draw_predictions("pearson", 100, [0.8])
    found = paired_bootstrap(pearson, np.full(100, 2.5), a, labels, resamples=50)
    assert found.difference == pytest.approx(float(pearson(a, labels)))
    assert not recwarn.list


def test_thousands_of_rows_take_about_a_second():
    (a, b), labels = draw_predictions("pearson", 2500, [0.7, 0.8])
    start = time.process_time()
    paired_bootstrap(pearson, a, b, labels)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("name", ["accuracy", "pearson"])
def test_the_mean_interval_of_one_run_is_its_own(name):
    (predictions,), labels = draw_predictions(name, 90, [0.7])
    assert mean_interval(FORMULAS[name], predictions, labels) == bootstrap_interval(
        FORMULAS[name], predictions, labels
    )


def test_the_mean_interval_resamples_all_runs_together():
    predictions, labels = draw_predictions("pearson", 200, [0.7, 0.7])
    low, high = mean_interval(pearson, predictions, labels, resamples=500)
    assert low < np.mean([pearson(one, labels) for one in predictions]) < high
    same = mean_interval(pearson, predictions[[0, 0]], labels, resamples=500)
    alone = mean_interval(pearson, predictions[0], labels, resamples=500)
    assert same == pytest.approx(alone)  # a run that says the same again tells nothing more


def test_williams_agrees_with_a_published_example():
    t, p_value = williams_test(r_ay=0.4, r_by=0.5, r_ab=0.1, rows=103)
    assert (round(t, 2), round(p_value, 2)) == (0.89, 0.37)


def test_williams_errs_as_often_as_promised_and_finds_what_is_there():
    generator = np.random.default_rng(0)
    y, own_a, own_b, shared = generator.normal(size=(4, 2000, 60))  # 2000 experiments of 60 rows
    a = 0.6 * y + 0.5 * shared + 0.6 * own_a
    equal, better = 0.6 * y + 0.5 * shared + 0.6 * own_b, 1.2 * y + 0.5 * shared + 0.6 * own_b

    def zscores(rows):
        return stats.zscore(rows, axis=1)

    def rejected(b):
        r = [[(zscores(one) * zscores(other)).mean(axis=1)] for one, other in ((a, y), (b, y), (a, b))]
        tests = [williams_test(*correlations, rows=60) for correlations in np.vstack(r).T.tolist()]
        return np.mean([p_value < 0.05 for _, p_value in tests]), np.mean([t > 0 for t, _ in tests])

    size, balance = rejected(equal)
    assert 0.04 <= size <= 0.06  # 5 % with a standard error of 0.5 %
    assert 0.46 <= balance <= 0.54
    power, positive = rejected(better)
    assert power > 0.8
    assert positive > 0.99


def test_williams_agrees_with_the_bootstrap():
    (a, b), labels = draw_predictions("pearson", 800, [0.70, 0.74], seed=2)
    r = [float(pearson(*pair)) for pair in ((a, labels), (b, labels), (a, b))]
    assert williams_test(*r, rows=800)[1] == pytest.approx(paired_bootstrap(pearson, a, b, labels).p_value, abs=0.02)


def test_williams_is_antisymmetric_and_knows_equals():
    t, p_value = williams_test(0.3, 0.6, 0.4, rows=50)
    assert williams_test(0.6, 0.3, 0.4, rows=50) == (-t, p_value)
    assert williams_test(0.6, 0.6, 1.0, rows=50) == (0.0, 1.0)


def test_mcnemar_is_the_fair_coin_of_the_rows_that_one_side_alone_gets_right():
    a = np.repeat([True, True, False, False], [50, 3, 12, 7])
    b = np.repeat([True, False, True, False], [50, 3, 12, 7])
    assert mcnemar_test(a, b) == mcnemar_test(b, a) == pytest.approx(2 * stats.binom.cdf(3, 15, 0.5))
    assert mcnemar_test(a, a) == 1.0


def test_holm_is_as_by_hand_and_leaves_the_order():
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([0.2]).tolist() == [0.2]
    assert holm_adjusted([]).tolist() == []


def test_holm_is_monotone_between_the_p_values_and_bonferroni():
    p_values = np.random.default_rng(0).random(21) ** 3
    adjusted = holm_adjusted(p_values)
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(21 * p_values, 1)).all()


def test_holm_rejects_anything_in_at_most_one_table_of_twenty():
    tables = np.random.default_rng(0).random((2000, 21))  # nothing is there to be found
    assert 0.035 <= np.mean([(holm_adjusted(table) < 0.05).any() for table in tables]) <= 0.065


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: paired_bootstrap(accuracy, [1, 0], [1, 0, 1], [1, 0]),
            "`predictions_b` and `labels` must have equal",
        ),
        (lambda: paired_bootstrap(accuracy, np.ones((0, 2)), [1, 0], [1, 0]), r"must have shape .*, got \(0, 2\)"),
        (
            lambda: paired_bootstrap(accuracy, np.ones((1, 1, 2)), [1, 0], [1, 0]),
            r"`predictions_a` .* got \(1, 1, 2\)",
        ),
        (lambda: paired_bootstrap(pearson, [1.0, np.nan], [1, 0], [1, 0]), "`predictions_a` must be finite, got nan"),
        (lambda: paired_bootstrap(accuracy, [1], [1], [1], confidence=95), "`confidence` must be between 0 and 1"),
        (lambda: mean_interval(accuracy, [1], [1], resamples=0), "`resamples` must be 1 or more, got 0"),
        (lambda: williams_test(0.1, 1.2, 0.3, rows=9), "`r_by` must be a correlation from -1 to 1, got 1.2"),
        (lambda: williams_test(0.1, 0.2, 0.3, rows=3), "`rows` must be 4 or more, got 3"),
        (lambda: mcnemar_test([1, 2], [1, 0]), "`correct_a` must be class ids from 0 to 1, got 2"),
    ],
)
def test_what_cannot_be_used_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
