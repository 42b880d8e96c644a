from dataclasses import replace

import pytest

from extrabert_hf.data.validation import WELL_KNOWN_NAMES, Columns, find_columns
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

PAIR, SINGLE = PAPER_TASKS["sts"], PAPER_TASKS["sst"]
PLAIN = {"sentence1": "sentence1", "sentence2": "sentence2", "label": "label", "id": "id"}


@pytest.mark.parametrize("role", WELL_KNOWN_NAMES)
def test_the_first_well_known_name_wins_whatever_the_order_of_the_columns(role):
    others = [name for other, name in PLAIN.items() if other != role]
    names = WELL_KNOWN_NAMES[role]
    for start in range(len(names)):
        for present in (others + list(names[start:]), list(reversed(names[start:])) + others):
            assert getattr(find_columns(present, PAIR, "rows.csv"), role) == names[start]


def test_no_well_known_name_stands_for_two_roles():
    names = [name for role in WELL_KNOWN_NAMES.values() for name in role]
    assert len(names) == len(set(names))


def test_upper_and_lower_case_are_alike():
    columns = find_columns(["ID", "Sentence1", "SENTENCE2", "Similarity"], PAIR, "rows.csv")
    assert columns == Columns("Sentence1", "SENTENCE2", "Similarity", "ID")
    assert find_columns(["Text", "TEXT", "label"], SINGLE, "rows.csv").sentence1 == "Text"


def test_a_named_column_wins_over_well_known_names():
    task = replace(PAIR, sentence1_column="a", sentence2_column="b", label_column="y", id_column="key")
    assert find_columns(["a", "b", "y", "key", *PLAIN], task, "rows.csv") == Columns("a", "b", "y", "key")


def test_a_task_on_one_sentence_takes_no_second_column():
    assert find_columns(list(PLAIN), SINGLE, "rows.csv").sentence2 is None


def test_only_an_unneeded_label_and_an_unnamed_id_may_be_missing():
    assert find_columns(["text"], SINGLE, "rows.csv", label_required=False) == Columns("text")
    with pytest.raises(
        InputError, match=r"^rows\.csv has no column for `label`: looked for label, .*`--label_column`"
    ):
        find_columns(["text"], SINGLE, "rows.csv")
    with pytest.raises(InputError, match=r"^`--id_column` must name a column of rows\.csv \('text'\), got 'key'\.$"):
        find_columns(["text"], replace(SINGLE, id_column="key"), "rows.csv", label_required=False)


def test_one_error_names_the_flags_of_all_missing_columns():
    with pytest.raises(
        InputError, match=r"`sentence1` and `label`: there are 'b'\. .*`--sentence1_column` and `--label_column`"
    ):
        find_columns(["b"], replace(PAIR, sentence2_column="b"), "rows.jsonl")


@pytest.mark.parametrize("role", ["sentence1", "sentence2", "label"])
def test_the_error_on_a_missing_column_names_the_flag_and_what_is_there(role):
    present = [name for other, name in PLAIN.items() if other != role] + ["", "extra"]
    with pytest.raises(InputError, match=rf"no column for `{role}`.*'extra'.*`--{role}_column`") as error:
        find_columns(present, PAIR, "rows.csv")
    assert "''" not in str(error.value)
    with pytest.raises(
        InputError, match=rf"`--{role}_column` must name a column of rows.csv .*'extra'.*, got 'Extra'"
    ):
        find_columns(present, replace(PAIR, **{f"{role}_column": "Extra"}), "rows.csv")


def test_two_roles_cannot_share_a_column():
    task = replace(PAIR, sentence2_column="sentence1")
    with pytest.raises(
        InputError, match="`--sentence1_column` and `--sentence2_column` must name two different columns"
    ):
        find_columns(list(PLAIN), task, "rows.csv")


def test_a_remembered_column_that_is_missing_gives_way_to_the_well_known_names():
    task = replace(
        SINGLE,
        sentence1_column="review text",
        label_column="stars",
        id_column="number",
        remembered_columns=("sentence1_column", "label_column", "id_column"),
    )
    own = find_columns(["number", "review text", "stars", "label"], task, "rows.csv")
    assert (own.sentence1, own.label, own.id) == ("review text", "stars", "number")
    other = find_columns(["id", "sentence", "label"], task, "rows.csv")
    assert (other.sentence1, other.label, other.id) == ("sentence", "label", "id")
    assert find_columns(["sentence"], task, "rows.csv", label_required=False).label is None
    named = task.with_columns({"label_column": "grade"})
    with pytest.raises(InputError, match=r"`--label_column` must name a column of rows\.csv"):
        find_columns(["sentence", "label"], named, "rows.csv")
    with pytest.raises(InputError, match="no column for `sentence1`"):
        find_columns(["words", "label"], task, "rows.csv")
