import contextlib
import copy
import dataclasses
import io
import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

import extrabert_hf
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.models.adapter_files_extrabert import CONFIG_FILE
from extrabert_hf.pretrained.building import build_model, build_multitask_model
from extrabert_hf.pretrained.loading import (
    TrainedModel,
    load_all_tasks,
    load_config,
    load_model,
    load_same_task,
    load_tokenizer,
)
from extrabert_hf.pretrained.lora import save_adapter, with_lora
from extrabert_hf.pretrained.remote_code import is_code_trusted, trusted_code
from extrabert_hf.sharing.composition import compose_adapters
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.sharing.repository_files import preview_push
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_run, yaml_of_flags
from extrabert_hf.training.command_parser import CommandParser

SST = PAPER_TASKS["sst"]

CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
Path({canary!r}).touch()
class MarkedConfig(BertConfig):
    model_type = {model_type!r}
class MarkedModel(BertModel):
    config_class = MarkedConfig
class MarkedTokenizer(PreTrainedTokenizerFast):
    pass
"""

OWN_CONFIG = {"AutoConfig": "marked.MarkedConfig", "AutoModel": "marked.MarkedModel"}
TOKENIZER = {"tokenizer_class": "MarkedTokenizer", "auto_map": {"AutoTokenizer": [None, "marked.MarkedTokenizer"]}}
ENCODERS = {  # changes of config.json, and of tokenizer_config.json
    "an unknown model_type": ({"model_type": "marked", "auto_map": OWN_CONFIG}, {}),
    "a config alone": ({"auto_map": {"AutoConfig": "marked.MarkedConfig"}}, {}),
    "a model of a known model_type": ({"auto_map": {"AutoModel": "marked.MarkedModel"}}, {}),
    "code of another repository": ({"auto_map": {"AutoModel": "{folder}--marked.MarkedModel"}}, {}),
    "a tokenizer": ({}, TOKENIZER),
    "a tokenizer in the old form": ({}, TOKENIZER | {"auto_map": ["marked.MarkedTokenizer", None]}),
}
"""Encoders that need code of their own files."""


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that the code of a model makes; asserts that it was not made, and that nobody read standard input."""
    stdin = io.StringIO("y\n" * 20)
    monkeypatch.setattr(sys, "stdin", stdin)
    yield tmp_path / "canary"
    assert stdin.tell() == 0
    assert not (tmp_path / "canary").exists()


@pytest.fixture
def marked(tmp_path):
    """Makes a copy of a model folder whose files have code of their own."""

    def make(source, config, tokenizer=None, model_type="marked"):
        folder = Path(shutil.copytree(source, tmp_path / "marked", ignore=shutil.ignore_patterns("checkpoint-*")))
        (folder / "marked.py").write_text(CODE.format(canary=str(tmp_path / "canary"), model_type=model_type))
        for name, changes in (("config.json", config), ("tokenizer_config.json", tokenizer or {})):
            changes = json.loads(json.dumps(changes).replace("{folder}", str(folder)))
            path = folder / name
            path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return str(folder)

    return make


LOADERS = {
    "build_model": lambda name: build_model(name, SST),
    "build_multitask_model": lambda name: build_multitask_model(name, {"sst": SST}, config_fields={"sst": {}}),
    "load_model": load_model,
    "load_all_tasks": load_all_tasks,
    "load_same_task": lambda name: load_same_task(name, SST, "teachers"),
    "load_tokenizer": load_tokenizer,
    "load_config": load_config,
    "Predictor.load": Predictor.load,
    "an ensemble": lambda name: Predictor.load(f"{name},{name}"),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("changes", ENCODERS.values(), ids=ENCODERS)
def test_code_of_an_encoder_is_not_run_and_not_asked_for(changes, loader, canary, marked, tiny_encoder):
    with pytest.raises(InputError, match=r"needs Python code of its own files .*--trust_remote_code true") as error:
        loader(marked(tiny_encoder, *changes))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("changes", [ENCODERS["a tokenizer"], ENCODERS["a model of a known model_type"]])
def test_code_inside_a_model_of_this_package_is_not_run(changes, canary, marked, finished_run):
    config, tokenizer = changes
    nested = json.loads((finished_run("sts") / "config.json").read_text())["backbone_config"]
    folder = marked(finished_run("sts"), {"backbone_config": nested | config}, tokenizer)
    with pytest.raises(InputError, match="--trust_remote_code true"):
        load_model(folder)


def test_code_of_the_encoder_of_an_adapter_is_not_run(canary, marked, run_of, tiny_encoder):
    encoder = marked(tiny_encoder, *ENCODERS["a model of a known model_type"])
    run = run_of("sts")
    path = run / "adapter" / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": encoder}))
    for load in (load_model, lambda folder: compose_adapters({"sts": folder})):
        with pytest.raises(InputError, match="--trust_remote_code true"):
            load(str(run / "adapter"))


def test_the_code_in_a_folder_of_this_package_is_not_run(canary, run_of):
    folder = run_of("sts")
    expected = load_model(str(folder)).model.state_dict()
    for file in folder.glob("*_extrabert.py"):
        file.write_text(f"open({str(canary)!r}, 'w')\n")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({str(canary)!r}, 'w')\n")
    (folder / "processor_config.json").write_text('{"auto_map": {"AutoProcessor": "marked.MarkedProcessor"}}')
    (folder / "generation_config.json").write_text('{"auto_map": {"AutoModel": "marked.MarkedModel"}}')
    for trusted in (False, True):  # the installed classes are the same code
        with trusted_code(trusted):
            loaded = load_model(str(folder)).model.state_dict()
        assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("auto_map", [5, [], {"AutoModel": 5}, {"AutoTokenizer": 5}, [5], "a", {"AutoConfig": [1]}])
def test_an_odd_auto_map_is_refused_or_ignored(auto_map, canary, marked, tiny_encoder):
    for changes in (({"auto_map": auto_map}, {}), ({"auto_map": auto_map, "model_type": [1]}, {"auto_map": auto_map})):
        folder = marked(tiny_encoder, *changes)
        with contextlib.suppress(InputError):
            load_tokenizer(folder)
        shutil.rmtree(folder)


def test_an_installed_class_of_the_same_name_needs_no_code(canary, marked, tiny_encoder):
    names = {"AutoConfig": "marked.BertConfig", "AutoModel": "marked.BertModel"}
    folder = marked(tiny_encoder, {"auto_map": names}, {"auto_map": {"AutoTokenizer": [None, "marked.BertTokenizer"]}})
    model, _ = build_model(folder, SST)
    assert type(model.backbone).__module__.startswith("transformers.")
    assert "auto_map" not in model.config.to_dict()["backbone_config"]  # an export may be loaded with trust


@pytest.mark.parametrize("name", ["an unknown model_type", "a known model_type", "a tokenizer"])
def test_trusted_code_is_run_and_saved_with_the_model(name, marked, tmp_path, tiny_encoder):
    changes = ENCODERS.get(name, ({"auto_map": OWN_CONFIG}, {}))
    folder = marked(tiny_encoder, *changes, model_type="bert" if name == "a known model_type" else "marked")
    with trusted_code():
        trained = TrainedModel(*build_model(folder, SST), SST)
    assert (tmp_path / "canary").exists()
    assert not is_code_trusted()
    trained.save_pretrained(tmp_path / "saved")
    with pytest.raises(InputError, match="--trust_remote_code true"):
        load_model(str(tmp_path / "saved"))
    with trusted_code():
        loaded = load_model(str(tmp_path / "saved"))
    assert type(loaded.model.backbone).__name__ == type(trained.model.backbone).__name__
    weights = trained.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.model.state_dict().items())
    two_classes = dataclasses.replace(SST, class_names=("negative", "positive"))
    for task in (PAPER_TASKS["sts"], two_classes):  # a new head, and other classes
        with trusted_code():
            model, tokenizer = build_model(str(tmp_path / "saved"), task)
            TrainedModel(model, tokenizer, task).save_pretrained(tmp_path / task.head)
            again = load_model(str(tmp_path / task.head)).model
        assert type(again.backbone).__name__ == type(trained.model.backbone).__name__


def test_an_adapter_and_a_push_have_the_trusted_code_of_the_encoder(marked, tmp_path, tiny_encoder):
    encoder = marked(tiny_encoder, *ENCODERS["an unknown model_type"])
    with trusted_code():
        model, tokenizer = build_model(encoder, SST)
        with_adapter = with_lora(copy.deepcopy(model), r=2)
        save_adapter(with_adapter, tmp_path / "adapter", encoder="marked")
        tokenizer.save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="--trust_remote_code true"):
        load_model(str(tmp_path / "adapter"))
    with trusted_code():
        loaded = load_model(str(tmp_path / "adapter")).model
    assert type(loaded.backbone).__name__ == "MarkedModel"
    TrainedModel(loaded, tokenizer, SST).save_pretrained(tmp_path / "saved")
    (tmp_path / "canary").unlink()
    assert "0.000 MB  marked.py" in preview_push(tmp_path / "saved", "me/a", sharing=HubArguments())
    assert not (tmp_path / "canary").exists()  # a push runs no code
    (tmp_path / "saved" / "marked.py").unlink()
    with pytest.raises(InputError, match=r"code that its files need \(marked.MarkedConfig\), .*marked.py is missing"):
        preview_push(tmp_path / "saved", "me/a", sharing=HubArguments())


@pytest.mark.parametrize("name", ["a model of a known model_type", "code of another repository"])
def test_trusted_code_of_a_model_without_a_config_class_is_refused(name, marked, tiny_encoder):
    with trusted_code(), pytest.raises(InputError, match="must have a config class of its own"):
        build_model(marked(tiny_encoder, *ENCODERS[name]), SST)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused(canary, tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Canary(canary)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds a pickle file .* never loaded"):
        build_model(str(folder), SST)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(InputError):
        build_model(str(folder), SST)


def test_the_flag_is_of_the_command_line_alone(tmp_path):
    words = ["--trust_remote_code", "true", "--seed", "7"]
    assert parse_run("sst", words).trust_remote_code
    assert not is_code_trusted()  # until the run starts
    assert yaml_of_flags(words) == {"trainer": {"seed": 7}}  # what a search writes to best.yaml
    (tmp_path / "run.yaml").write_text("model:\n  trust_remote_code: true\n")
    with pytest.raises(InputError, match="`trust_remote_code` is not a field of `model`"):
        parse_run("sst", ["--config", str(tmp_path / "run.yaml")])


def test_the_flag_of_a_recipe_holds_until_the_next_command_line():
    parser = CommandParser([], loads_models=True)
    for words, trusted in ((["--trust_remote_code", "true"], True), ([], False), (["--trust_remote_code"], True)):
        parser.parse_args(words)
        assert is_code_trusted() == trusted
    parser.parse_args([])


def test_every_call_of_a_loader_says_whether_it_trusts_code(canary):
    """Without the argument the auto classes ask on standard input."""
    for auto_class in (AutoConfig, AutoModel, AutoTokenizer):
        name = f"{auto_class.__name__}.from_"
        for path in Path(extrabert_hf.__file__).parent.rglob("*.py"):
            text = path.read_text("utf-8")
            for start in (i for i in range(len(text)) if text.startswith(name, i)):
                call = text[start : start + 400]
                assert (
                    "trust_remote_code" in call or "_load(" in text[start - 20 : start] or "(path, **kwargs)" in call
                ), (path, call)
