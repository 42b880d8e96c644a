from dataclasses import replace
from decimal import Decimal

import pytest

from extrabert_hf.data.label_checks import SplitLabels
from extrabert_hf.data.labels import BadValueError, label_reader, label_text
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
    with pytest.raises(BadValueError, match="label is not in 1 to 5: 0"):
        read(0)


def test_a_number_between_classes_that_are_numbers_is_no_class():
    read = label_reader(TaskSpec(name="own", head="sentiment", class_names=("0", "1", "3")))
    assert read("3") == 2
    with pytest.raises(BadValueError, match="label is not a class of the task: 2"):
        read("2")


def test_a_score_is_a_float_of_the_range_its_ends_included():
    read = label_reader(STS)
    assert [read(raw) for raw in (0, "5.0", "2.75", 3, " 1e0 ")] == [0.0, 5.0, 2.75, 3.0, 1.0]
    assert all(isinstance(read(raw), float) for raw in (0, "5"))


BAD = [
    (SST, "", "no label"),
    (SST, None, "no label"),
    (STS, "  ", "no label"),
    (SST, "nice", "label is not a number or a class name: 'nice'"),
    (STS, "high", "label is not a number: 'high'"),
    (STS, "2,5", "label is not a number: '2,5'"),
    (SST, [1], "label is not text or a number: list"),
    (SST, "x" * 99, "label is not a number or a class name: '" + "x" * 38 + "…"),
    (SST, "2.5", "label is not a whole number: 2.5"),
    (SST, "inf", "label is not a number or a class name: 'inf'"),
    (SST, "9" * 400, "label is not in 0 to 4: " + "9" * 39 + "…"),
    (SST, 5, "label is not in 0 to 4: 5"),
    (PARA, -1, "label is not in 0 to 1: -1"),
    (STS, "5.01", "label is not in 0 to 5: 5.01"),
    (STS, "-inf", "label is not a number: '-inf'"),
    (SST, float("nan"), "no label"),
    (STS, "nan", "label is not a number: 'nan'"),
    (STS, "1_0", "label is not a number: '1_0'"),
]


@pytest.mark.parametrize(("task", "raw", "reason"), BAD)
def test_a_label_that_is_not_valid_is_rejected_with_a_reason(task, raw, reason):
    with pytest.raises(BadValueError) as error:
        label_reader(task)(raw)
    assert str(error.value) == reason


def read_all(task, *labels, use="required"):
    """Reads labels together; a label that cannot be read is "bad"."""
    split = SplitLabels.of([label_text(label) for label in labels], task, use)
    values = [split.read[label_text(label)] for label in labels]
    return ["bad" if isinstance(value, BadValueError) else value for value in values]


@pytest.mark.parametrize("raw", [None, "", " ", -1, -1.0, "-1", "-1.0", "NaN", float("nan")])
@pytest.mark.parametrize("task", [SST, PARA, STS])
def test_a_withheld_label_is_none(task, raw):
    assert read_all(task, raw, use="optional") == [None]


def test_minus_one_is_a_label_where_the_task_says_so():
    assert read_all(COSINE, "-1", use="optional") == [-1.0]


@pytest.mark.parametrize("raw", ["nice", 7, -2, 2.5])
def test_a_wrong_label_is_not_a_withheld_one(raw):
    assert read_all(SST, raw, use="optional") == ["bad"]
