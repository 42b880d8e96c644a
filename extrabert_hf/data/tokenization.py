"""Canonical rows -> token ids."""

from collections.abc import Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from extrabert_hf.tasks import SENTENCE_COLUMNS

DEFAULT_MAX_LENGTH = 128
"""Tokens of a sentence in training, unless the encoder takes fewer."""


def tokenize_sentences(tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str]) -> list[list[int]]:
    """
    Tokenises sentences, each for itself, special tokens included, cut after `tokenizer.model_max_length` tokens.

    Returns:
        `list[list[int]]`: the token ids of each sentence.
    """
    return tokenizer(list(sentences), truncation=True, return_attention_mask=False, return_token_type_ids=False)[
        "input_ids"
    ]


def tokenize_dataset(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """
    Turns a canonical split into what the collator takes.

    Args:
        dataset (`Dataset`):
            A split with `sentence1`, for pairs `sentence2`, and `label` where it is labelled.
        tokenizer (`PreTrainedTokenizerBase`):
            The encoder's.

    Returns:
        `Dataset`: `input_ids` (a list of ids, for pairs a list of two such lists), `labels`, and `length`, the tokens
        of the row's longest sentence.
    """
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

    return dataset.map(tokenize, batched=True, remove_columns=dataset.column_names, desc="tokenising")
