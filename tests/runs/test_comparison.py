from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import paired_bootstrap
from extrabert_hf.evaluation.formulas import accuracy, pearson
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test
from extrabert_hf.runs.comparison import compare_all, verdict
from extrabert_hf.runs.scored import ScoredRun, TaskResults
from extrabert_hf.tasks import PAPER_TASKS

ROWS = 200
GENERATOR = np.random.default_rng(0)
LABELS = {"para": GENERATOR.integers(2, size=ROWS), "sts": GENERATOR.uniform(0, 5, size=ROWS)}


def results(task, *shares, labels=None):
    """Results of runs that predict the given shares of the rows right."""
    labels = LABELS[task] if labels is None else labels
    wrong = 1 - labels if task == "para" else labels[::-1]
    runs = tuple(
        ScoredRun(
            seed,
            Path(f"{seed}.csv"),
            tuple(map(str, range(ROWS))),
            labels,
            np.where(np.arange(ROWS) < ROWS * share, labels, wrong),
            None,
        )
        for seed, share in enumerate(shares)
    )
    return TaskResults(PAPER_TASKS[task], runs)


def test_each_is_compared_with_each_on_the_tasks_they_share():
    sides = {"a": {"para": results("para", 0.5), "sts": results("sts", 0.5)}, "b": {"para": results("para", 0.9)}}
    sides["c"] = {"para": results("para", 0.9)}
    lines = compare_all(sides)
    assert [(line.a, line.b, line.task) for line in lines] == [
        *[("a", "b", "para"), ("a", "c", "para"), ("b", "c", "para")],
    ]
    assert [line.verdict for line in lines] == ["up", "up", "level"]
    assert [(line.a, line.b) for line in compare_all(sides, against="c")] == [("c", "a"), ("c", "b")]
    assert [line.verdict for line in compare_all(sides, against="c")] == ["down", "level"]


def test_a_line_holds_what_the_tests_give():
    a, b = results("para", 0.5), results("para", 0.6)
    (line,) = compare_all({"a": {"para": a}, "b": {"para": b}})
    found = paired_bootstrap(accuracy, a.predictions, b.predictions, a.labels)
    assert (line.difference, line.low, line.high) == (found.difference, found.low, found.high)
    assert line.score_b - line.score_a == pytest.approx(found.difference)
    right = [side.predictions[0] == side.labels for side in (a, b)]
    assert (line.bootstrap_p, line.second_p) == (found.p_value, mcnemar_test(*right))
    a, b = results("sts", 0.5), results("sts", 0.6)
    (line,) = compare_all({"a": {"sts": a}, "b": {"sts": b}})
    (x,), (y,) = a.predictions, b.predictions
    correlations = (float(pearson(x, a.labels)), float(pearson(y, a.labels)), float(pearson(x, y)))
    assert line.second_p == williams_test(*correlations, rows=ROWS)[1]


def test_several_seeds_are_one_side_and_have_no_second_test():
    (line,) = compare_all({"a": {"para": results("para", 0.5, 0.6)}, "b": {"para": results("para", 0.7, 0.8, 0.9)}})
    assert (line.runs_a, line.runs_b, line.second_p) == (2, 3, None)
    assert line.difference == pytest.approx(0.25)


def test_holms_correction_is_over_all_lines():
    sides = {name: {"para": results("para", share)} for name, share in (("a", 0.5), ("b", 0.53), ("c", 0.56))}
    lines = compare_all(sides)
    assert [line.holm_p for line in lines] == holm_adjusted([line.bootstrap_p for line in lines]).tolist()
    assert (verdict(0.1, 0.049), verdict(-0.1, 0.049), verdict(0.1, 0.05)) == ("up", "down", "level")


def test_what_cannot_be_compared_is_refused():
    a, b = {"para": results("para", 0.5)}, {"para": results("para", 0.5, labels=LABELS["para"][::-1])}
    with pytest.raises(InputError, match="must have the same ids and labels in the same order"):
        compare_all({"a": a, "b": b})
    with pytest.raises(InputError, match="must have a task in common, got a: para; b: sts"):
        compare_all({"a": a, "b": {"sts": results("sts", 0.5)}})
    with pytest.raises(InputError, match="must be two settings or more, got 1"):
        compare_all({"a": a})
    with pytest.raises(InputError, match="`against` must be one of 'a', 'b', got 'z'"):
        compare_all({"a": a, "b": a}, against="z")


def with_confidences(side, confidences):
    return TaskResults(side.task, tuple(replace(run, confidences=confidences) for run in side.runs))


def test_a_coverage_adds_lines_for_tasks_with_classes(caplog):
    caplog.set_level("INFO", logger="extrabert_hf")
    right = results("para", 0.5, 0.6)
    confidences = np.where(right.predictions[0] == LABELS["para"], 0.9, 0.6)
    a = {"para": with_confidences(right, 1 - confidences), "sts": results("sts", 0.5)}
    b = {"para": with_confidences(right, confidences), "sts": results("sts", 0.5)}
    lines = compare_all({"a": a, "b": b}, coverages=[0.5, 0.1])
    metrics = ["accuracy", "accuracy at coverage 0.5", "accuracy at coverage 0.1", "aurc"]
    assert [line.title for line in lines] == [*(f"para ({metric})" for metric in metrics), "sts (pearson)"]
    assert [line.verdict for line in lines] == ["level", "up", "up", "down", "level"]
    assert [line.lower_is_better for line in lines] == [False, False, False, True, False]
    assert lines[1].score_b == 1 and lines[1].runs_a == 2 and lines[1].second_p is None
    assert [line.holm_p for line in lines] == holm_adjusted([line.bootstrap_p for line in lines]).tolist()
    assert sorted(caplog.messages) == [
        "para: coverage 0.1 is 20 rows; an accuracy of fewer than 30 rows follows noise",
        "sts has scores without probabilities: it is not compared at a coverage",
    ]


def test_scores_are_not_compared_at_a_coverage():
    side = {"sts": results("sts", 0.5)}
    with pytest.raises(InputError, match="`coverage` is for classes, but 'sts' has scores without probabilities"):
        compare_all({"a": side, "b": side}, coverages=[0.5])
    side = {"para": results("para", 0.5)}
    with pytest.raises(InputError, match=r"`coverage` needs the probabilities .* 0\.csv has none: version 0\.1"):
        compare_all({"a": side, "b": side}, coverages=[0.5])


def test_settings_with_another_metric_are_refused():
    a = results("para", 0.5)
    b = TaskResults(replace(a.task, metric="f1"), a.runs)
    with pytest.raises(InputError, match="must have the same metric of a task, got accuracy and f1 for 'para'"):
        compare_all({"a": {"para": a}, "b": {"para": b}})
