"""Tokenizes the sentences of rows."""

from collections.abc import Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from extrabert_hf.tasks import SENTENCE_COLUMNS

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
        `list[list[int]]`: the token ids of each sentence.
    """
    return tokenizer(list(sentences), truncation=True, return_attention_mask=False, return_token_type_ids=False)[
        "input_ids"
    ]


def tokenize_dataset(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """
    Tokenizes a split for the data collator.

    Args:
        dataset (`Dataset`):
            A split with the columns `sentence1`, `sentence2` of pairs, and `label` unless it is unlabelled.
        tokenizer (`PreTrainedTokenizerBase`):
            The encoder's tokenizer.

    Returns:
        `Dataset`: `input_ids` (a list of ids, for pairs a list of two such lists), `labels`, and `length`, the
        number of tokens of the row's longest sentence.
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

    return dataset.map(tokenize, batched=True, remove_columns=dataset.column_names, desc="tokenizing")
