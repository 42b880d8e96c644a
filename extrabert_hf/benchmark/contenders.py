"""
Who is measured: our trainer, and those of `sentence-transformers` and `transformers` as their users set them up.

Each contender gets the same encoder, rows, batch size and longest sentence, and trains one epoch without evaluating,
saving or logging; everything else is its own default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from extrabert_hf.benchmark.two_forwards import with_two_forwards
from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.model_names import resolve_model_name
from extrabert_hf.pretrained import build_model
from extrabert_hf.tasks import PAPER_TASKS, SENTENCE_COLUMNS, TaskSpec
from extrabert_hf.training.arguments import ExtraBertTrainingArguments
from extrabert_hf.training.trainer import ExtraBertTrainer

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
