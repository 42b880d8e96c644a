import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import paired_bootstrap, paired_difference
from extrabert_hf.evaluation.equal_coverage import resample_selective, selective_scores
from extrabert_hf.evaluation.formulas import accuracy
from extrabert_hf.evaluation.selective import risk_coverage

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(1, 3)), min_size=1, max_size=60)
"""Rows as a confidence in twelfths, so that many are tied, whether the prediction is correct, and a weight."""


def columns(rows):
    return np.array([number / 12 for number, _, _ in rows]), np.array([correct for _, correct, _ in rows])


@given(ROWS)
def test_the_scores_are_those_of_the_risk_coverage_curve(rows):
    confidences, correct = columns(rows)
    curve = risk_coverage(confidences, correct)
    *accuracies, area = selective_scores(confidences, correct, curve.coverages.tolist())
    assert accuracies == pytest.approx(curve.accuracies.tolist()) and area == pytest.approx(curve.aurc)


@given(ROWS, st.floats(0.01, 1), st.randoms(use_true_random=False))
def test_the_accuracy_is_the_mean_over_the_orders_of_tied_rows(rows, coverage, random):
    confidences, correct = columns(rows)
    answered = max(1, round(coverage * len(rows)))
    shuffled = np.array(random.sample(range(len(rows)), len(rows)))
    scores = [
        selective_scores(confidences[order], correct[order], [answered / len(rows)])[0]
        for order in (np.arange(len(rows)), shuffled)
    ]
    assert scores[0] == pytest.approx(scores[1])
    last = np.sort(confidences)[-answered]  # the rows above are all answered, a part of those with this confidence
    above, tied = correct[confidences > last], correct[confidences == last]
    expected = above.sum() + (answered - len(above)) * tied.mean()
    assert scores[0] == pytest.approx(expected / answered)


@given(ROWS, st.floats(0.05, 1))
def test_a_row_of_weight_3_counts_like_three_rows(rows, coverage):
    confidences, correct = columns(rows)
    weights = np.array([weight for *_, weight in rows])
    repeated = selective_scores(np.repeat(confidences, weights), np.repeat(correct, weights), [coverage])
    blank = np.zeros(weights.sum() - len(rows))  # rows of weight 0: the weights must sum to the number of rows
    weighted = selective_scores(
        np.concatenate([confidences, blank + 0.5]),
        np.concatenate([correct, blank.astype(bool)]),
        [coverage],
        np.concatenate([weights, blank])[np.newaxis].repeat(2, axis=0),
    )
    assert weighted == pytest.approx(np.stack([repeated] * 2, axis=1))


def test_all_rows_answered_give_the_paired_bootstrap_of_the_accuracy():
    generator = np.random.default_rng(0)
    labels, confidences = generator.integers(3, size=200), generator.random((2, 3, 200))
    sides = generator.integers(3, size=(2, 3, 200))  # three runs a side
    found = [resample_selective(*side, [1.0]) for side in zip(confidences, sides == labels, strict=True)]
    difference = paired_difference(*(each["accuracy at coverage 1.0"] for each in found))
    expected = paired_bootstrap(accuracy, *sides, labels)
    for name in ("difference", "low", "high", "p_value", "runs_a", "runs_b"):
        assert getattr(difference, name) == pytest.approx(getattr(expected, name)), name


def test_shuffled_confidences_are_worse_at_a_coverage_and_equal_without_one():
    generator = np.random.default_rng(0)
    confidences = generator.random((1, 400))
    correct = generator.random((1, 400)) < 0.4 + 0.6 * confidences
    good = resample_selective(confidences, correct, [0.5, 1])
    assert paired_difference(good["aurc"], good["aurc"]).p_value == 1
    shuffled = resample_selective(generator.permutation(confidences, axis=1), correct, [0.5, 1])
    found = {metric: paired_difference(good[metric], shuffled[metric]) for metric in good}
    assert found["accuracy at coverage 0.5"].p_value < 0.01 and found["accuracy at coverage 0.5"].high < 0
    assert found["aurc"].p_value < 0.01 and found["aurc"].low > 0
    assert (found["accuracy at coverage 1"].difference, found["accuracy at coverage 1"].p_value) == (0, 1)


def test_the_interval_covers_the_true_difference():
    # a run is correct with probability .95 - u / 2 or .9 - u / 2 where u, uniform, is 1 - confidence
    generator, covered = np.random.default_rng(0), 0
    for seed in range(200):
        unsure, luck = generator.random(200), generator.random(200)
        sides = [
            resample_selective(
                1 - unsure[np.newaxis], luck[np.newaxis] < best - unsure / 2, [0.5], resamples=300, seed=seed
            )
            for best in (0.95, 0.9)
        ]
        found = paired_difference(*(side["accuracy at coverage 0.5"] for side in sides))
        covered += found.low <= -0.05 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize("coverages", [[0.0], [80], [-0.5], [float("nan")], [0.5, 0.5]])
def test_other_coverages_are_refused(coverages):
    with pytest.raises(InputError, match="`coverage` must be shares"):
        resample_selective(np.ones((1, 3)), np.ones((1, 3), bool), coverages)
