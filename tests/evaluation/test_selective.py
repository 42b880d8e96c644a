import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.selective import (
    MIN_ANSWERED,
    check_abstention,
    cross_validated,
    most_accurate,
    point_text,
    risk_coverage,
    target_lines,
    threshold_for,
)
from extrabert_hf.tasks import PAPER_TASKS

ROWS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=90)
"""Rows as a confidence in twelfths, so that many are tied, and whether the prediction is correct."""


def columns(rows):
    return np.array([number / 12 for number, _ in rows]), np.array([correct for _, correct in rows])


def naive_aurc(confidences, correct):
    """The formula of the paper, row by row, in quadratic time."""
    total = 0.0
    for threshold in confidences:
        answered = [is_correct for each, is_correct in zip(confidences, correct, strict=True) if each >= threshold]
        total += answered.count(False) / len(answered)
    return total / len(confidences)


def test_the_areas_of_a_worked_example():
    # most confident first: correct, wrong, correct, correct -> risks 0, 1/2, 1/3, 1/4; in the best order 0, 0, 0, 1/4
    curve = risk_coverage(np.array([0.6, 0.9, 0.8, 0.7]), np.array([True, True, False, True]))
    assert curve.risks.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.coverages.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.aurc == pytest.approx(13 / 48) and curve.excess_aurc == pytest.approx(13 / 48 - 1 / 16)


@given(ROWS)
def test_the_area_is_the_formula_computed_row_by_row(rows):
    confidences, correct = columns(rows)
    assert risk_coverage(confidences, correct).aurc == pytest.approx(naive_aurc(confidences, correct.tolist()))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_curve(rows, random):
    shuffled = random.sample(rows, len(rows))
    first, second = risk_coverage(*columns(rows)), risk_coverage(*columns(shuffled))
    for name in ("thresholds", "answered", "errors"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()


@given(ROWS)
def test_the_excess_is_zero_for_the_best_order_only(rows):
    confidences, correct = columns(rows)
    excess = risk_coverage(confidences, correct).excess_aurc
    assert 0 <= excess < 1
    assert risk_coverage(np.where(correct, 0.9, 0.1) - np.arange(len(rows)) / 1e4, correct).excess_aurc < 1e-12
    if min(confidences[correct], default=1) < max(confidences[~correct], default=0):
        assert excess > 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=MIN_ANSWERED, max_size=90), st.floats(0, 1))
def test_the_rows_at_the_printed_threshold_reach_the_target(rows, target):
    confidences, correct = (np.array(column) for column in zip(*rows, strict=True))
    lines = target_lines(confidences, correct, target)
    printed = re.search(r"--abstain_below (\S+)", lines[0])
    assert (printed is None) == (threshold_for(risk_coverage(confidences, correct), target) is None)
    if printed is not None:
        answered = correct[confidences >= float(printed[1])]
        assert answered.mean() >= target and len(answered) >= MIN_ANSWERED
    for threshold in confidences:  # no threshold that answers more rows reaches the target
        more = correct[confidences >= threshold]
        if len(more) > (0 if printed is None else len(answered)) and len(more) >= MIN_ANSWERED:
            assert more.mean() < target


def test_18_of_40_reach_an_accuracy_of_45_percent():
    assert 1 - 22 / 40 < 0.45  # in floating point
    assert threshold_for(risk_coverage(np.full(40, 0.7), np.arange(40) < 18), 0.45).answered == 40


def test_a_threshold_is_between_two_confidences_so_that_rounding_changes_no_row():
    confidences = np.repeat([0.9, 0.8], 50)
    point = threshold_for(risk_coverage(confidences, confidences > 0.85), 1.0)
    assert (point.abstain_below, point.answered, point.accuracy) == (0.85, 50, 1.0)
    low, high = point.interval
    assert 0.9 < low < high == 1.0  # Wilson's interval
    close = np.repeat([np.nextafter(0.9, 1), 0.9], 50)
    assert threshold_for(risk_coverage(close, close > 0.9), 1.0).answered == 50


def test_a_target_that_all_rows_reach_needs_no_threshold():
    confidences = np.linspace(0.5, 1, 50)
    point = threshold_for(risk_coverage(confidences, np.ones(50, bool)), 0.9)
    assert (point.abstain_below, point.answered) == (0.0, 50)


def test_few_rows_have_no_threshold():
    curve = risk_coverage(np.linspace(0.5, 1, MIN_ANSWERED - 1), np.ones(MIN_ANSWERED - 1, bool))
    assert threshold_for(curve, 0.5) is None and most_accurate(curve) is None
    assert point_text(curve, 0.5) == "no share of 30 rows or more reaches an accuracy of 0.5"


def test_few_answered_rows_are_a_warning():
    confidences = np.linspace(1, 0.5, 200)
    first, second = target_lines(confidences, np.arange(200) < 60, 1.0)
    assert "(60 of 200) gives an accuracy of 1.000" in first
    assert second.startswith("warning: only 60 rows are answered") and "the same 200 rows" in second


def test_cross_validation_is_less_optimistic_where_confidences_say_nothing():
    generator = np.random.default_rng(0)
    chosen, measured = [], []
    for _ in range(40):
        confidences, correct = generator.uniform(size=300), generator.uniform(size=300) < 0.7
        point = threshold_for(risk_coverage(confidences, correct), 0.75)
        answered, accuracy = cross_validated(confidences, correct, 0.75)
        if point is not None and answered:
            chosen.append(point.accuracy)
            measured.append(accuracy)
    assert len(chosen) > 10 and np.mean(chosen) >= 0.75
    assert np.mean(measured) == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_value_outside_0_to_1_is_refused(value):
    with pytest.raises(InputError, match="`target_accuracy` must be from 0 to 1"):
        check_abstention("target_accuracy", value, PAPER_TASKS["sst"])


def test_scores_have_no_probability():
    with pytest.raises(InputError, match="`abstain_below` is for classes, but 'sts' has scores"):
        check_abstention("abstain_below", 0.9, PAPER_TASKS["sts"])


@pytest.mark.parametrize(("confidences", "correct"), [([], []), ([0.5], [True, False]), ([1.5], [True])])
def test_other_rows_are_refused(confidences, correct):
    with pytest.raises(InputError, match="`confidences`"):
        risk_coverage(np.array(confidences), np.array(correct))
