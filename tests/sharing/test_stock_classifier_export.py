import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CamembertConfig,
    DebertaConfig,
    DebertaV2Config,
    ElectraConfig,
    MPNetTokenizer,
    XLMRobertaConfig,
    pipeline,
)

from extrabert_hf import (
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForParaphrase,
    ExtraBertForSentiment,
    ExtraBertForSimilarity,
)
from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.sharing import stock_classifier_export
from extrabert_hf.sharing.export import ExportArguments, run_export
from extrabert_hf.sharing.servers import servers_of_classes
from extrabert_hf.sharing.stock_classifier_export import STOCK_HEADS, export_stock_classifier
from tests.conftest import SIZES, TINY_BACKBONES
from tests.sharing.snippets import assert_prints_its_comments, python_blocks

ENCODERS = TINY_BACKBONES | {
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "camembert": CamembertConfig(**SIZES, pad_token_id=1),
    "deberta": DebertaConfig(**SIZES, relative_attention=True, pos_att_type="c2p|p2c", type_vocab_size=0),
    "deberta-v2": DebertaV2Config(**SIZES, relative_attention=True, pos_att_type="c2p|p2c", type_vocab_size=0),
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "xlm-roberta": XLMRobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1),
}
FIRST = ["A man is playing a guitar.", "A warm film .", "why ?", "a", "The woman is slicing a tomato."]
SECOND = ["Someone plays the guitar.", "A COLD FILM .", "why not and when ?", "b", "the WOMAN is slicing an onion"]
CROSS = {"pair_encoding": "cross_encoder"}


@pytest.fixture
def tokenizer(tiny_encoder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    tokenizer.model_max_length = 20
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # as after training
    return tokenizer


@pytest.fixture
def made(tokenizer):
    """Makes a function that makes a model with weights far from their first values."""

    def make(model_class, model_type="bert", **fields):
        encoder = ENCODERS[model_type].to_dict() | {"vocab_size": len(tokenizer)}
        torch.manual_seed(0)
        model = model_class(ExtraBertConfig(backbone_config=encoder, **fields)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return model

    return make


def fields_for(model_type):
    return {
        "pooling": STOCK_HEADS[model_type].pooling,
        "feed_forward_depth": STOCK_HEADS[model_type].feed_forward_depth,
    }


def scores_of(folder, rows):
    """The score of each class in the order of the ids, from the pipeline of transformers."""
    pipe = pipeline("text-classification", model=str(folder))
    ids = pipe.model.config.label2id
    found = np.empty((len(rows), len(ids)))
    for row, labelled in enumerate(pipe(rows, top_k=None, truncation=True)):
        for entry in labelled:
            found[row, ids[entry["label"]]] = entry["score"]
    return found


def softmax(logits):
    return torch.from_numpy(logits).softmax(dim=-1).numpy()


@pytest.mark.parametrize("model_type", STOCK_HEADS)
def test_a_stock_class_gives_the_probabilities_of_a_classifier_of_sentences(model_type, made, tokenizer, tmp_path):
    names = ["bad", "fair", "good"]
    model = made(ExtraBertForSentiment, model_type, class_names=names, **fields_for(model_type))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    export_stock_classifier(model, tokenizer, tmp_path)
    logits = predict_logits(model, tokenizer, FIRST)
    assert logits.std(axis=0).min() > 0.01  # the sentences differ
    np.testing.assert_allclose(scores_of(tmp_path, FIRST), softmax(logits), rtol=0, atol=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "fair", "2": "good"}
    assert config["label2id"] == {"bad": 0, "fair": 1, "good": 2}
    assert config["architectures"][0].endswith("ForSequenceClassification") and "auto_map" not in config
    assert config["model_type"] == model_type
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_the_log_says_that_prediction_sets_are_left_out(made, tokenizer, tmp_path, caplog):
    model = made(ExtraBertForSentiment, **fields_for("bert"))
    for conformal in (None, {"method": "lac"}):
        model.config.conformal = conformal
        export_stock_classifier(model, tokenizer, tmp_path)
        assert ("the stock class has no prediction sets" in caplog.text) == (conformal is not None)


@pytest.mark.parametrize("model_type", STOCK_HEADS)
def test_a_stock_class_gives_the_probabilities_of_a_cross_encoder(model_type, made, tokenizer, tmp_path):
    model = made(ExtraBertForParaphrase, model_type, **CROSS, **fields_for(model_type))
    export_stock_classifier(model, tokenizer, tmp_path)
    rows = [{"text": first, "text_pair": second} for first, second in zip(FIRST, SECOND, strict=True)]
    expected = softmax(predict_logits(model, tokenizer, FIRST, SECOND))
    np.testing.assert_allclose(scores_of(tmp_path, rows), expected, rtol=0, atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 39
    assert tokenizer.model_max_length == 20 and tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_a_tokenizer_that_joins_pairs_with_two_separators_is_replaced(made, tmp_path):
    words = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>", "a", "man", "is", "playing", "guitar", "why"]
    tokenizer = MPNetTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=20)
    assert tokenizer.convert_ids_to_tokens(tokenizer("a", "man")["input_ids"]).count("</s>") == 3
    model = made(ExtraBertForParaphrase, "mpnet", **CROSS, **fields_for("mpnet"))
    export_stock_classifier(model, tokenizer, tmp_path)
    exported = AutoTokenizer.from_pretrained(tmp_path)
    tokens = exported.convert_ids_to_tokens(exported("a", "man")["input_ids"])
    assert tokens == ["<s>", "a", "</s>", "man", "</s>"]
    assert exported.special_tokens_map == tokenizer.special_tokens_map
    saved = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"  # which transformers 4 knows, too
    assert tokenizer.convert_ids_to_tokens(tokenizer("a", "man")["input_ids"]).count("</s>") == 3
    rows = [{"text": first, "text_pair": second} for first, second in zip(FIRST, SECOND, strict=True)]
    expected = softmax(predict_logits(model, tokenizer, FIRST, SECOND))
    np.testing.assert_allclose(scores_of(tmp_path, rows), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bounds", ["none", "clamp", "scale"])
def test_a_stock_class_gives_the_score_of_a_cross_encoder(bounds, made, tokenizer, tmp_path):
    model = made(ExtraBertForSimilarity, pooling="pooler", similarity_bounds=bounds, **CROSS)
    with torch.no_grad():
        model.head.classifier.bias.fill_(5.2 if bounds != "scale" else 0.5)  # near an end of the range
    export_stock_classifier(model, tokenizer, tmp_path)
    rows = [{"text": first, "text_pair": second} for first, second in zip(FIRST, SECOND, strict=True)]
    expected = predict_logits(model, tokenizer, FIRST, SECOND)
    found = scores_of(tmp_path, rows)
    if bounds == "scale":
        found = 5 * found
    if bounds == "clamp":
        assert found.max() > 5  # README.md says so
        found = found.clip(0, 5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "similarity"}
    readme = (tmp_path / "README.md").read_text()
    assert ("ask it for raw_scores" in readme) == (bounds != "scale")
    assert ("this folder does not" in readme) == (bounds == "clamp")
    assert ("5.0 sigmoid(logit)" in readme) == (bounds == "scale")


@pytest.mark.parametrize("model_class", [ExtraBertForSentiment, ExtraBertForParaphrase])
def test_the_readme_has_an_example_that_runs_and_the_servers(
    model_class, made, tokenizer, tmp_path, monkeypatch, capsys, caplog
):
    pair = {} if model_class is ExtraBertForSentiment else CROSS
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        export_stock_classifier(made(model_class, **pair, **fields_for("bert")), tokenizer, tmp_path, source="me/x")
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("# me/x, as a BertForSequenceClassification\n")
    for served in servers_of_classes("bert", is_pair=bool(pair)):
        assert f"| {served.server} | {served.answer} | {served.why} |" in readme
        assert f"served by {served.server}: {served.answer}" in caplog.text
    (block,) = python_blocks(readme)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(block, "README.md", "exec"), {})
    assert_prints_its_comments(block, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("model_class", "model_type", "fields", "message"),
    [
        (
            ExtraBertForSentiment,
            "bert",
            {},
            "`format` 'transformers' needs the head of the stock class for bert (pooling 'pooler', feed_forward_depth "
            "0), got pooling 'multiplicative', feed_forward_depth 3: train with --pooling pooler "
            "--feed_forward_depth 0.",
        ),
        (
            ExtraBertForParaphrase,
            "roberta",
            {"pooling": "pooler", "feed_forward_depth": 0},
            "`format` 'transformers' needs the head of the stock class for roberta (pooling 'pooler', "
            "feed_forward_depth 0, pair_encoding 'cross_encoder'), got pooling 'pooler', feed_forward_depth 0, "
            "pair_encoding 'bi_encoder': train with --pooling pooler --feed_forward_depth 0 "
            "--pair_encoding cross_encoder.",
        ),
        (
            ExtraBertForSimilarity,
            "mpnet",
            {"pooling": "mean", **CROSS},
            "`format` 'transformers' needs the head of the stock class for mpnet (pooling 'pooler', "
            "feed_forward_depth 0, pair_encoding 'cross_encoder'), got pooling 'mean', feed_forward_depth 0, "
            "pair_encoding 'cross_encoder': train with --pooling pooler --pair_encoding cross_encoder.",
        ),
        (
            ExtraBertForSimilarity,
            "electra",
            {"pooling": "cls", **CROSS},
            "`format` 'transformers' needs the head of the stock class for electra (pooling 'cls', "
            "feed_forward_depth 1, pair_encoding 'cross_encoder'), got pooling 'cls', feed_forward_depth 0, "
            "pair_encoding 'cross_encoder': train on another encoder, such as BERT, because the similarity head has "
            "no such layer.",
        ),
        (
            ExtraBertForSentiment,
            "electra",
            {"pooling": "cls", "feed_forward_depth": 1, "feed_forward_residual": True},
            "`format` 'transformers' needs the head of the stock class for electra (pooling 'cls', "
            "feed_forward_depth 1, feed_forward_residual False), got pooling 'cls', feed_forward_depth 1, "
            "feed_forward_residual True: train with --pooling cls --feed_forward_depth 1 "
            "--feed_forward_residual false.",
        ),
        (
            ExtraBertForSentiment,
            "distilbert",
            {"pooling": "cls", "feed_forward_depth": 0},
            "`format` 'transformers' needs an encoder whose stock class has a head of this package, one of albert, "
            "bert, camembert, deberta, deberta-v2, electra, mpnet, roberta, xlm-roberta, got distilbert: "
            "--format onnx exports every head.",
        ),
        (
            ExtraBertForMultiTask,
            "bert",
            {},
            "`format` 'transformers' is for a model of one task, got one of several: add --task, one of 'sst', "
            "'para', 'sts'.",
        ),
    ],
)
def test_a_head_that_no_stock_class_has_is_refused(
    model_class, model_type, fields, message, made, tokenizer, tmp_path
):
    with pytest.raises(InputError) as raised:
        export_stock_classifier(made(model_class, model_type, **fields), tokenizer, tmp_path / "out")
    assert str(raised.value) == message
    assert not (tmp_path / "out").exists()


def test_other_logits_are_refused(made, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(stock_classifier_export, "_stock_tokenizer", lambda model, tokenizer: tokenizer)
    model = made(ExtraBertForParaphrase, **CROSS, **fields_for("bert"))
    with pytest.raises(InputError, match="must give the model's logits to 1e-05, it differs by"):
        export_stock_classifier(model, tokenizer, tmp_path)


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
@pytest.mark.parametrize(
    ("model_class", "task"),
    [(ExtraBertForSentiment, "sst"), (ExtraBertForParaphrase, "para"), (ExtraBertForSimilarity, "sts")],
)
def test_the_command_compares_the_folder_on_rows(model_class, task, made, tokenizer, tmp_path):
    pair = {} if model_class is ExtraBertForSentiment else CROSS
    model = made(model_class, **pair, **fields_for("bert"), similarity_bounds="clamp")
    model.save_pretrained(tmp_path)
    tokenizer.model_max_length = 24
    tokenizer.save_pretrained(tmp_path)
    table = run_export(str(tmp_path), ExportArguments(format="transformers", data="sample"))
    output = tmp_path / "export" / "transformers"
    assert f"| transformers | {task}" in " ".join(table.split())
    entries = json.loads((output / "parity.json").read_text())["variants"]
    assert [entry["variant"] for entry in entries] == ["PyTorch", "transformers"]
    assert entries[1]["logit_difference"]["max"] < 1e-4
    assert AutoModelForSequenceClassification.from_pretrained(output).config.name_or_path == str(output)
    assert str(tmp_path) not in (output / "config.json").read_text()
    assert Path(output, "README.md").is_file()
