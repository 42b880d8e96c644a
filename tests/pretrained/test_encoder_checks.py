import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    FNetConfig,
    FNetModel,
    GPT2Config,
    GPT2Model,
    MPNetModel,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    XLNetConfig,
    XLNetModel,
)

from extrabert_hf import ExtraBertForSentiment
from extrabert_hf.data.tokenization import limit_length, longest_sentence, tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.tasks import PAPER_TASKS
from tests.conftest import SIZES, TINY_BACKBONES
from tests.pretrained.tiny_models import VOCABULARY, WORDS, tiny_tokenizer

SST = PAPER_TASKS["sst"]
TINY_T5 = T5Config(vocab_size=99, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
TINY_VIT = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
TINY_XLNET = XLNetConfig(vocab_size=99, d_model=16, n_layer=1, n_head=2, d_inner=32)


@pytest.fixture
def encoder(tmp_path):
    """Makes a function that saves an encoder, by default a tiny BERT, with a tokenizer; returns the folder."""

    def save(model=None, tokenizer=None):
        (model or BertModel(BertConfig(**SIZES))).save_pretrained(tmp_path)
        (tokenizer or tiny_tokenizer()).save_pretrained(tmp_path)
        return tmp_path

    return save


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder, message, **fields):
    with pytest.raises(InputError, match=message) as caught:
        build_model(str(folder), SST, **fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: T5EncoderModel(TINY_T5), "'t5' in .*, an encoder and a decoder: use an encoder such as"),
        (lambda: ViTModel(TINY_VIT), "'vit' in .*, an encoder of pixel_values"),
    ],
    ids=["encoder of an encoder-decoder", "images"],
)
def test_a_model_that_is_no_text_encoder_is_refused_by_its_config(model, message, encoder):
    folder = encoder(model())
    (folder / "model.safetensors").unlink()
    refused(folder, f"`model_name_or_path` must be .*{message}")


def test_quantized_weights_are_refused(encoder):
    folder = encoder()
    edit(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    refused(folder, "quantized with gptq")


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 32}, r"must hold weights of the sizes in its config.json, .*must be \(32,\), got \(16,\)"),
        ({"max_position_embeddings": 64}, r"position_embeddings.weight' must be \(64, 16\), got \(48, 16\)"),
        ({"num_hidden_layers": 3}, "must hold every weight of its encoder, 16 are missing"),
        ({"num_attention_heads": 0}, "its config or its code fails with ZeroDivisionError"),
        ({"hidden_act": "nope"}, "its config or its code fails with KeyError: 'nope'"),
    ],
)
def test_weights_of_another_size_than_the_config_are_refused(changes, message, encoder):
    folder = encoder()
    edit(folder / "config.json", **changes)
    refused(folder, message)


def test_weights_of_layers_that_the_config_lacks_are_a_warning(encoder, caplog):
    folder = encoder()
    edit(folder / "config.json", num_hidden_layers=1)
    with caplog.at_level(logging.WARNING):
        build_model(str(folder), SST)
    assert "has 16 weights of layers that its config.json does not have" in caplog.text


def test_weights_that_are_not_finite_are_refused(encoder):
    folder = encoder()
    rewrite(folder, lambda weights: {name: weight * float("nan") for name, weight in weights.items()})
    refused(folder, "with finite states, got nan or inf from the BertModel")


@pytest.mark.parametrize("added", [True, False], ids=["added tokens", "another vocabulary"])
def test_ids_that_the_embeddings_lack_are_refused(added, encoder):
    tokenizer = tiny_tokenizer()
    if added:
        tokenizer.add_tokens(["<new>"])
    rows = VOCABULARY if added else VOCABULARY - 1
    token, above = ("'<new>'", 1) if added else ("'word59'", 1)
    folder = encoder(BertModel(BertConfig(**SIZES | {"vocab_size": rows})), tokenizer)
    refused(folder, f"ids below {rows}, .*got {above} tokens above, up to {token}.*resize_token_embeddings")


def test_a_tokenizer_without_padding_token_gets_that_of_the_encoder_and_changes_no_score(encoder, caplog):
    logits = []
    for pad_token in ("<pad>", None):
        torch.manual_seed(0)
        folder = encoder(RobertaModel(TINY_BACKBONES["roberta"]), tiny_tokenizer(pad_token))
        model, tokenizer = build_model(str(folder), SST)
        limit_length(tokenizer, model, None)
        assert tokenizer.pad_token == "<pad>"
        logits.append(predict_logits(model, tokenizer, [WORDS[0], " ".join(WORDS)]))
    assert (logits[0] == logits[1]).all()
    assert "has no padding token: '<pad>' is used" in caplog.text
    tokenizer.save_pretrained(folder / "saved")
    assert AutoTokenizer.from_pretrained(folder / "saved").pad_token == "<pad>"


@pytest.mark.parametrize("name", ["roberta", "mpnet", "bert"])
def test_a_sentence_of_the_maximum_length_has_positions(name, encoder):
    model_class = {"roberta": RobertaModel, "mpnet": MPNetModel, "bert": BertModel}[name]
    model, tokenizer = build_model(str(encoder(model_class(TINY_BACKBONES[name]))), SST)
    limit_length(tokenizer, model, None)
    assert tokenizer.model_max_length == (48 if name == "bert" else 46)
    assert predict_logits(model, tokenizer, [" ".join(WORDS)]).shape == (1, 5)
    ids = torch.tensor(tokenize_sentences(tokenizer, [" ".join(WORDS)]))
    with pytest.raises((IndexError, RuntimeError)):
        model.backbone(input_ids=torch.cat([ids, ids[:, -1:]], dim=1))


def test_an_encoder_without_declared_positions_takes_any_length_that_it_can_encode(encoder, monkeypatch):
    model, tokenizer = build_model(str(encoder(XLNetModel(TINY_XLNET))), SST)
    assert model.max_tokens is None
    limit_length(tokenizer, model, 300)
    assert tokenizer.model_max_length == 300
    forward = model.backbone.forward

    def with_limit(input_ids, **inputs):
        if input_ids.shape[1] > 256:
            raise IndexError("index out of range")
        return forward(input_ids=input_ids, **inputs)

    monkeypatch.setattr(model.backbone, "forward", with_limit)
    with pytest.raises(InputError, match=r"`max_length` must be .* XLNetModel can encode, got 257: index out"):
        limit_length(tokenizer, model, 257)


@pytest.mark.parametrize("limit", [0, -1, 2, "512", None])
def test_a_maximum_length_without_room_for_a_token_is_refused_unless_another_is_given(limit, encoder):
    model, tokenizer = build_model(str(encoder()), SST)
    tokenizer.model_max_length = limit
    with pytest.raises(InputError, match=r"`model_max_length` .* must be 3 or more, got .*: pass --max_length 48\."):
        limit_length(tokenizer, model, None)
    limit_length(tokenizer, model, 20)
    assert tokenizer.model_max_length == 20
    tokenizer.model_max_length = 1e30
    assert longest_sentence(tokenizer, model) == 48


def test_a_tokenizer_that_pads_on_the_left_is_saved_with_padding_on_the_right(encoder):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    folder = encoder(tokenizer=tokenizer)
    model, tokenizer = build_model(str(folder), SST, pooling="cls")
    limit_length(tokenizer, model, None)
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).padding_side == "right"


def test_a_sentence_without_a_token_is_an_unknown_token(encoder):
    model, tokenizer = build_model(str(encoder()), SST)
    tokenizer.backend_tokenizer.post_processor = None
    assert tokenize_sentences(tokenizer, ["", WORDS[0]]) == [[3], [4]]
    assert predict_logits(model, tokenizer, ["", WORDS[0]]).shape == (2, 5)


def test_a_causal_encoder_is_a_warning_and_has_no_cls_pooling(encoder, caplog):
    folder = encoder(GPT2Model(GPT2Config(vocab_size=99, n_embd=16, n_layer=2, n_head=2, n_positions=48)))
    model, _ = build_model(str(folder), SST)
    assert "attends only to the tokens before it in the GPT2Model" in caplog.text
    assert model.backbone.config.use_cache is False
    refused(folder, "`pooling` must be 'mean', 'dot' or 'multiplicative' for the GPT2Model", pooling="cls")


def test_the_probe_changes_no_weight_no_mode_and_no_random_number(encoder):
    folder = str(encoder())
    torch.manual_seed(3)
    ExtraBertForSentiment.from_backbone(folder)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    model, _ = build_model(folder, SST)
    assert torch.equal(torch.rand(1), drawn)
    weights = AutoModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in model.backbone.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_scores_of_an_encoder_that_padding_changes_do_not_depend_on_the_batch(pooling, encoder, caplog):
    sizes = {name: size for name, size in SIZES.items() if name != "num_attention_heads"}
    folder = encoder(FNetModel(FNetConfig(**sizes, tpu_short_seq_length=48)))
    model, tokenizer = build_model(str(folder), SST, pooling=pooling)
    assert "padding changes the output of the FNetModel" in caplog.text
    limit_length(tokenizer, model, None)
    sentences = [" ".join(WORDS[:length]) for length in (1, 3, 3, 7, 20)]
    alone = torch.from_numpy(predict_logits(model, tokenizer, sentences, batch_size=1))
    together = torch.from_numpy(predict_logits(model, tokenizer, sentences, batch_size=64))
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)
    assert "one length at a time" in model.why_padded()
    for part in (model, tokenizer):
        part.save_pretrained(folder / "saved")
    saved = load_model(str(folder / "saved"))
    again = torch.from_numpy(predict_logits(saved.model, saved.tokenizer, sentences))
    torch.testing.assert_close(again, together, atol=1e-6, rtol=0)
    batch = saved.tokenizer(sentences, padding=True, return_tensors="pt")
    vectors = saved.model.embed(**batch)
    saved.model.config.encode_by_length = False
    assert not torch.allclose(saved.model.embed(**batch), vectors, atol=1e-4, rtol=0)
