"""Models that version 0.1.0 saved (see `tests/fixtures/make_saved_models.py`) load with the logits it computed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

import extrabert_hf  # noqa: F401
from extrabert_hf.pretrained.adapters import load_adapter
from extrabert_hf.pretrained.loading import load_model

SAVED = Path(__file__).parents[1] / "fixtures" / "saved_by_0_1"
EXPECTED = json.loads((SAVED / "expected.json").read_text(encoding="utf-8"))


def assert_same_logits(model, name, **task):
    inputs = {key: torch.tensor(values) for key, values in EXPECTED["inputs"].items()}
    head = model.heads[task["task"]] if task else model.head
    if head.sentences_per_row == 1:
        inputs = {key: values[:, 0] for key, values in inputs.items()}
    expected = torch.tensor(EXPECTED["logits"][name])
    torch.testing.assert_close(model(**inputs, **task).logits, expected, atol=1e-6, rtol=0)


def test_the_fixtures_are_small_and_name_the_former_pair_encodings():
    files = [path for path in SAVED.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200_000
    for name, former in {"similarity_separate": "separate", "paraphrase_joint": "joint"}.items():
        assert json.loads((SAVED / name / "config.json").read_text("utf-8"))["pair_encoding"] == former


@pytest.mark.parametrize(
    ("name", "encoding"), [("similarity_separate", "bi_encoder"), ("paraphrase_joint", "cross_encoder")]
)
def test_a_model_of_one_task_keeps_its_logits(name, encoding, tmp_path):
    model = AutoModel.from_pretrained(SAVED / name)
    assert model.config.pair_encoding == AutoConfig.from_pretrained(SAVED / name).pair_encoding == encoding
    assert_same_logits(model, name)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["pair_encoding"] == encoding
    assert_same_logits(AutoModel.from_pretrained(tmp_path), name)


def test_a_multitask_model_keeps_its_logits():
    model = AutoModel.from_pretrained(SAVED / "multitask")
    assert model.config.tasks["para"]["pair_encoding"] == "cross_encoder"
    for task in ("sst", "para", "sts"):
        assert_same_logits(model, f"multitask/{task}", task=task)
        assert_same_logits(model.extract(task), f"multitask/{task}")


def test_an_adapter_keeps_its_logits():
    model = load_adapter(SAVED / "adapter", resolve={"ENCODER": str(SAVED / "encoder")}.__getitem__)
    assert type(model).__name__ == "ExtraBertForSentiment"
    assert_same_logits(model, "adapter")


def test_a_repository_with_an_adapter_only_keeps_its_logits(tmp_path):
    folder = shutil.copytree(SAVED / "adapter_repository", tmp_path / "repository")
    path = folder / "adapter" / "adapter_config.json"
    path.write_text(path.read_text("utf-8").replace("ENCODER", str(SAVED / "encoder")), "utf-8")
    assert_same_logits(AutoModel.from_pretrained(folder), "adapter_repository")


def test_the_tokenizer_beside_a_model_is_loaded_with_it(tmp_path):
    folder = shutil.copytree(SAVED / "similarity_separate", tmp_path / "model")
    for file in (SAVED / "encoder").glob("tokenizer*.json"):
        shutil.copy(file, folder)
    loaded = load_model(str(folder))
    model, tokenizer, task = loaded.model, loaded.tokenizer, loaded.task
    assert (task.name, task.label_range, tokenizer("a man")["input_ids"]) == ("sts", (0.0, 5.0), [2, 4, 12, 3])
    assert_same_logits(model.cpu(), "similarity_separate")
