import csv
import hashlib
from importlib.resources import files

import pytest

from extrabert_hf.data.loading import load_task_data
from extrabert_hf.tasks import PAPER_TASKS

SAMPLES = files("extrabert_hf.data.samples")


@pytest.fixture(scope="module", params=PAPER_TASKS)
def sample(request):
    task = PAPER_TASKS[request.param]
    return task, load_task_data(task, "sample", strict=True)


def sentences(split, task):
    return list(zip(split["sentence1"], split["sentence2"], strict=True)) if task.is_pair else split["sentence1"][:]


def test_every_row_of_the_sample_is_good(sample):
    _, loaded = sample
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 260, "dev": 90, "test": 40}
    assert loaded.rejected == []


def test_train_and_dev_have_every_class_or_the_whole_range(sample):
    task, loaded = sample
    for name in ("train", "dev"):
        labels = loaded.splits[name]["label"][:]
        if task.is_regression:
            assert (min(labels), max(labels)) == task.label_range
        else:
            assert set(labels) == set(range(len(task.class_names)))
    assert "label" not in loaded.splits["test"].column_names


def test_no_row_stands_twice_or_in_two_splits(sample):
    task, loaded = sample
    rows = [row for split in loaded.splits.values() for row in sentences(split, task)]
    ids = [row_id for split in loaded.splits.values() for row_id in split["id"]]
    assert len(set(rows)) == len(rows) == len(set(ids))


def test_an_id_is_25_hex_characters_of_the_text(sample):
    task, loaded = sample
    for split in loaded.splits.values():
        for row in split:
            texts = [task.name, row["sentence1"]] + ([row["sentence2"]] if task.is_pair else [])
            assert row["id"] == hashlib.sha256("\t".join(texts).encode()).hexdigest()[:25]


@pytest.mark.parametrize("stem", [task.course_stem for task in PAPER_TASKS.values()])
@pytest.mark.parametrize("ending", ["train", "dev", "test-student"])
def test_files_have_the_form_of_the_course(stem, ending):
    with (SAMPLES / f"{stem}-{ending}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t", strict=True)
    texts = ["sentence"] if stem == "ids-sst" else ["sentence1", "sentence2"]
    label = {"ids-sst": "sentiment", "quora": "is_duplicate", "sts": "similarity"}[stem]
    assert header == ["", "id", *texts] + [label] * (ending != "test-student")
    assert [row[0] for row in rows] == [str(number) for number in range(len(rows))]
    if stem == "quora" and ending != "test-student":
        assert {row[-1] for row in rows} == {"0.0", "1.0"}
