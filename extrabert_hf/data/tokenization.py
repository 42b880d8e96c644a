"""Tokenizes the sentences of rows, up to the maximum length of the tokenizer and the encoder."""

import logging
import sys
from collections.abc import Sequence
from typing import TypeVar

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.tasks import SENTENCE_COLUMNS

D = TypeVar("D", Dataset, DatasetDict)

logger = logging.getLogger(__name__)

MANY_ROWS = 50_000
"""Number of rows from which on tokenization takes so long that it is logged."""
DEFAULT_MAX_LENGTH = 128
"""Maximum number of tokens of a sentence in training, unless the encoder has fewer positions."""


def tokenize_sentences(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]) -> list[list[int]]:
    """
    Tokenizes each sentence separately, with special tokens, truncated to `tokenizer.model_max_length` tokens.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The encoder's tokenizer.
        sentences (`Sequence[str]`):
            The sentences.

    Returns:
        `list[list[int]]`: the token ids of each sentence, one or more. A sentence in which the tokenizer finds no
        token, and to which it adds none, is one unknown token, or one of padding.
    """
    encoded = tokenizer(list(sentences), truncation=True, return_attention_mask=False, return_token_type_ids=False)
    nothing = [tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id]
    return [ids or nothing for ids in encoded["input_ids"]]


def tokenize_dataset(dataset: D, tokenizer: PreTrainedTokenizerBase) -> D:
    """
    Tokenizes a split, or each split of a `DatasetDict`, for the data collator.

    Args:
        dataset (`Dataset` or `DatasetDict`):
            Rows with the columns `sentence1`, `sentence2` of pairs, and `label` unless they are unlabelled, as
            [`load_task_data`] returns them.
        tokenizer (`PreTrainedTokenizerBase`):
            The encoder's tokenizer.

    Raises:
        [`InputError`]: for anything but such rows.

    Returns:
        `Dataset` or `DatasetDict`: `input_ids` (a list of ids, for pairs a list of two such lists), `labels`, and
        `length`, the number of tokens of the row's longest sentence.
    """
    if isinstance(dataset, DatasetDict):
        return DatasetDict({split: tokenize_dataset(rows, tokenizer) for split, rows in dataset.items()})
    if not isinstance(dataset, Dataset) or SENTENCE_COLUMNS[0] not in dataset.column_names:
        got = f"the columns {dataset.column_names}" if isinstance(dataset, Dataset) else f"a {type(dataset).__name__}"
        raise InputError(
            "`dataset` must be a `Dataset` with the column sentence1, as in `load_task_data(...).splits`, got " + got
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(f"`tokenizer` must be a tokenizer, got a {type(tokenizer).__name__}.")
    columns = [name for name in SENTENCE_COLUMNS if name in dataset.column_names]

    def tokenize(rows: dict[str, list]) -> dict[str, list]:
        sentences = [tokenize_sentences(tokenizer, rows[name]) for name in columns]
        features = {"length": [max(map(len, ids)) for ids in zip(*sentences, strict=True)]}
        features["input_ids"] = (
            [list(ids) for ids in zip(*sentences, strict=True)] if len(columns) > 1 else sentences[0]
        )
        if "label" in rows:
            features["labels"] = rows["label"]
        return features

    if len(dataset) > MANY_ROWS:
        logger.info("tokenizing %s rows, this takes some seconds", f"{len(dataset):,}")
    return dataset.map(tokenize, batched=True, remove_columns=dataset.column_names, desc="tokenizing")


def longest_sentence(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """
    Returns the maximum number of tokens of one sentence that both the tokenizer and the encoder accept.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The tokenizer. A `model_max_length` that leaves no room for a token of a sentence is ignored.
        model (`PreTrainedModel`):
            A model of this package. A cross-encoder can use half of the encoder's positions for each sentence.
    """
    positions = model.max_tokens or sys.maxsize
    if "cross_encoder" in model.config.pair_encodings:
        positions //= 2
    return min(_tokenizer_limit(tokenizer) or sys.maxsize, positions)


def limit_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, max_length: int | None) -> None:
    """Sets the maximum length, the padding side and the output names of the tokenizer, saved with the model."""
    if not isinstance(max_length, int | None):
        raise InputError(f"`max_length` must be a whole number of tokens, got {max_length!r}.")
    longest = longest_sentence(tokenizer, model)
    is_cross_encoder = "cross_encoder" in model.config.pair_encodings
    if is_cross_encoder and tokenizer("a")["input_ids"][0] not in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        raise InputError(
            "`pair_encoding` 'cross_encoder' needs a tokenizer that starts a sentence with a special token."
        )
    if max_length is not None and max_length > longest:
        limit = "a cross-encoder has for each sentence" if is_cross_encoder else "the tokenizer takes"
        raise InputError(f"`max_length` must be at most {longest}, what {limit}, got {max_length}.")
    shortest = tokenizer.num_special_tokens_to_add() + 1
    if max_length is None and _tokenizer_limit(tokenizer) is None:
        raise InputError(
            f"`model_max_length` of the tokenizer must be {shortest} or more, got {tokenizer.model_max_length!r}: "
            f"pass --max_length {min(DEFAULT_MAX_LENGTH, longest)}."
        )
    length = max_length or min(DEFAULT_MAX_LENGTH, longest)
    if length < shortest:
        raise InputError(f"`max_length` must be {shortest} or more for this tokenizer and encoder, got {length}.")
    tokenizer.model_max_length = length
    check_length(tokenizer, model)
    names = ["input_ids", "attention_mask"]  # the inputs of the model, so that `model(**tokenizer(...))` works
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # `init_kwargs` are saved
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"  # 'cls' pools the first token


@torch.no_grad()
def check_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """
    Raises [`InputError`] if an encoder with no known number of positions can't encode a sentence of maximum length.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The tokenizer. Its `model_max_length` is the maximum.
        model (`PreTrainedModel`):
            A model of this package.
    """
    if model.max_tokens is not None:
        return
    length = tokenizer.model_max_length * (2 if "cross_encoder" in model.config.pair_encodings else 1)
    token_ids = torch.tensor([[tokenize_sentences(tokenizer, ["a"])[0][-1]] * length], device=model.device)
    try:
        model.backbone(input_ids=token_ids, attention_mask=torch.ones_like(token_ids))
    except Exception as error:  # code of any of hundreds of models
        raise InputError(
            f"`max_length` must be a number of tokens that the {type(model.backbone).__name__} can encode, "
            f"got {length}: {one_line(error)}"
        ) from error


def _tokenizer_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Returns the `model_max_length` of a tokenizer; `None` if it leaves no room for a token of a sentence."""
    limit = tokenizer.model_max_length
    is_number = isinstance(limit, (int, float)) and limit > tokenizer.num_special_tokens_to_add()
    return int(min(limit, sys.maxsize)) if is_number else None
