import json

import pytest

from extrabert_hf.data.labels import label_reader
from extrabert_hf.data.rejected_rows import RejectedRow
from extrabert_hf.data.validation import Columns, rejection_notice, valid_rows, write_rejected_rows
from extrabert_hf.tasks import PAPER_TASKS

PAIR = PAPER_TASKS["para"]
COLUMNS = Columns("q1", "q2", "same", "key")
GOOD = {"q1": " a ", "q2": "b\t", "same": "1.0", "key": 7, "other": None}


READ = label_reader(PAIR)


def validate(rows, read_label=READ, columns=COLUMNS):
    return list(valid_rows(iter(rows), columns, "rows.csv", read_label))


def check(row, read_label=READ, columns=COLUMNS):
    (checked,) = validate([(3, row)], read_label, columns)
    return ([], [(checked.line, checked.reason)]) if isinstance(checked, RejectedRow) else ([checked[1]], [])


def test_a_good_row_gets_canonical_names_stripped_text_and_a_text_id():
    assert check(GOOD) == ([{"sentence1": "a", "sentence2": "b", "label": 1, "id": "7"}], [])


@pytest.mark.parametrize("key", [None, ""])
def test_a_row_without_an_id_gets_its_line(key):
    assert check({**GOOD, "key": key})[0][0]["id"] == "3"
    assert check(GOOD, columns=Columns("q1", "q2", "same"))[0][0]["id"] == "3"


def test_id_zero_is_an_id():
    assert check({**GOOD, "key": 0})[0][0]["id"] == "0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"q1": ""}, "empty sentence1"),
        ({"q1": " \t\n"}, "empty sentence1"),
        ({"q2": None}, "empty sentence2"),
        ({"q2": "\u00a0"}, "empty sentence2"),
        ({"q2": 12}, "sentence2 is not text"),
        ({"q2": float("nan")}, "sentence2 is not text"),
        ({"q1": ["a"]}, "sentence1 is not text"),
        ({"q1": "half \ud83d"}, "sentence1 is not valid Unicode"),
        ({"key": "half \ud83d"}, "id is not valid Unicode"),
        ({"key": {"a": 1}}, "id is not text or a number"),
        ({"same": ""}, "no label"),
        ({"same": "2"}, "label is not in 0 to 1"),
        ({"q1": "", "q2": "", "same": ""}, "empty sentence1"),
    ],
)
def test_a_bad_row_is_rejected_for_one_reason(change, reason):
    assert check({**GOOD, **change}) == ([], [(3, reason)])


def test_a_missing_value_is_an_empty_one():
    assert check({"q1": "a", "same": 1}) == ([], [(3, "empty sentence2")])


def test_labels_can_be_ignored():
    assert "label" not in check({**GOOD, "same": "7"}, None)[0][0]


def test_a_bad_row_is_printed_with_its_place():
    _, bad = validate([(2, GOOD), (3, {**GOOD, "q1": ""})])
    assert str(bad) == "rows.csv:3: empty sentence1"


def test_a_rejected_row_passes_through_in_its_place():
    bad = RejectedRow("rows.csv", 3, "1 field, 2 expected", {"text": "a"})
    first, second, third = validate([(2, GOOD), bad, (4, GOOD)])
    assert (first[0], second, third[0]) == (2, bad, 4)


def test_a_notice_counts_the_commonest_reasons_first():
    reasons = ["no label"] * 3 + ["empty sentence2"] + ["a", "a", "b", "b", "c", "d"]
    rejected = [RejectedRow("rows.csv", 1, reason, {}) for reason in reasons]
    assert rejection_notice(rejected[:4], 13_714, "rows.csv") == (
        "4 of 13,714 rows of rows.csv rejected: 3 no label, 1 empty sentence2"
    )
    assert rejection_notice(rejected, 10, "rows.csv") == (
        "10 of 10 rows of rows.csv rejected: 3 no label, 2 a, 2 b, 1 empty sentence2, 2 for other reasons"
    )


def test_a_notice_groups_reasons_by_kind_and_not_by_value():
    rejected = validate([(line, {**GOOD, "same": line}) for line in range(5, 76)])
    assert rejection_notice(rejected, 400, "rows.csv") == (
        "71 of 400 rows of rows.csv rejected: 71 labels are not in 0 to 1 (such as 5)"
    )


def test_rejected_rows_are_written_as_jsonl(tmp_path):
    rejected = validate([(2, {**GOOD, "q1": "é\n" * 900, "same": "7"}), (5, {**GOOD, "q2": "\ud83d"})])
    assert all(isinstance(row, RejectedRow) for row in rejected)
    write_rejected_rows(tmp_path / "rejected.jsonl", rejected)
    written = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text("utf-8").splitlines()]
    assert [(row["file"], row["line"], row["reason"]) for row in written] == [
        ("rows.csv", 2, "label is not in 0 to 1"),
        ("rows.csv", 5, "sentence2 is not valid Unicode"),
    ]
    assert written[0]["row"] == {"q1": ("é\n" * 900)[:199] + "…", "q2": "b\t", "same": "7", "key": "7"}
