import json
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from extrabert_hf.data.audit_report import Defect, audit_page, read_audit, write_audit
from extrabert_hf.data.auditing import audit
from extrabert_hf.data.loading import load_task_data
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.tasks import PAPER_TASKS


@pytest.fixture(scope="module")
def reports(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    return {
        name: audit(load_task_data(task, "sample"), task, tokenizer, majority_baseline=majority_baseline)
        for name, task in PAPER_TASKS.items()
    }


def test_a_page_has_a_column_for_each_split_and_the_ids_of_defects(reports):
    for name, task in PAPER_TASKS.items():
        leaks = reports[name].leaks | {"dev": Defect(rows=7, examples=["x1", "x2"])}
        page = audit_page(replace(reports[name], leaks=leaks, rejected={"no label": 3}))
        assert page.splitlines()[0].split() == [name, "train", "dev", "test"]
        assert f"{len(load_task_data(task, 'sample').splits['train']):,}" in page
        assert "dev rows whose text is in train, ids: x1, x2, ..." in page
        assert "rows that can't be used: 3\n    3 no label" in page


def test_an_audit_is_written_as_json(reports, tmp_path):
    write_audit(tmp_path / "new" / "audit.json", reports)
    assert read_audit(tmp_path / "new" / "audit.json") == reports


def test_the_json_has_the_keys_of_every_version(reports, tmp_path):
    write_audit(tmp_path / "audit.json", reports)
    written = json.loads((tmp_path / "audit.json").read_text())
    assert list(written) == ["sst", "para", "sts"]
    for name, entry in written.items():
        assert list(entry) == ["task", "rejected", "splits", "leaks", "majority_baseline"]
        assert list(entry["splits"]) == ["train", "dev", "test"]
        labelled, unlabelled = entry["splits"]["dev"], entry["splits"]["test"]
        assert list(labelled) == ["rows", "words", "duplicates", "tokens", "labels", "contradictions"]
        assert list(unlabelled) == ["rows", "words", "duplicates", "tokens"]
        assert list(labelled["words"]) == ["mean", "median", "max"]
        assert list(labelled["tokens"]) == ["sentences", "max_length", "cut_off", "mean", "median", "max"]
        assert list(labelled["contradictions"]) == ["texts", "rows", "examples", "largest_difference"]
        assert list(labelled["duplicates"]) == list(entry["leaks"]["test"]) == ["rows", "examples"]
        assert list(entry["leaks"]) == ["dev", "test"]
        assert list(entry["majority_baseline"]) == ["train", "dev"]
        assert list(entry["majority_baseline"]["dev"]) == ["mse" if name == "sts" else "accuracy"]
