"""Labels that are probably slips are named, with the flag that leaves their rows out."""

from dataclasses import replace

import pytest

from extrabert_hf.data.label_slips import find_slips
from extrabert_hf.tasks import PAPER_TASKS

SST, _, STS = PAPER_TASKS.values()


def slips(counts, **changes):
    """The slips of rows with so many rows by class, or by score."""
    if all(isinstance(label, str) for label in counts):
        task = replace(SST, class_names=tuple(counts))
        return find_slips(counts, {name: index for index, name in enumerate(counts)}, task, "rows.csv")
    by_label = {str(score): count for score, count in counts.items()}
    return find_slips(by_label, {str(score): score for score in counts}, replace(STS, **changes), "rows.csv")


def test_a_class_of_one_row_is_named_with_the_other_classes():
    assert slips({"billing": 50, "log in": 20, "biling": 1}) == [
        "rows.csv has a single row of 'biling': correct the labels, or leave these rows out with "
        "`--class_names billing 'log in'`"
    ]


@pytest.mark.parametrize("counts", [{"a": 50, "b": 2}, {"a": 50, "b": 1}, {"a": 9, "b": 8, "c": 1, "d": 1, "e": 1}])
def test_two_rows_are_no_slip_and_two_classes_must_be_left(counts):
    assert slips(counts) == []


def test_forms_of_one_class_are_counted_together():
    task = replace(SST, class_names=("a", "b", "c"))
    assert find_slips({"a": 9, "b": 9, "c": 1, "C": 1}, {"a": 0, "b": 1, "c": 2, "C": 2}, task, "rows.csv") == []


@pytest.mark.parametrize(
    ("counts", "label_range", "flag"),
    [
        ({1: 100, 3: 100, 5: 99, 6: 1}, (1, 7), "1 row with the score 6: `--label_max 5`"),
        ({0: 2, 1: 100, 5: 100}, (0, 5), "2 rows with the score 0: `--label_min 1`"),
        ({1: 100, 3: 100, 5: 99, 6: 1}, (0, 10), None),  # a range that somebody has chosen
        ({1: 100, 3: 100, 5: 99, 6: 30}, (1, 7), None),
        ({1: 100, 3: 100, 4: 99, 5: 1}, (1, 5), "1 row with the score 5: `--label_max 4`"),
        ({1: 100, 3: 100, 4.5: 99, 5: 1, 6: 1}, (1, 7), None),  # scores with fractions are rare at the ends
    ],
)
def test_a_rare_score_that_makes_the_range_larger_is_named(counts, label_range, flag):
    found = slips(counts, label_range=label_range)
    assert [flag in line for line in found] == [True] * (flag is not None)
