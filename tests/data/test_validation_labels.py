from dataclasses import replace
from decimal import Decimal

import pytest

from extrabert_hf.data.validation import BadValueError, label_reader, optional_label
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

SST, PARA, STS = PAPER_TASKS.values()
STARS = TaskSpec(name="stars", head="sentiment", class_names=("1", "2", "3", "4", "5"))
COSINE = replace(STS, label_range=(-1.0, 1.0))


@pytest.mark.parametrize("index", range(5))
def test_a_class_is_known_by_its_id_however_written_and_by_its_name(index):
    read = label_reader(SST)
    for raw in (index, float(index), str(index), f"{index}.0", f" {index} ", Decimal(index), SST.class_names[index]):
        assert read(raw) == index
        assert isinstance(read(raw), int)
    assert read(f" {SST.class_names[index].title()} ") == index


def test_classes_named_by_numbers_are_known_by_these_numbers():
    read = label_reader(STARS)
    assert [read(raw) for raw in (1, "2", 3.0, "4.0", "5")] == [0, 1, 2, 3, 4]
    with pytest.raises(BadValueError, match="label 0 is not in 1 to 5"):
        read(0)


def test_a_score_is_a_float_of_the_range_its_ends_included():
    read = label_reader(STS)
    assert [read(raw) for raw in (0, "5.0", "2.75", 3, " 1e0 ")] == [0.0, 5.0, 2.75, 3.0, 1.0]
    assert all(isinstance(read(raw), float) for raw in (0, "5"))


BAD = [
    (SST, "", "no label"),
    (SST, None, "no label"),
    (STS, "  ", "no label"),
    (SST, "nice", "label 'nice' is not a number or a class name"),
    (STS, "high", "label 'high' is not a number"),
    (STS, "2,5", "label '2,5' is not a number"),
    (SST, [1], "label [1] is not a number or a class name"),
    (SST, "x" * 99, "label '" + "x" * 38 + "… is not a number or a class name"),
    (SST, "2.5", "label 2.5 is not a whole number"),
    (SST, "inf", "label inf is not a whole number"),
    (SST, 5, "label 5 is not in 0 to 4"),
    (PARA, -1, "label -1 is not in 0 to 1"),
    (STS, "5.01", "label 5.01 is not in 0 to 5"),
    (STS, "-inf", "label -inf is not in 0 to 5"),
    (SST, float("nan"), "label is NaN"),
    (STS, "nan", "label is NaN"),
]


@pytest.mark.parametrize(("task", "raw", "reason"), BAD)
def test_a_label_that_is_not_valid_is_rejected_with_a_reason(task, raw, reason):
    with pytest.raises(BadValueError) as error:
        label_reader(task)(raw)
    assert str(error.value) == reason


@pytest.mark.parametrize("raw", [None, "", " ", -1, -1.0, "-1", "-1.0", "NaN", float("nan")])
@pytest.mark.parametrize("task", [SST, PARA, STS])
def test_a_withheld_label_is_none(task, raw):
    assert optional_label(raw, label_reader(task)) is None


def test_minus_one_is_a_label_where_the_task_says_so():
    assert optional_label("-1", label_reader(COSINE)) == -1.0


@pytest.mark.parametrize("raw", ["nice", 7, -2, 2.5])
def test_a_wrong_label_is_not_a_withheld_one(raw):
    with pytest.raises(BadValueError):
        optional_label(raw, label_reader(SST))
