import csv
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Value

from extrabert_hf.data.loading import load_split, load_task_data
from extrabert_hf.data.originals import stream_sentences
from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

SST, PARA, STS = PAPER_TASKS.values()
OWN = TaskSpec(name="own", head="paraphrase", class_names=("other", "same"))
REAL = Path(os.environ.get("EXTRABERT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def pairs(count, start=0):
    return [
        {"id": f"k{i}", "sentence1": f"first {i}", "sentence2": f"second {i}", "label": str(i % 2)}
        for i in range(start, start + count)
    ]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def unlabelled(rows):
    return [{name: value for name, value in row.items() if name != "label"} for row in rows]


def course_folder(folder, ending="\r\n"):
    """The files of a CS224N folder, its quirks included: a number before each row, and one more in a test file."""
    folder.mkdir()
    for split, count in (("train", 6), ("dev", 4)):
        lines = ["\tid\tsentence\tsentiment", *(f"{9 - i}\ts{split}{i}\t Film {i} .\t{i % 5}" for i in range(count))]
        (folder / f"ids-sst-{split}.csv").write_text(ending.join(lines) + ending, newline="")
    lines = ["0\t\tid\tsentence", *(f"{i + 1}\t{i}.0\tstest{i}\t Film {i} ." for i in range(3))]
    (folder / "ids-sst-test-student.csv").write_text(ending.join(lines) + ending, newline="")
    return str(folder)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_course_folder_is_read_with_its_quirks(tmp_path, ending):
    loaded = load_task_data(SST, course_folder(tmp_path / "course", ending), strict=True)
    assert list(loaded.splits) == ["train", "dev", "test"]
    assert loaded.splits["dev"][3] == {"sentence1": "Film 3 .", "label": 3, "id": "sdev3", "line": 5}
    assert loaded.splits["test"][2] == {"sentence1": "Film 2 .", "id": "stest2", "line": 4}
    assert loaded.notices == [
        "columns of ids-sst-train.csv, ids-sst-dev.csv, ids-sst-test-student.csv (no labels): "
        "sentence1 = 'sentence', label = 'sentiment', id = 'id'",
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("dev_name", ["dev", "validation", "valid"])
def test_any_folder_of_train_dev_and_test_is_read(tmp_path, suffix, dev_name):
    write(tmp_path / f"train{suffix}", pairs(6))
    write(tmp_path / f"{dev_name}{suffix}", pairs(4, 6))
    write(tmp_path / f"test{suffix}", pairs(2, 10))
    loaded = load_task_data(OWN, str(tmp_path))
    assert {name: split["id"][0] for name, split in loaded.splits.items()} == {
        "train": "k0",
        "dev": "k6",
        "test": "k10",
    }
    assert loaded.splits["test"]["label"][:] == [0, 1]
    assert len(loaded.notices) == 1


@pytest.mark.parametrize(("task", "label_type"), [(PARA, "int64"), (STS, "float64"), (SST, "int64")])
def test_columns_are_canonical_in_name_order_and_type(tmp_path, task, label_type):
    features = load_task_data(task, write(tmp_path / "rows.csv", pairs(9))).splits["train"].features
    names = ["sentence1", "sentence2", "label", "id"] if task.is_pair else ["sentence1", "label", "id"]
    assert list(features) == [*names, "line"]
    assert features["label"] == Value(label_type)
    assert all(features[name] == Value("string") for name in names if name != "label")


def test_without_dev_a_seeded_share_of_train_is_cut_off(tmp_path):
    path = write(tmp_path / "rows.csv", pairs(200))
    loaded, again, other = (load_task_data(OWN, path, dev_fraction=0.25, seed=seed) for seed in (1, 1, 2))
    train, dev = (loaded.splits[name]["id"][:] for name in ("train", "dev"))
    assert len(dev) == 50
    assert sorted(train + dev) == sorted(f"k{i}" for i in range(200))
    assert train == sorted(train, key=lambda row_id: int(row_id[1:]))
    assert again.splits["dev"]["id"][:] == dev != other.splits["dev"]["id"][:]
    assert loaded.notices[-1] == "50 of 200 rows of rows.csv became the dev split (seed 1)"


@pytest.mark.parametrize(("fraction", "size"), [(0.001, 1), (0.999, 7)])
def test_both_sides_of_the_cut_keep_a_row(tmp_path, fraction, size):
    rows = pairs(8)
    rows[0]["label"] = rows[1]["label"] = "0.5"
    task = replace(STS, label_range=(0.0, 1.0))
    loaded = load_task_data(task, write(tmp_path / "rows.csv", rows), dev_fraction=fraction)
    assert (len(loaded.splits["train"]), len(loaded.splits["dev"])) == (8 - size, size)


def test_dev_and_test_files_stand_for_these_splits(tmp_path):
    write(tmp_path / "folder" / "train.csv", pairs(6))
    write(tmp_path / "folder" / "dev.csv", pairs(4, 6))
    dev = write(tmp_path / "mine.jsonl", pairs(3, 20))
    test = write(tmp_path / "blind.tsv", unlabelled(pairs(2, 30)))
    for data in (tmp_path / "folder", tmp_path / "folder" / "train.csv"):
        splits = load_task_data(OWN, str(data), dev_data=dev, test_data=test).splits
        assert {name: split["id"][0] for name, split in splits.items()} == {"train": "k0", "dev": "k20", "test": "k30"}
        assert len(splits["train"]) == 6


@pytest.mark.parametrize("hidden", ["", "-1", "-1.0"])
def test_a_test_split_whose_labels_are_all_withheld_is_unlabelled(tmp_path, hidden):
    write(tmp_path / "train.csv", pairs(6))
    write(tmp_path / "test.csv", [{**row, "label": hidden} for row in pairs(3)])
    loaded = load_task_data(OWN, str(tmp_path))
    assert loaded.splits["test"].column_names == ["sentence1", "sentence2", "id", "line"]
    assert "test.csv (no labels): " in loaded.notices[0]
    assert loaded.rejected == []


def test_a_test_split_labelled_in_part_keeps_its_rows_and_loses_its_labels(tmp_path):
    write(tmp_path / "train.csv", pairs(6))
    write(tmp_path / "test.csv", [*pairs(3), {**pairs(1, 3)[0], "label": ""}])
    loaded = load_task_data(OWN, str(tmp_path))
    assert loaded.splits["test"]["id"][:] == ["k0", "k1", "k2", "k3"]
    assert "label" not in loaded.splits["test"].column_names
    assert "3 rows of test.csv have a label and 1 have none: the split is used without labels" in loaded.notices


def test_rejected_rows_are_counted_and_kept_in_the_order_of_the_file(tmp_path, caplog):
    rows = pairs(9)
    rows[1]["label"] = rows[4]["label"] = ""
    rows[6]["sentence2"] = " "
    path = Path(write(tmp_path / "rows.csv", rows))
    path.write_text(path.read_text() + "one,field,more,than,there,are,columns\n")
    loaded = load_task_data(OWN, str(path), dev_fraction=0.5, max_rejected_share=0.5)
    assert sum(map(len, loaded.splits.values())) == 6
    assert [(row.line, row.reason) for row in loaded.rejected] == [
        *((3, "no label"), (6, "no label"), (8, "empty sentence2"), (11, "not 4 fields")),
    ]
    assert caplog.messages == [
        "4 of 10 rows of rows.csv rejected: 2 no label, 1 empty sentence2, 1 not 4 fields (such as 7)"
    ]


def test_repeated_ids_are_counted_in_a_notice(tmp_path):
    loaded = load_task_data(OWN, write(tmp_path / "rows.csv", pairs(5) + pairs(2)))
    assert "2 of 7 rows of rows.csv repeat the id of an earlier row" in loaded.notices


@pytest.mark.parametrize("name", ["rows.csv", "rows.json"])
def test_a_file_is_the_split_to_evaluate(tmp_path, name):
    loaded = load_split(OWN, write(tmp_path / name, pairs(3)), "test")
    assert list(loaded.splits) == ["test"]
    assert loaded.splits["test"]["label"][:] == [0, 1, 0]


def test_one_split_of_a_folder_or_of_the_sample_is_loaded(tmp_path):
    assert load_split(SST, course_folder(tmp_path / "course")).splits["dev"]["id"][0] == "sdev0"
    assert len(load_split(STS, "sample", "train").splits["train"]) == 260


def test_evaluation_never_cuts_a_split_off_another(tmp_path):
    write(tmp_path / "train.csv", pairs(6))
    with pytest.raises(
        InputError, match=r"^`data` must have a dev split, got none: looked in .*; there is train\.csv\.$"
    ):
        load_split(OWN, str(tmp_path), "dev")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_sentences_are_streamed_for_prediction(tmp_path, suffix, caplog):
    path = write(tmp_path / f"rows{suffix}", unlabelled(pairs(3)))
    caplog.set_level("INFO")
    assert [row for _, row in stream_sentences(replace(OWN, label_column="gold"), path)] == [
        {"sentence1": f"first {i}", "sentence2": f"second {i}", "id": f"k{i}"} for i in range(3)
    ]
    assert re.search(rf"columns of rows{suffix}: sentence1 = '\w+', sentence2 = '\w+', id = '\w+'", caplog.text)


def test_plain_text_is_streamed_with_its_lines_for_ids(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text(" A film .\n\nAnother .\n")
    first, second, third = stream_sentences(SST, path)
    assert (first, third) == (
        (1, {"sentence1": "A film .", "id": "1"}),
        (3, {"sentence1": "Another .", "id": "3"}),
    )
    assert isinstance(second, RejectedRow) and (second.line, second.reason) == (2, "empty sentence1")


def test_standard_input_is_streamed(tmp_path, monkeypatch):
    with Path(text_file(tmp_path, "a\tb\nc\té\n")).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        rows = [row for _, row in stream_sentences(OWN, "-")]
    assert rows == [{"sentence1": "a", "sentence2": "b", "id": "1"}, {"sentence1": "c", "sentence2": "é", "id": "2"}]


def folder_with(tmp_path, **files):
    for name, rows in files.items():
        write(tmp_path / f"{name}.csv", rows)
    return str(tmp_path)


def text_file(tmp_path, content, name="rows.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def lone_course_file(tmp_path):
    (tmp_path / "ids-sst-train.csv").write_text("\tid\tsentence\tsentiment\n0\ta\tb\t1\n")
    return str(tmp_path)


PATHS = "`data` must be 'sample', a folder, a file or a Hub id, got "
HEADER = "id,sentence1,sentence2,label\n"

BAD_INPUTS = {
    "no such file": (OWN, lambda _: "rows.csv", {}, PATHS + "'rows.csv': no such file or folder."),
    "no such folder": (OWN, lambda _: "./rows", {}, PATHS + "'./rows': no such file or folder."),
    "no such deep folder": (OWN, lambda _: "a/b/c", {}, PATHS + "'a/b/c': no such file or folder."),
    "no such dev file": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", pairs(4)), {"dev_data": "dev.csv"}),
        "A data file must exist, got 'dev.csv': no such file.",
    ),
    "wrong ending": (
        *(OWN, lambda tmp: text_file(tmp, "x", "rows.xlsx"), {}),
        "A data file must end in one of .csv, .tsv, .json, .jsonl, .parquet, .txt, got 'rows.xlsx'. "
        "Save the sheet as 'CSV UTF-8' in the spreadsheet program.",
    ),
    "nothing given": (
        *(OWN, lambda _: None, {}),
        "`data` must be given for the task 'own', which names no `hub_dataset`, got none.",
    ),
    "sample of another task": (
        *(OWN, lambda _: "sample", {}),
        "`data` 'sample' must go with a task of the paper, got the task 'own'.",
    ),
    "empty folder": (
        *(OWN, str, {}),
        "`data` must have a train split, got none: looked in {tmp} for train and dev ending in .csv, .tsv, .json, "
        ".jsonl, .parquet, .txt; there is nothing.",
    ),
    "course folder without dev": (
        *(SST, lone_course_file, {}),
        "`data` must have a dev split, got none: looked in {tmp} for ids-sst-train.csv and ids-sst-dev.csv or train "
        "and dev ending in .csv, .tsv, .json, .jsonl, .parquet, .txt; there is ids-sst-train.csv.",
    ),
    "two files of a split": (
        *(OWN, lambda tmp: folder_with(tmp, train=pairs(2), dev=pairs(2), valid=pairs(2)), {}),
        "{tmp} must hold one file of the dev split, got dev.csv, valid.csv.",
    ),
    "empty file": (
        *(OWN, lambda tmp: text_file(tmp, ""), {}),
        "rows.csv must start with a line of column names, got an empty one.",
    ),
    "header alone": (OWN, lambda tmp: text_file(tmp, HEADER), {}, "rows.csv must have rows, got none."),
    "no readable row": (
        *(OWN, lambda tmp: text_file(tmp, "{\n[]\n", "rows.jsonl"), {}),
        "rows.jsonl must have rows, got none that can be read (rows.jsonl:1: not valid JSON: Expecting property name "
        "enclosed in double quotes at character 3).",
    ),
    "not UTF-8": (
        *(OWN, lambda tmp: text_file(tmp, HEADER.encode() + b"1,caf\xe9,b,1\n"), {}),
        "rows.csv must be UTF-8 text, got 0xe9 as byte 6 of line 2. Save it as 'CSV UTF-8' in the spreadsheet "
        "program, or convert it, such as with `iconv -f WINDOWS-1252 -t UTF-8 rows.csv > utf8-rows.csv`.",
    ),
    "no header": (
        *(OWN, lambda tmp: text_file(tmp, "How old is it?,What age is it?,1\n" * 3), {}),
        "rows.csv has no column for `sentence1` and `sentence2` and `label`: there are 'How old is it?', 'What age is "
        "it?', '1'. Name the columns with `--sentence1_column` and `--sentence2_column` and `--label_column`; "
        "the first line of the file must be the names of the columns.",
    ),
    "no label column": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", unlabelled(pairs(4))), {}),
        "rows.csv has no column for `label`: looked for label, labels, sentiment, is_duplicate, similarity, "
        "similarity_score, score, rating; there are 'id', 'sentence1', 'sentence2'. Name the column with "
        "`--label_column`; the first line of the file must be the names of the columns.",
    ),
    "wrong column name": (
        *(replace(OWN, label_column="gold"), lambda tmp: write(tmp / "rows.csv", pairs(4)), {}),
        "`--label_column` must name a column of rows.csv ('id', 'sentence1', 'sentence2', 'label'), got 'gold'.",
    ),
    "all labels wrong": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", [{**row, "label": "yes"} for row in pairs(4)]), {}),
        "rows.csv must have a row that can be used, got 4 bad, the first rows.csv:2: label is not a number or a class "
        "name: 'yes'. If the labels are the classes, write `--class_names yes` or `--class_names auto`.",
    ),
    "one bad row, strict": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", [*pairs(1), {**pairs(1)[0], "label": 2}]), {"strict": True}),
        "rows.csv must have good rows only, got 1 bad of 2, the first rows.csv:3: label is not in 0 to 1: 2.",
    ),
    "a single class": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", pairs(9)[1::2]), {}),
        "rows.csv must have train rows of at least 2 classes, got 'same' alone.",
    ),
    "one row": (
        *(STS, lambda tmp: write(tmp / "rows.csv", pairs(1)), {}),
        "rows.csv must have at least 2 rows to cut a dev split off them, got 1.",
    ),
    "dev fraction": (
        *(OWN, lambda tmp: write(tmp / "rows.csv", pairs(4)), {"dev_fraction": 1.0}),
        "`dev_fraction` must be above 0 and below 1, got 1.0.",
    ),
    "broken json": (
        *(OWN, lambda tmp: text_file(tmp, '[{"id": 1 "x"}]', "rows.json"), {}),
        "rows.json must be valid JSON, got 'Expecting ',' delimiter' at line 1, character 11.",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_an_error_of_one_line(tmp_path, name):
    task, make, options, message = BAD_INPUTS[name]
    with pytest.raises(InputError) as error:
        load_task_data(task, make(tmp_path), **options)
    assert str(error.value) == message.replace("{tmp}", str(tmp_path))


def test_evaluation_needs_labels_and_a_split_that_exists(tmp_path):
    with pytest.raises(InputError, match=r"^ids-sst-test-student\.csv has no column for `label`"):
        load_split(SST, "sample", "test")
    with pytest.raises(InputError, match=r"^`split` must be one of 'train', 'dev', 'test', got 'valid'\.$"):
        load_split(SST, "sample", "valid")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no CS224N folder at {REAL} (set EXTRABERT_DATA)")
@pytest.mark.parametrize(
    ("task", "sizes", "rejected"),
    [(SST, (8544, 1101, 2210), 0), (PARA, (13712, 2500, 4000), 2), (STS, (6040, 863, 1725), 0)],
    ids=["sst", "para", "sts"],
)
def test_the_course_data_is_read_whole(task, sizes, rejected):
    loaded = load_task_data(task, str(REAL))
    assert tuple(len(loaded.splits[name]) for name in ("train", "dev", "test")) == sizes
    assert "label" not in loaded.splits["test"].column_names
    assert len(loaded.rejected) == rejected


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_in_a_jsonl_file_is_named_with_its_suffix(tmp_path, indent):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps([{"text": "a film", "label": 1}], indent=indent))
    with pytest.raises(InputError, match=r"one JSON list must end in \.json\."):
        load_split(PAPER_TASKS["sst"], str(path))
