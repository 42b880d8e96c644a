import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from transformers import AutoTokenizer

from extrabert_hf.data.audit_report import Contradictions, Defect, WordCounts, findings
from extrabert_hf.data.auditing import audit, drop_defects
from extrabert_hf.data.loading import LoadedData, load_task_data
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.tasks import PAPER_TASKS

COURSE_DATA = Path(os.environ.get("EXTRABERT_DATA", Path(__file__).parents[3] / "shared" / "data"))
STS = PAPER_TASKS["sts"]
audit = partial(audit, majority_baseline=majority_baseline)


def split(*rows):
    first, second, labels = zip(*rows, strict=True)
    ids = [f"r{index}" for index in range(len(rows))]
    return Dataset.from_dict(
        {"sentence1": first, "sentence2": second, "label": [float(label) for label in labels], "id": ids}
    )


@pytest.fixture
def loaded():
    train = split(("a", "b", 1), ("B ", "A", 3), ("c", "d", 2), ("c", "D", 2), ("e", "f", 0), ("a", "c", 5))
    dev = split(("f", "e", 0), ("x", "y", 4), ("y", "X", 4))
    return LoadedData(DatasetDict({"train": train, "dev": dev}), rejected=[], notices=[], task=STS)


def test_defects_are_counted_without_regard_to_case_spacing_and_order(loaded):
    report = audit(loaded, STS)
    train, dev = report.splits["train"], report.splits["dev"]
    assert train.duplicates == Defect(rows=2, examples=["r1", "r3"])
    assert train.contradictions == Contradictions(texts=1, rows=2, examples=["r0", "r1"], largest_difference=2.0)
    assert dev.duplicates.rows == 1 and dev.contradictions.texts == 0
    assert report.leaks == {"dev": Defect(rows=1, examples=["r0"])}
    assert findings(report) == [
        "sts: 2 of 6 train rows have the text of an earlier row",
        "sts: texts of train with several labels: 1",
        "sts: 1 of 3 dev rows have the text of an earlier row",
        "sts: 1 of 3 dev rows are also in train",
    ]


def test_labels_lengths_and_the_constant_prediction_are_reported(loaded):
    report = audit(loaded, STS)
    assert report.splits["train"].labels == {
        **{"0 to 1": 1, "1 to 2": 1, "2 to 3": 2, "3 to 4": 1, "4 to 5": 1},
    }
    assert report.splits["train"].words == WordCounts(mean=1.0, median=1.0, max=1)
    mean = 13 / 6
    assert report.majority_baseline["dev"]["mse"] == pytest.approx((mean**2 + 2 * (4 - mean) ** 2) / 3)
    sst = load_task_data(PAPER_TASKS["sst"], "sample")
    report = audit(sst, PAPER_TASKS["sst"])
    labels = report.splits["train"].labels
    assert list(labels) == list(PAPER_TASKS["sst"].class_names) and sum(labels.values()) == 260
    assert 0 < report.majority_baseline["dev"]["accuracy"] < 1


def test_cut_off_sentences_are_counted_with_the_special_tokens(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.model_max_length = 5
    rows = Dataset.from_dict(
        {"sentence1": ["a man", "a man plays", "a man plays a guitar"], "label": [0, 1, 2], "id": list("abc")}
    )
    report = audit(LoadedData(DatasetDict({"dev": rows}), [], [], PAPER_TASKS["sst"]), PAPER_TASKS["sst"], tokenizer)
    tokens = report.splits["dev"].tokens
    assert tokens.cut_off == pytest.approx(1 / 3) and tokens.max == 7 and tokens.max_length == 5
    assert findings(report) == ["sst: 33.3 % of the sentences of dev are cut off"]


@pytest.mark.parametrize(
    ("leaked", "duplicates", "kept"),
    [
        (True, False, ["r0", "r1", "r2", "r3", "r5"]),
        (False, True, ["r0", "r2", "r4", "r5"]),
        (True, True, ["r0", "r2", "r5"]),
    ],
)
def test_rows_with_defects_are_left_out_and_counted(leaked, duplicates, kept, loaded):
    cleaned = drop_defects(loaded, leaked=leaked, duplicates=duplicates)
    assert cleaned.splits["train"]["id"][:] == kept
    assert cleaned.splits["dev"]["id"][:] == loaded.splits["dev"]["id"][:]
    assert len(cleaned.rejected) == 6 - len(kept)
    reasons = {row.row["id"]: row.reason for row in cleaned.rejected}
    if leaked:
        assert reasons["r4"] == "text is also in dev"
    if duplicates:
        assert reasons["r1"] == reasons["r3"] == "text is also in an earlier row"
    assert cleaned.notices[-1].startswith(f"{6 - len(kept)} of 6 train rows left out: ")
    report = audit(cleaned, STS)
    assert not (leaked and report.leaks["dev"].rows)
    assert not (duplicates and report.splits["train"].duplicates.rows)


def test_clean_rows_stay_the_very_same(loaded):
    clean = replace(loaded, splits=DatasetDict({"train": split(("a", "b", 1)), "dev": split(("c", "d", 1))}))
    assert drop_defects(clean, leaked=True, duplicates=True) is clean
    assert findings(audit(clean, STS)) == []


@pytest.mark.skipif(not COURSE_DATA.is_dir(), reason=f"needs the CS224N files in {COURSE_DATA}")
def test_the_known_defects_of_the_course_files_are_found():
    reports = {name: audit(load_task_data(task, str(COURSE_DATA)), task) for name, task in PAPER_TASKS.items()}
    assert sum(reports["para"].rejected.values()) == 2
    assert reports["sts"].leaks["dev"].rows == 16
    assert reports["sts"].splits["train"].duplicates.rows == 43
    assert reports["sst"].leaks["dev"].rows == 2


def test_only_accuracy_and_squared_error_of_the_majority_baseline_are_kept(loaded):
    scores = {"accuracy": 0.5, "f1": 0.25, "mse": 2.0}
    report = audit(loaded, STS, majority_baseline=lambda task, train_labels, labels: scores)
    assert report.majority_baseline == {name: {"accuracy": 0.5, "mse": 2.0} for name in ("train", "dev")}
    dev = replace(loaded, splits=DatasetDict({"dev": loaded.splits["dev"]}))
    assert audit(dev, STS).majority_baseline == {}
