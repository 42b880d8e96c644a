import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from extrabert_hf import ExtraBertForMultiTask, ExtraBertForParaphrase, ExtraBertForSimilarity
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.adapters import load_adapter
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.pretrained.lora import save_adapter, with_lora
from extrabert_hf.sharing.export import ExportArguments, run_export

ROOT = Path(__file__).parents[2]
QUERY_ADAPTER = {"r": 2, "lora_alpha": 4, "target_modules": ["query"]}


def shaken(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def saved(tiny_encoder, tmp_path):
    """Makes a function that saves a model as a run does, and gives its folder."""

    def save(model_class, name="run", **fields):
        folder = tmp_path / name
        shaken(model_class.from_backbone(tiny_encoder, **fields)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
        return str(folder)

    return save


@pytest.fixture
def adapter(tiny_encoder, tmp_path):
    """Makes a function that saves the adapter of a model, and gives its folder."""

    def save(model_class):
        folder = tmp_path / "adapter"
        adapted = shaken(with_lora(model_class.from_backbone(tiny_encoder), r=2))
        plain = model_class.from_backbone(tiny_encoder).backbone.state_dict()
        for name, weight in adapted.get_base_model().backbone.state_dict().items():
            if "lora_" not in name:  # of the frozen encoder
                weight.copy_(plain[name.replace("base_layer.", "")])
        save_adapter(adapted, folder, encoder=tiny_encoder)
        AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
        return str(folder)

    return save


def report_of(folder):
    return json.loads((Path(folder) / "parity.json").read_text())


@pytest.mark.parametrize(
    ("export_format", "file"),
    [("onnx", "model.onnx"), ("sentence-transformers", "config.json"), ("transformers", "model.safetensors")],
)
def test_a_file_of_the_user_is_refused_before_the_model_is_loaded(export_format, file, tmp_path):
    (tmp_path / file).write_text("mine")
    with pytest.raises(InputError, match=f"`output` would replace .*{file}"):
        run_export("no-such-model", ExportArguments(format=export_format, output=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")  # of an untrained model
def test_a_multitask_model_is_one_graph_compared_on_the_rows_of_each_task(saved, caplog):
    folder = saved(ExtraBertForMultiTask)
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        table = run_export(folder, ExportArguments(int8=True, data="sample"))
    output = Path(folder) / "export" / "onnx"
    assert {"model.onnx", "model_int8.onnx", "tokenizer.json", "config.json"} <= {p.name for p in output.iterdir()}
    report = report_of(output)
    names = [(entry["task"], entry["variant"]) for entry in report["variants"]]
    assert sorted(names) == sorted(
        (task, name) for task in ("sst", "para", "sts") for name in ("PyTorch", "onnx fp32", "onnx int8")
    )
    for entry in report["variants"]:
        if entry["variant"] == "onnx fp32":
            assert entry["logit_difference"]["max"] < 1e-4 and entry["embedding_difference"]["max"] < 1e-4
            assert entry["megabytes"] == (output / "model.onnx").stat().st_size / 1e6
        if entry["variant"] == "onnx int8":
            assert 0 < entry["logit_difference"]["max"] < 0.5 and 0 < entry["embedding_difference"]["max"] < 0.5
    assert (report["split"], report["data"], report["machine"]["threads"]) == ("dev", "sample", 1)
    assert len(table.splitlines()) == 2 + 9
    for text in ("tracing the graph", "agrees with PyTorch", "wrote", "comparing on 90 rows of sts", "parity.json"):
        assert text in caplog.text


def test_a_similarity_model_becomes_a_folder_of_sentence_transformers(saved, caplog):
    folder = saved(ExtraBertForSimilarity)
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        run_export(folder, ExportArguments(format="sentence-transformers", data="sample"))
    entries = report_of(Path(folder) / "export" / "sentence-transformers")["variants"]
    assert [entry["variant"] for entry in entries] == ["PyTorch", "sentence-transformers"]
    assert entries[1]["logit_difference"]["max"] < 1e-4
    assert f"SentenceTransformer('{folder}/export/sentence-transformers') loads it" in caplog.text


def test_another_pooling_is_compared_with_the_models_own(saved, caplog):
    folder = saved(ExtraBertForSimilarity)
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder)
        model.pooling.query.add_(torch.randn(16))
        model.save_pretrained(folder)
    arguments = ExportArguments(format="sentence-transformers", pooling="mean", data="sample")
    table = run_export(folder, arguments)
    assert "| sentence-transformers, mean pooling | sts" in " ".join(table.split())
    entries = report_of(Path(folder) / "export" / "sentence-transformers")["variants"]
    assert entries[1]["logit_difference"]["max"] > 0.01
    assert "were not measured" not in caplog.text
    run_export(folder, ExportArguments(format="sentence-transformers", pooling="mean"))
    assert "its scores with mean pooling differ and were not measured. --data names" in caplog.text


def test_the_models_own_pooling_can_be_named(saved, caplog):
    folder = saved(ExtraBertForSimilarity, pooling="mean")
    run_export(folder, ExportArguments(format="sentence-transformers", pooling="mean"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("model_class", [ExtraBertForParaphrase, ExtraBertForMultiTask])
def test_an_adapter_becomes_an_ordinary_model(model_class, adapter, tiny_encoder, random_batch, tmp_path):
    folder, output = adapter(model_class), tmp_path / "merged"
    run_export(folder, ExportArguments(format="safetensors", output=str(output)))
    merged, expected = AutoModel.from_pretrained(output), load_adapter(folder)
    task = {"task": "para"} if model_class is ExtraBertForMultiTask else {}
    batch = random_batch(4) | task
    assert type(merged) is model_class
    assert torch.equal(merged.eval()(**batch).logits, expected(**batch).logits)
    query = merged.backbone.encoder.layer[0].attention.self.query.weight
    assert not torch.equal(query, AutoModel.from_pretrained(tiny_encoder).encoder.layer[0].attention.self.query.weight)
    assert tiny_encoder not in (output / "config.json").read_text()
    assert not (output / "adapter_config.json").exists()
    card = (output / "README.md").read_text()
    assert 'AutoModel.from_pretrained(".", trust_remote_code=True)' in card and str(tmp_path) not in card
    assert load_model(str(output), task.get("task")).task.head == "paraphrase"


def test_one_task_of_several_becomes_a_model_of_its_own(saved, random_batch):
    folder = saved(ExtraBertForMultiTask)
    table = run_export(folder, ExportArguments(format="safetensors", task="sts", data="sample"))
    output = f"{folder}/export/safetensors-sts"
    batch = random_batch(3)
    model, whole = AutoModel.from_pretrained(output), AutoModel.from_pretrained(folder)
    assert type(model) is ExtraBertForSimilarity
    assert torch.equal(model(**batch).logits, whole(task="sts", **batch).logits)
    assert "| safetensors | sts | 90 | 0 / 0 | 0 / 0 | 0 / 0 | - | pearson" in " ".join(table.split())


def test_a_model_with_adapters_by_task_is_exported_by_task(saved, random_batch):
    tasks = {"para": {"head": "paraphrase", "adapter": QUERY_ADAPTER}, "sts": {"head": "similarity"}}
    folder = saved(ExtraBertForMultiTask, tasks=tasks)
    model = AutoModel.from_pretrained(folder)
    with pytest.raises(InputError, match="one task at a time"):
        run_export(folder, ExportArguments())
    run_export(folder, ExportArguments(format="safetensors", task="para"))
    batch = random_batch(3)
    one = AutoModel.from_pretrained(f"{folder}/export/safetensors-para")
    torch.testing.assert_close(one(**batch).logits, model(task="para", **batch).logits, rtol=0, atol=1e-4)


def test_without_rows_a_message_says_that_no_parity_was_measured(saved, caplog):
    folder = saved(ExtraBertForSimilarity)
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        assert run_export(folder, ExportArguments(format="safetensors")) is None
    assert "parity was not measured on data" in caplog.text
    assert not (Path(folder) / "export" / "safetensors" / "parity.json").exists()


def test_rows_that_cannot_be_read_are_an_error_before_anything_is_written(saved, tmp_path):
    folder = saved(ExtraBertForSimilarity)
    with pytest.raises(InputError, match="nowhere"):
        run_export(folder, ExportArguments(format="safetensors", data=str(tmp_path / "nowhere.csv")))
    assert not (Path(folder) / "export").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"format": "onxx"},
            "`format` must be one of 'onnx', 'sentence-transformers', 'transformers', 'safetensors', got 'onxx'.",
        ),
        ({"format": "safetensors", "int8": True}, "`int8` is for the format 'onnx', got 'safetensors'."),
        ({"pooling": "mean"}, "`pooling` is for the format 'sentence-transformers', got 'onnx'."),
        ({"format": "sentence-transformers", "pooling": "max"}, "`pooling` must be 'mean' or 'cls', got 'max'."),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(InputError) as raised:
        ExportArguments(**fields)
    assert str(raised.value) == message


def test_the_models_own_folder_is_never_written_to(saved):
    folder = saved(ExtraBertForSimilarity)
    with pytest.raises(InputError, match="`output` must be another folder than the model's"):
        run_export(folder, ExportArguments(format="safetensors", output=f"{folder}/export/.."))


@pytest.mark.parametrize(
    ("name", "task", "folder"),
    [
        (".", None, "export/onnx"),
        (".", "sts", "export/onnx-sts"),
        ("someone/extrabert-sts", None, "export/extrabert-sts/onnx"),
    ],
)
def test_an_export_goes_beside_the_model_by_default(name, task, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ExportArguments(task=task).folder_for(name) == Path(folder)


@pytest.mark.launch
def test_the_recipe_ends_in_one_line_that_says_what_is_wrong(saved, tiny_encoder):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "recipes/export.py", tiny_encoder, "--format", "onnx"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the model must be one of ExtraBertForSentiment, ")
    assert len(done.stderr.splitlines()) == 1
