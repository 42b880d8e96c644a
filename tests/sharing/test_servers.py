"""
Reads exported folders as three inference servers do, and computes the vectors with plain transformers.

The readers stand for servers that are not installed here: text-embeddings-inference 1.9, vLLM and the converter of
llama.cpp. They were written from the sources of the servers: which files each one reads, which fields it needs, what
it refuses and what it leaves out. They use no sentence-transformers and nothing of this package.
"""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer

from extrabert_hf import ExtraBertConfig, ExtraBertForParaphrase, ExtraBertForSentiment, ExtraBertForSimilarity
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.sharing.sentence_transformers_export import export_sentence_transformers
from extrabert_hf.sharing.servers import (
    CLASSIFYING_ENCODERS,
    EMBEDDING_ENCODERS,
    LLAMA_CPP,
    TEI,
    VLLM,
    servers_of_classes,
    servers_of_vectors,
)
from extrabert_hf.sharing.stock_classifier_export import export_stock_classifier
from tests.conftest import SIZES, TINY_BACKBONES

SENTENCES = ["A man is playing a guitar.", "The woman is slicing a tomato.", "why ?", "A warm film", "a"]
POOLINGS = ["pooler", "cls", "mean", "dot", "multiplicative"]
MODULE = "sentence_transformers.models."


ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": torch.tanh,
    "torch.nn.modules.linear.Identity": lambda vectors: vectors,
}
"""The activations of a dense layer that text-embeddings-inference and vLLM both have."""


class Refused(Exception):
    """The server does not start, or its converter stops."""


class ServerReader:
    """Computes vectors from the files of a folder; subclasses choose the pooling and the dense layers."""

    encoders = ()

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = self.read("config.json")
        if not self.config["architectures"] or self.config["model_type"] not in self.encoders:
            raise Refused(f"unknown encoder {self.config['model_type']}")
        self.modules = self.read("modules.json")

    def read(self, name):
        path = self.folder / name
        if not path.is_file():
            raise Refused(f"{name} is missing")
        return json.loads(path.read_text(encoding="utf-8"))

    def modules_of(self, name):
        return [module["path"] for module in self.modules if module["type"] == MODULE + name]

    def dense(self, path, vectors):
        weights, config = load_file(self.folder / path / "model.safetensors"), self.read(f"{path}/config.json")
        assert weights["linear.weight"].shape == (config["out_features"], config["in_features"])
        return vectors @ weights["linear.weight"].T + weights["linear.bias"]

    @torch.inference_mode()
    def vectors(self, sentences):
        takes_pooler = AutoConfig.from_pretrained(self.folder).model_type not in ("distilbert", "modernbert")
        arguments = {"add_pooling_layer": False} if takes_pooler else {}
        model = AutoModel.from_pretrained(self.folder, **arguments).eval()
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        batch = tokenizer(sentences, padding=True, return_tensors="pt")
        states = self.tokens(model(**batch).last_hidden_state)
        if self.pooling == "cls":
            pooled = states[:, 0]
        else:
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(self.project(pooled), dim=-1)

    def tokens(self, states):
        return states

    def project(self, vectors):
        return vectors


class TextEmbeddingsInference(ServerReader):
    """`router/src/lib.rs`, `backends/src/lib.rs` and `backends/candle/src/models/dense.rs`."""

    encoders = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet")

    def __init__(self, folder):
        super().__init__(folder)
        if not (self.folder / "tokenizer.json").is_file():
            raise Refused("only fast tokenizers")
        if not isinstance(self.config["max_position_embeddings"], int):
            raise Refused("no number of positions")
        if not isinstance(self.read("sentence_bert_config.json").get("max_seq_length"), int):
            raise Refused("max_seq_length is missing")
        known = {MODULE + name for name in ("Transformer", "Pooling", "Dense", "Normalize")}
        if {module["type"] for module in self.modules} <= known:
            self.layers = self.modules_of("Dense")
        else:
            self.layers = []  # a warning: no dense layers are used
        for path in self.layers:
            if self.read(f"{path}/config.json")["activation_function"] not in ACTIVATIONS:
                raise Refused("unknown activation")
        if (self.folder / "1_Pooling" / "config.json").is_file():
            modes = self.read("1_Pooling/config.json")
            names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
            if not all(isinstance(modes.get(f"pooling_mode_{name}"), bool) for name in names):
                raise Refused("earlier versions need every field")
            if not (modes["pooling_mode_cls_token"] or modes["pooling_mode_mean_tokens"]):
                raise Refused("unknown pooling")
            self.pooling = "cls" if modes["pooling_mode_cls_token"] else "mean"
        elif "bert" in self.config["model_type"]:
            self.pooling = "cls"  # a warning
        else:
            raise Refused("1_Pooling/config.json is missing")

    def project(self, vectors):
        for path in self.layers:
            activation = self.read(f"{path}/config.json")["activation_function"]
            vectors = ACTIVATIONS[activation](self.dense(path, vectors))
        return vectors


class Vllm(ServerReader):
    """`get_pooling_config` in `vllm/transformers_utils/config.py`, `_load_st_projector` in `models/adapters.py`."""

    encoders = ("bert", "roberta", "xlm-roberta", "modernbert")

    def __init__(self, folder):
        super().__init__(folder)
        self.pooling = "cls"  # the default of BERT and RoBERTa
        for path in self.modules_of("Pooling")[:1]:
            modes = [name for name, value in self.read(f"{path}/config.json").items() if value is True]
            kinds = [name.removeprefix("pooling_mode_").partition("_")[0] for name in modes]
            self.pooling = kinds[-1] if kinds else self.pooling
        if self.pooling not in ("cls", "mean"):
            raise Refused("unknown pooling")

    def project(self, vectors):
        for path in self.modules_of("Dense")[:1]:
            activation = self.read(f"{path}/config.json")["activation_function"]
            if activation in ACTIVATIONS:  # otherwise an error in the log, and no layer
                vectors = ACTIVATIONS[activation](self.dense(path, vectors))
        return vectors


class LlamaCpp(ServerReader):
    """`_try_set_pooling_type` in `conversion/base.py`, `generate_extra_tensors` in `conversion/bert.py`."""

    encoders = ("bert", "camembert", "distilbert", "roberta", "xlm-roberta")

    def __init__(self, folder):
        super().__init__(folder)
        paths = self.modules_of("Pooling")
        if not paths:
            raise Refused("no pooling in the file")
        modes = self.read(f"{paths[0]}/config.json")
        if modes["pooling_mode_mean_tokens"]:
            self.pooling = "mean"
        elif modes["pooling_mode_cls_token"]:
            self.pooling = "cls"
        else:
            raise Refused("unknown pooling")

    def tokens(self, states):
        after_encoder = self.modules[1]
        is_projection = after_encoder["type"].endswith("Dense")  # taken for the projection of a ColBERT model
        return self.dense(after_encoder["path"], states) if is_projection else states


READERS = {TEI: TextEmbeddingsInference, VLLM: Vllm, LLAMA_CPP: LlamaCpp}


@pytest.fixture
def exported(tiny_encoder, tmp_path):
    """Makes a function that exports a shaken model, and returns the model with the folder."""

    def export(model_type, pooling, new_pooling=None):
        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
        encoder = TINY_BACKBONES[model_type].to_dict() | {"vocab_size": len(tokenizer)}
        model = ExtraBertForSimilarity(ExtraBertConfig(backbone_config=encoder, pooling=pooling)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        folder = tmp_path / f"{model_type}-{pooling}"
        export_sentence_transformers(model, tokenizer, folder, pooling=new_pooling)
        return model, tokenizer, folder

    return export


@torch.inference_mode()
def vectors_of(model, tokenizer):
    vectors = model.embed(**tokenizer(SENTENCES, padding=True, return_tensors="pt"))
    return torch.nn.functional.normalize(vectors, dim=-1)


def reader_gives(reader, folder, expected):
    """Whether the server starts and gives these vectors."""
    try:
        vectors = reader(folder).vectors(SENTENCES)
    except Refused:
        return False
    return vectors.shape == expected.shape and bool((vectors - expected).abs().max() < 1e-5)


@pytest.mark.parametrize(
    ("model_type", "pooling"),
    [
        (model_type, pooling)
        for model_type in TINY_BACKBONES
        for pooling in POOLINGS
        if pooling != "pooler" or model_type not in ("distilbert", "modernbert")  # encoders without a pooler
    ],
)
def test_a_server_gives_the_models_vectors_exactly_where_the_export_says_yes(model_type, pooling, exported, caplog):
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        model, tokenizer, folder = exported(model_type, pooling)
    expected = vectors_of(model, tokenizer)
    readme = (folder / "README.md").read_text()
    answers = servers_of_vectors(model_type, pooling, has_tokenizer_file=True)
    assert [served.server for served in answers] == list(READERS)
    assert ("--pooling mean or cls" in caplog.text) == (pooling in ("dot", "multiplicative"))
    for served in answers:
        assert f"| {served.server} | {served.answer} | {served.why} |" in readme
        assert f"served by {served.server}: {served.answer}, {served.why}" in caplog.text
        assert reader_gives(READERS[served.server], folder, expected) == (served.answer == "yes")


@pytest.mark.parametrize("new_pooling", ["mean", "cls"])
@pytest.mark.parametrize("pooling", ["multiplicative", "pooler", "dot"])
def test_a_model_can_be_served_with_another_pooling(pooling, new_pooling, exported):
    model, tokenizer, folder = exported("bert", pooling, new_pooling)
    assert model.config.pooling == pooling
    assert (model.pooling is None) == (pooling == "pooler")  # the model itself is not changed
    states = model.backbone(**(batch := tokenizer(SENTENCES, padding=True, return_tensors="pt"))).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = states[:, 0] if new_pooling == "cls" else (states * mask).sum(dim=1) / mask.sum(dim=1)
    expected = torch.nn.functional.normalize(pooled.detach(), dim=-1)
    assert (expected - vectors_of(model, tokenizer)).abs().max() > 1e-3
    for reader in READERS.values():
        assert reader_gives(reader, folder, expected)
    assert f"have {new_pooling} pooling in place of the {pooling} pooling" in (folder / "README.md").read_text()


def test_the_readers_and_the_export_name_the_same_encoders():
    assert {server: set(reader.encoders) for server, reader in READERS.items()} == {
        server: set(encoders) for server, encoders in EMBEDDING_ENCODERS.items()
    }


def test_what_was_not_looked_up_and_a_slow_tokenizer_get_no_yes():
    for model_type, pooling in (("fnet", "mean"), ("bert", "additive")):
        answers = servers_of_vectors(model_type, pooling, has_tokenizer_file=True)
        assert [served.answer for served in answers] == ["not known"] * 3
    answers = servers_of_vectors("bert", "mean", has_tokenizer_file=False)
    assert [served.answer for served in answers] == ["no", "yes", "yes"]


@pytest.mark.parametrize(
    ("file", "field"),
    [("sentence_bert_config.json", "max_seq_length"), ("1_Pooling/config.json", "pooling_mode_max_tokens")],
)
def test_the_reader_of_text_embeddings_inference_needs_every_field(file, field, exported):
    _, _, folder = exported("bert", "mean")
    content = json.loads((folder / file).read_text())
    del content[field]
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(Refused):
        TextEmbeddingsInference(folder)


def classes_of_text_embeddings_inference(folder, rows):
    """Logits as `BertClassificationHead` and `RobertaClassificationHead` compute them."""
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"][0].endswith("Classification")
    assert set(config["label2id"]) == set(config["id2label"].values())
    weights = load_file(folder / "model.safetensors")
    is_bert = config["model_type"] == "bert"
    prefix = "bert" if is_bert else "roberta"  # the prefixes of the encoder's weights that the server tries
    assert any(name.startswith(f"{prefix}.encoder.layer.0.") for name in weights)
    layers = ("bert.pooler.dense", "classifier") if is_bert else ("classifier.dense", "classifier.out_proj")
    assert weights[f"{layers[1]}.weight"].shape[0] == len(config["id2label"])
    encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    logits = []
    for row in rows:
        encoding = tokenizer.encode(*row)
        ids, segments = torch.tensor([encoding.ids]), torch.tensor([encoding.type_ids])
        vector = encoder(input_ids=ids, token_type_ids=segments).last_hidden_state[:, 0]
        dense, output = ((weights[f"{layer}.weight"], weights[f"{layer}.bias"]) for layer in layers)
        vector = torch.tanh(vector @ dense[0].T + dense[1])
        logits.append(vector @ output[0].T + output[1])
    return torch.cat(logits)


@torch.inference_mode()
@pytest.mark.parametrize("is_pair", [False, True])
@pytest.mark.parametrize("model_type", CLASSIFYING_ENCODERS[TEI])
def test_a_server_gives_the_logits_of_a_stock_classifier(model_type, is_pair, tiny_encoder, tmp_path):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.model_max_length = 20
    encoder = AutoConfig.for_model(model_type, **SIZES | {"vocab_size": len(tokenizer)}).to_dict()
    fields = {"pooling": "pooler", "feed_forward_depth": 0}
    if is_pair:
        fields["pair_encoding"] = "cross_encoder"
    model_class = ExtraBertForParaphrase if is_pair else ExtraBertForSentiment
    model = model_class(ExtraBertConfig(backbone_config=encoder, **fields)).eval()
    for parameter in model.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    export_stock_classifier(model, tokenizer, tmp_path)
    rows = [(sentence, SENTENCES[0]) if is_pair else (sentence,) for sentence in SENTENCES]
    expected = torch.from_numpy(predict_logits(model, tokenizer, *map(list, zip(*rows, strict=True))))
    found = classes_of_text_embeddings_inference(tmp_path, rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    answers = servers_of_classes(model_type, is_pair=is_pair)
    assert "raw_scores" not in answers[0].why
    assert "raw_scores" in servers_of_classes(model_type, is_pair=is_pair, has_scores=True)[0].why
    assert answers[0].answer == "yes"
    assert (answers[2].answer == "no") == (model_type == "bert" or is_pair)
