import copy
import json

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from extrabert_hf.data.in_memory import check_sentences, class_names_of, memory_sources, rows_to_predict, write_rows
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

SST, STS = PAPER_TASKS["sst"], PAPER_TASKS["sts"]
ROWS = [{"text": f"film {n}", "label": n % 5} for n in range(20)]


def as_classes(rows, names):
    return Dataset.from_list(rows).cast_column("label", ClassLabel(names=names))


@pytest.mark.parametrize(
    "kind", [list, tuple, Dataset.from_list, pd.DataFrame], ids=["list", "tuple", "Dataset", "df"]
)
def test_rows_in_memory_are_the_rows_of_a_file_with_the_same_content(kind, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    of_file = load_task_data(SST, tmp_path / "rows.jsonl").splits
    of_memory = load_task_data(SST, kind(ROWS)).splits
    assert {split: rows.to_dict() for split, rows in of_memory.items()} == {
        split: rows.to_dict() for split, rows in of_file.items()
    }


def test_the_rows_of_a_user_are_not_changed():
    rows, frame = copy.deepcopy(ROWS), pd.DataFrame(ROWS)
    for data in (rows, frame, {"train": rows, "validation": frame}):
        load_task_data(SST, data)
    assert rows == ROWS and frame.equals(pd.DataFrame(ROWS))


def test_the_splits_of_a_dict_are_used_and_other_keys_are_not():
    data = DatasetDict(
        train=Dataset.from_list(ROWS),
        validation=Dataset.from_list(ROWS[:7]),
        unsupervised=Dataset.from_dict({"text": []}),
    )
    data["test"] = Dataset.from_list([{"text": "film"}])
    assert {split: len(rows) for split, rows in load_task_data(SST, data).splits.items()} == {
        **{"train": 20, "dev": 7, "test": 1}
    }


def test_missing_values_and_numbers_of_numpy_are_read_as_in_a_file(tmp_path):
    rows = [
        {"text": "a", "label": np.int64(1)},
        {"text": "b", "label": np.nan},
        {"text": "c", "label": np.float32("nan")},
    ]
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.array([1, pd.NA], dtype="Int64")})
    for data, labels in ((rows, [1, None, None]), (frame, [1, None])):
        source = memory_sources(data, SST)["train"]
        write_rows(source, tmp_path / "rows.jsonl")
        assert [row["label"] for _, row in source.read()] == labels
        assert [json.loads(line)["label"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == labels


def test_class_labels_are_names_in_their_order():
    rows = as_classes([{"text": "a", "label": 1}, {"text": "b", "label": 0}], ["good", "bad"])
    assert class_names_of(rows, None) == class_names_of({"train": rows}, "label") == ["good", "bad"]
    assert class_names_of(ROWS, None) is class_names_of(rows, "text") is None
    assert [row["label"] for _, row in memory_sources(rows, SST)["train"].read()] == ["bad", "good"]


@pytest.mark.parametrize(
    "data, message",
    [
        (5, "`data` must be 'sample', .* got the int 5"),
        ([("a", 1)], "a list of dicts, .* got the tuple .* as row 1"),
        ({"text": ["a"], "label": [1]}, "with 'text', 'label': use `datasets.Dataset.from_dict`"),
        ({"trian": ROWS}, "must have a train split, got a dict with 'trian'[.]$"),
        ({"train": ROWS, "dev": ROWS, "valid": ROWS}, "one dev split, got 'dev' and 'valid'"),
        ({"train": "a.csv"}, "got the str 'a.csv'"),
        (pd.DataFrame([[1, 2]]), "must have names, got the int 0"),
        (Dataset.from_list(ROWS).to_iterable_dataset(), "without `streaming`"),
    ],
)
def test_other_data_are_refused_in_one_line(data, message):
    with pytest.raises(InputError, match=message):
        memory_sources(data, SST)


def test_rows_to_predict_are_a_data_set_or_a_list():
    assert rows_to_predict(["a", "b"], SST).to_dict() == {"sentence1": ["a", "b"]}
    assert rows_to_predict([("a", "b")], STS).to_dict() == {"sentence1": ["a"], "sentence2": ["b"]}
    for rows, task in (
        ("a", SST),
        ([("a", "b")], SST),
        (["a"], STS),
        ([("a", 1)], STS),
        (Dataset.from_list(ROWS), SST),
    ):
        with pytest.raises(InputError, match="`rows` must"):
            rows_to_predict(rows, task)


def test_sentences_must_fit_the_task():
    check_sentences(STS, ["a"], ["b"])
    for given in ((["a"], None), (["a", "b"], ["c"]), ("a", "b"), ([1], ["b"])):
        with pytest.raises(InputError, match=r"needs two lists|of one length|a list of texts"):
            check_sentences(STS, *given)
    with pytest.raises(InputError, match="needs one list of sentences, got 2"):
        check_sentences(SST, ["a"], ["b"])
