"""Who is measured at scoring pairs: our models as `predict.py` uses them, and `sentence-transformers`."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.models import ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertPreTrainedModel
from extrabert_hf.pretrained.loading import build_model
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.tasks import PAPER_TASKS, SENTENCE_COLUMNS, TaskSpec
from extrabert_hf.training.trainer import ExtraBertTrainer
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences transformers, datasets and sentence-transformers, all but errors, and puts back what was set."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    data_bars = not datasets.are_progress_bars_disabled()
    sentence_transformers = logging.getLogger("sentence_transformers")
    level = sentence_transformers.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    sentence_transformers.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'pin_memory' argument is set as true")  # every trainer's default
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        sentence_transformers.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
        if data_bars:
            datasets.enable_progress_bars()


class TwoForwards:
    """Replaces the way of a pair's sentences through encoder and pooling: each side padded to its own longest."""

    def _pool(
        self, pooling: nn.Module | None, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        """`(2B, T)`, a pair's sentences one after the other -> vectors `(2B, d)` in the same order."""
        vectors = []
        for side in (0, 1):
            ids, mask = input_ids[side::2], attention_mask[side::2]  # (B, T)
            longest = mask.sum(dim=1).max()
            vectors.append(super()._pool(pooling, ids[:, :longest], mask[:, :longest])[0])  # (B, d)
        return torch.stack(vectors, dim=1).flatten(0, 1), None


class TwoForwardsForParaphrase(TwoForwards, ExtraBertForParaphrase):
    """[`ExtraBertForParaphrase`] with two forwards."""


class TwoForwardsForSimilarity(TwoForwards, ExtraBertForSimilarity):
    """[`ExtraBertForSimilarity`] with two forwards."""


TWO_FORWARDS = {
    ExtraBertForParaphrase: TwoForwardsForParaphrase,
    ExtraBertForSimilarity: TwoForwardsForSimilarity,
}


def with_two_forwards(model: ExtraBertPreTrainedModel) -> ExtraBertPreTrainedModel:
    """Gives a model for pairs with the same weights, which encodes the two sentences one after the other."""
    plain = TWO_FORWARDS[type(model)](model.config)
    plain.load_state_dict(model.state_dict())
    return plain


MAX_LENGTH = 128
"""
Most tokens of a sentence, of a pair for the cross-encoder: our default, and that of transformers' `run_glue.py`.
An encoder that takes fewer gets fewer.
"""

Rows = Mapping[str, Dataset]
"""Rows by task, in canonical columns."""


@dataclass(frozen=True)
class Setting:
    """
    What the contenders share.

    Args:
        model_name_or_path (`str`):
            The encoder, as for [`resolve_model_name`].
        batch_size (`int`):
            Rows a step.
        bf16 (`bool`):
            Whether ours trains under bfloat16 autocast, decided once for all rounds as [`choose_bf16`] does for a run.
        output_dir (`str`):
            A folder for what a trainer might leave.
    """

    model_name_or_path: str
    batch_size: int
    bf16: bool
    output_dir: str

    def training_fields(self) -> dict[str, Any]:
        """The fields of `TrainingArguments` that are not left to the contender."""
        return {
            "output_dir": self.output_dir,
            "per_device_train_batch_size": self.batch_size,
            "num_train_epochs": 1,
            "eval_strategy": "no",
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }


def only_task(rows: Rows) -> tuple[TaskSpec, Dataset]:
    """Gives the task and the rows of a comparison on one task."""
    ((name, dataset),) = rows.items()
    return PAPER_TASKS[name], dataset


def our_trainer(setting: Setting, rows: Rows, *, two_forwards: bool = False, **fields: Any) -> ExtraBertTrainer:
    """
    Sets up our trainer as [`finetune`] does.

    Args:
        setting ([`Setting`]):
            What the contenders share.
        rows (`Mapping[str, Dataset]`):
            The rows of the epoch, of one task.
        two_forwards (`bool`, defaults to `False`):
            Whether each sentence of a pair goes through the encoder in a forward of its own.
        fields:
            Of [`ExtraBertTrainingArguments`], where they differ from our defaults.
    """
    task, dataset = only_task(rows)
    model, tokenizer = build_model(
        setting.model_name_or_path, task, pooling="multiplicative", feed_forward_residual=True
    )
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    fields = {"bf16": setting.bf16, **fields}
    return ExtraBertTrainer(
        model=with_two_forwards(model) if two_forwards else model,
        args=ExtraBertTrainingArguments(load_best_model_at_end=False, **setting.training_fields(), **fields),
        train_dataset=tokenize_dataset(dataset, tokenizer),
        data_collator=DataCollatorForSentences(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )


def sentence_transformers_trainer(setting: Setting, rows: Rows) -> Trainer:
    """
    Sets up a `SentenceTransformerTrainer` with `CosineSimilarityLoss`, scores scaled to 0 to 1.

    The pattern of its guide to training on STS-B. It tokenises in its collator, so while it trains.
    """
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerModelCardData,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    task, dataset = only_task(rows)
    low, high = task.label_range
    card = SentenceTransformerModelCardData(local_files_only=True)
    card.widget = [{}]  # else it draws examples from the rows behind a progress bar, for a card that is not written
    model = SentenceTransformer(resolve_model_name(setting.model_name_or_path), model_card_data=card)
    model.max_seq_length = min(MAX_LENGTH, model.max_seq_length)
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**setting.training_fields()),
        train_dataset=dataset.select_columns([*SENTENCE_COLUMNS, "label"]).map(
            lambda row: {"label": (row["label"] - low) / (high - low)}
        ),
        loss=CosineSimilarityLoss(model),
    )


def transformers_trainer(setting: Setting, rows: Rows) -> Trainer:
    """
    Sets up a `Trainer` on `AutoModelForSequenceClassification`, a pair as one sequence (a cross-encoder).

    The pattern of transformers' `run_glue.py`: rows tokenised beforehand, batches padded by `DataCollatorWithPadding`
    (faster than the script's own default, which pads each row to 128 tokens).
    """
    task, dataset = only_task(rows)
    path = resolve_model_name(setting.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    columns = task.sentence_columns

    def tokenize(batch: dict[str, list]) -> dict[str, list]:
        return tokenizer(*(batch[name] for name in columns), truncation=True, max_length=max_length)

    return Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(path, num_labels=len(task.class_names)),
        args=TrainingArguments(**setting.training_fields()),
        train_dataset=dataset.map(tokenize, batched=True, remove_columns=[*columns, "id"]),
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )


def our_scoring(setting: Setting, rows: Rows) -> Callable[[], Any]:
    """
    Sets up the scores of pairs by the cosine of their means, which is what the peer gives, times 5.

    Args:
        setting ([`Setting`]):
            What the contenders share.
        rows (`Mapping[str, Dataset]`):
            The pairs, of one task.

    Returns:
        `Callable`: scores all pairs once.
    """
    (pairs,) = rows.values()
    model, tokenizer = build_model(setting.model_name_or_path, PAPER_TASKS["sts"], pooling="mean")
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    columns = [pairs[name][:] for name in SENTENCE_COLUMNS]
    return lambda: predict_logits(model, tokenizer, *columns, bf16=setting.bf16)[:, 0]


def sentence_transformers_scoring(setting: Setting, rows: Rows) -> Callable[[], Any]:
    """As [`our_scoring`], by `encode` of each column, in its own batches of 32, and the cosine of each pair."""
    from sentence_transformers import SentenceTransformer, util

    (pairs,) = rows.values()
    model = SentenceTransformer(resolve_model_name(setting.model_name_or_path))
    model.max_seq_length = min(MAX_LENGTH, model.max_seq_length)
    first, second = (pairs[name][:] for name in SENTENCE_COLUMNS)

    def score() -> Any:
        vectors = (model.encode(column, convert_to_tensor=True, show_progress_bar=False) for column in (first, second))
        return util.pairwise_cos_sim(*vectors).cpu()

    return score
