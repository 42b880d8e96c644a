"""Exports a model whose head a stock class of transformers has too, as an ordinary `...ForSequenceClassification`."""

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.library_output import quiet_packages
from extrabert_hf.models import ExtraBertForOneTask, ExtraBertPreTrainedModel
from extrabert_hf.models.heads_extrabert import LinearSimilarityHead
from extrabert_hf.sharing.export_readme import ExportedModel
from extrabert_hf.sharing.parity import BATCH_SIZE, Columns, Outputs, Variant
from extrabert_hf.sharing.sentence_transformers_export import PROBES
from extrabert_hf.sharing.servers import log_servers, servers_of_classes

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest accepted difference of a logit, relative to the largest logit where that is above 1."""


@dataclass(frozen=True)
class StockHead:
    """
    The head of a `...ForSequenceClassification`, in terms of this package.

    Args:
        pooling (`str`):
            The pooling of the same model in this package.
        feed_forward_depth (`int`):
            Number of feed-forward layers of the same model, 0 or 1.
        layers (`Mapping[str, str]`):
            Name of each layer of the stock head -> name of the same layer in a model of this package.
    """

    pooling: str
    feed_forward_depth: int
    layers: Mapping[str, str]


_CLASSIFIER, _GELU_LAYER = "head.classifier", "head.feed_forward.layers.0"
_ON_POOLER = StockHead("pooler", 0, {"classifier": _CLASSIFIER})
_WITH_TANH = StockHead("pooler", 0, {"classifier.dense": "backbone.pooler.dense", "classifier.out_proj": _CLASSIFIER})
_WITH_GELU = StockHead("cls", 1, {"classifier.dense": _GELU_LAYER, "classifier.out_proj": _CLASSIFIER})
_ON_GELU_POOLER = StockHead("cls", 1, {"pooler.dense": _GELU_LAYER, "classifier": _CLASSIFIER})

STOCK_HEADS = {
    "albert": _ON_POOLER,
    "bert": _ON_POOLER,
    "camembert": _WITH_TANH,
    "deberta": _ON_GELU_POOLER,
    "deberta-v2": _ON_GELU_POOLER,
    "electra": _WITH_GELU,
    "mpnet": _WITH_TANH,
    "roberta": _WITH_TANH,
    "xlm-roberta": _WITH_TANH,
}
"""
The stock head of each type of encoder, after `modeling_*.py` of transformers 5. The heads of DistilBERT (a layer with
ReLU) and ModernBERT (a layer with a normalization) are none of this package.
"""


def export_stock_classifier(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    source: str | None = None,
) -> None:
    """
    Writes a folder that `AutoModelForSequenceClassification` loads, and checks its logits.

    A stock class classifies a sentence, or both sentences of a pair in one sequence, with the head in [`STOCK_HEADS`].
    The folder has the classes of the model. Its tokenizer joins the sentences of a pair as the model does, with one
    separator between them. A similarity model becomes a regression with one logit, the score; with
    `similarity_bounds="scale"` the sigmoid of the logit is the place of the score in the range of scores.

    Args:
        model ([`ExtraBertForOneTask`]):
            The model, exported in float32 and not changed.
        tokenizer (`PreTrainedTokenizerBase`):
            Tokenizer of the model.
        folder (`str` or `Path`):
            Folder to write to.
        source (`str`, *optional*):
            Name of the model for `README.md`; it should name no folder of this machine.

    Raises:
        [`InputError`]: if no stock class has the head of the model, or the logits of the folder differ.
    """
    stock_head = _stock_head(model)
    folder = Path(folder)
    model = copy.deepcopy(model).float().cpu().eval()
    bounds = "none"
    if isinstance(model.head, LinearSimilarityHead):
        bounds, model.head.bounds = model.head.bounds, "none"  # the logit before the score is limited or scaled
    stock = _stock_model(model, stock_head, bounds)
    folder.mkdir(parents=True, exist_ok=True)
    stock.save_pretrained(folder)
    _save_tokenizer(_stock_tokenizer(model, tokenizer), folder)
    _check_logits(model, tokenizer, folder)
    has_scores = stock.config.problem_type == "regression"
    servers = servers_of_classes(
        model.config.backbone_config.model_type, is_pair=model.head.is_cross_encoder, has_scores=has_scores
    )
    if model.config.conformal is not None:
        logger.warning(
            "the stock class has no prediction sets: the result of extrabert calibrate --coverage is left out"
        )
    ExportedModel(model, tokenizer, source).write_stock_readme(folder, servers, type(stock).__name__, bounds)
    log_servers(servers)


def stock_variant(name: str, folder: str | Path, model: ExtraBertForOneTask) -> Variant:
    """
    Makes the variant of an exported folder, which plain transformers predict.

    Args:
        name (`str`):
            Name of the variant.
        folder (`str` or `Path`):
            The folder.
        model ([`ExtraBertForOneTask`]):
            The model that was exported. Its head limits or scales the score of a pair.
    """
    stock, tokenizer = _load(folder)

    @torch.inference_mode()
    def predict(columns: Columns) -> Outputs:
        logits = []
        for start in range(0, len(columns[0]), BATCH_SIZE):
            batch = [list(column[start : start + BATCH_SIZE]) for column in columns]
            inputs = tokenizer(*batch, padding=True, truncation=True, return_tensors="pt")
            logits.append(_bounded(stock(**inputs).logits, model))
        return Outputs(torch.cat(logits).numpy())

    return Variant(name, predict, sum(weight.nbytes for weight in stock.state_dict().values()))


def _bounded(logits: torch.Tensor, model: ExtraBertForOneTask) -> torch.Tensor:
    """Logits `(rows, C)` of the stock model -> logits of the model; the scores of pairs are limited or scaled."""
    head = model.head
    if not isinstance(head, LinearSimilarityHead) or head.bounds == "none":
        return logits
    if head.bounds == "scale":
        return head.low + (head.high - head.low) * logits.sigmoid()
    return logits.clamp(head.low, head.high)


def _stock_head(model: ExtraBertPreTrainedModel) -> StockHead:
    """Returns the stock head that the model has; raises [`InputError`] if there is none."""
    config = model.config
    if not isinstance(model, ExtraBertForOneTask):
        tasks = ", ".join(map(repr, config.tasks))
        raise InputError(
            f"`format` 'transformers' is for a model of one task, got one of several: add --task, one of {tasks}."
        )
    model_type = config.backbone_config.model_type
    stock_head = STOCK_HEADS.get(model_type)
    if stock_head is None:
        raise InputError(
            f"`format` 'transformers' needs an encoder whose stock class has a head of this package, one of "
            f"{', '.join(STOCK_HEADS)}, got {model_type}: --format onnx exports every head."
        )
    pair = " --pair_encoding cross_encoder" if model.head.sentences_per_row == 2 else ""
    has_layers = model.head_kind != "similarity"
    depth = config.feed_forward_depth if has_layers else 0
    due = f"pooling {stock_head.pooling!r}, feed_forward_depth {stock_head.feed_forward_depth}"
    got = f"pooling {config.pooling!r}, feed_forward_depth {depth}"
    if pair:
        due, got = f"{due}, pair_encoding 'cross_encoder'", f"{got}, pair_encoding {config.pair_encoding!r}"
    adds_input = bool(stock_head.feed_forward_depth and depth and config.feed_forward_residual)
    if adds_input:
        due, got = f"{due}, feed_forward_residual False", f"{got}, feed_forward_residual True"
    if due == got:
        return stock_head
    advice = f"train with --pooling {stock_head.pooling}"
    if has_layers:
        advice += f" --feed_forward_depth {stock_head.feed_forward_depth}"
        if adds_input:
            advice += " --feed_forward_residual false"
    elif stock_head.feed_forward_depth:
        advice, pair = "train on another encoder, such as BERT, because the similarity head has no such layer", ""
    raise InputError(
        f"`format` 'transformers' needs the head of the stock class for {model_type} ({due}), got {got}: "
        f"{advice}{pair}."
    )


def _stock_model(model: ExtraBertForOneTask, stock_head: StockHead, bounds: str) -> PreTrainedModel:
    config = copy.deepcopy(model.config.backbone_config)
    config.name_or_path = ""  # the path of a local folder must not be published
    config.id2label, config.label2id = dict(model.config.id2label), dict(model.config.label2id)
    is_score = isinstance(model.head, LinearSimilarityHead)
    config.problem_type = "regression" if is_score else "single_label_classification"
    if bounds == "scale":
        config.problem_type = None  # with one label, pipelines and servers then use the sigmoid
    stock = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, trust_remote_code=False)
    if type(stock.base_model) is not type(model.backbone):
        raise InputError(
            f"`format` 'transformers' needs an encoder of transformers, a {type(stock.base_model).__name__}, "
            f"got a {type(model.backbone).__name__} of other code."
        )
    ours, prefix = model.state_dict(), stock.base_model_prefix
    names = {name: f"backbone.{name.removeprefix(f'{prefix}.')}" for name in stock.state_dict()}
    for layer, own in stock_head.layers.items():
        names |= {f"{layer}.{kind}": f"{own}.{kind}" for kind in ("weight", "bias")}
    stock.load_state_dict({name: ours[own] for name, own in names.items()})
    return stock.eval()


def _stock_tokenizer(model: ExtraBertForOneTask, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Returns a tokenizer that joins the sentences of a pair as the cross-encoder does."""
    if not model.head.is_cross_encoder:
        return tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"`format` 'transformers' needs a fast tokenizer for pairs, got a {type(tokenizer).__name__}."
        )
    special = tokenizer("")["input_ids"]
    if len(special) != 2:
        raise InputError(
            "`format` 'transformers' needs a tokenizer with one special token before and one after a sentence, for "
            f"pairs, got {tokenizer.convert_ids_to_tokens(special)}."
        )
    first, last = tokenizer.convert_ids_to_tokens(special)
    has_segments = getattr(model.backbone.config, "type_vocab_size", 0) > 1
    second = int(has_segments)
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = TemplateProcessing(
        single=[first, "$A", last],
        pair=[first, "$A", last, f"$B:{second}", f"{last}:{second}"],
        special_tokens=list(zip((first, last), special, strict=True)),
    )
    return PreTrainedTokenizerFast(  # the tokenizers of some encoders always join pairs in their own way
        tokenizer_object=backend,
        model_max_length=2 * tokenizer.model_max_length - 1,  # the second sentence has no first token
        model_input_names=["input_ids", "attention_mask"] + (["token_type_ids"] if has_segments else []),
        padding_side="right",
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map,
    )


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    if type(tokenizer) is PreTrainedTokenizerFast:  # saved as TokenizersBackend, which transformers 4 does not know
        path = folder / "tokenizer_config.json"
        fields = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
        path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def _load(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    with quiet_packages():
        stock = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        )
        return stock.eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


@torch.inference_mode()
def _check_logits(model: ExtraBertForOneTask, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    stock, stock_tokenizer = _load(folder)
    collate = DataCollatorForSentences(tokenizer.pad_token_id)
    difference, largest = 0.0, 1.0
    for probe in PROBES:
        sentences = probe if model.head.is_cross_encoder else probe[:1]
        inputs = stock_tokenizer(*sentences, return_tensors="pt")
        found = stock(**inputs).logits
        ids = tokenize_sentences(tokenizer, sentences)
        expected = model(**collate([{"input_ids": ids if len(ids) > 1 else ids[0]}])).logits
        difference = max(difference, float((found - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    if not difference <= TOLERANCE * largest:
        raise InputError(
            f"the export must give the model's logits to {TOLERANCE}, it differs by {difference:.2g}: this encoder or "
            "this tokenizer can't be exported with this version of transformers."
        )
    logger.info("the export gives the model's logits to %.1e", difference)
