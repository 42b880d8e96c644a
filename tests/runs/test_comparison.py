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
