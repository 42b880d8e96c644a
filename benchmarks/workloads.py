"""The work of this package that is measured on one task, training and pair scoring, and what contenders share."""

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
from transformers import Trainer
from transformers.utils import ModelOutput
from transformers.utils import logging as transformers_logging

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.inference.int8 import quantize_encoder
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.models import ExtraBertForParaphrase, ExtraBertForSimilarity, ExtraBertPreTrainedModel
from extrabert_hf.models.encoder_inputs_extrabert import EncoderInputs
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.tasks import PAPER_TASKS, SENTENCE_COLUMNS, TaskSpec
from extrabert_hf.training.trainer import ExtraBertTrainer
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

MAX_LENGTH = 128
"""
Maximum number of tokens of a sentence, or of a pair for a cross-encoder: the default of this package and of
transformers' `run_glue.py`. An encoder with a smaller limit keeps that limit.
"""

Rows = Mapping[str, Dataset]
"""Rows by task, with the columns that [`load_split`] returns."""

Work = Trainer | Callable[[], Any]
"""The work that is timed: the training of a trainer, or one call of a function."""

Contender = Callable[[Rows], Work]
"""Sets up the work of one of the compared implementations on the given rows."""


@dataclass(frozen=True)
class Setting:
    """
    The settings that all contenders of a comparison share.

    Args:
        model_name_or_path (`str`):
            The encoder, as for [`resolve_model_name`].
        batch_size (`int`):
            Rows of a task in a training step.
        bf16 (`bool`):
            Whether this package runs under bfloat16 autocast. [`choose_bf16`] decides it once for all rounds.
        output_dir (`str`):
            Folder for the files that a trainer may write.
    """

    model_name_or_path: str
    batch_size: int
    bf16: bool
    output_dir: str

    @property
    def precision(self) -> str:
        """Name of the precision in which this package runs."""
        return "bfloat16 autocast" if self.bf16 else "float32"

    def training_fields(self) -> dict[str, Any]:
        """Returns the fields of `TrainingArguments` that are the same for all contenders."""
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


def single_task(rows: Rows) -> tuple[TaskSpec, Dataset]:
    """Returns the task and the dataset of `rows`, which must hold exactly one task."""
    ((name, dataset),) = rows.items()
    return PAPER_TASKS[name], dataset


# Training with this package


def our_trainer(setting: Setting, rows: Rows, *, two_forwards: bool = False, **fields: Any) -> ExtraBertTrainer:
    """
    Builds the trainer of this package as [`finetune`] does.

    Args:
        setting ([`Setting`]):
            The settings that all contenders share.
        rows (`Mapping[str, Dataset]`):
            The training rows of one task.
        two_forwards (`bool`, defaults to `False`):
            Whether the encoder runs once for the first sentences of the pairs and once for the second ones.
        fields:
            Fields of [`ExtraBertTrainingArguments`] that differ from this package's defaults.
    """
    task, dataset = single_task(rows)
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


class TwoForwards:
    """Mixin for models of pairs: encodes and pads the first and the second sentences separately."""

    def _pool(
        self, pooling: nn.Module | None, inputs: EncoderInputs, **requests: bool
    ) -> tuple[torch.Tensor, None, ModelOutput]:
        """`(2B, T)`, the two sentences of a pair next to each other -> vectors `(2B, d)` in the same order."""
        vectors = []
        for side in (0, 1):
            longest = inputs.attention_mask[side::2].sum(dim=1).max()
            sentences = inputs.map(lambda values, side=side, longest=longest: values[side::2, :longest])  # (B, T)
            vectors.append(super()._pool(pooling, sentences, **requests)[0])  # (B, d)
        return torch.stack(vectors, dim=1).flatten(0, 1), None, ModelOutput()


class TwoForwardsForParaphrase(TwoForwards, ExtraBertForParaphrase):
    """[`ExtraBertForParaphrase`] with one encoder forward for each side of the pairs."""


class TwoForwardsForSimilarity(TwoForwards, ExtraBertForSimilarity):
    """[`ExtraBertForSimilarity`] with one encoder forward for each side of the pairs."""


TWO_FORWARDS = {
    ExtraBertForParaphrase: TwoForwardsForParaphrase,
    ExtraBertForSimilarity: TwoForwardsForSimilarity,
}


def with_two_forwards(model: ExtraBertPreTrainedModel) -> ExtraBertPreTrainedModel:
    """Returns a copy of a model of pairs that encodes the two sides of the pairs in two forwards."""
    separate = TWO_FORWARDS[type(model)](model.config)
    separate.load_state_dict(model.state_dict())
    return separate


# Pair scoring


def our_scoring(
    setting: Setting,
    rows: Rows,
    *,
    batch_size: int = 64,
    unpad: bool = True,
    dtype: torch.dtype = torch.float32,
    int8: bool = False,
) -> Callable[[], Any]:
    """
    Prepares this package to score pairs as `recipes/predict.py` does, with an untrained similarity model.

    Args:
        setting ([`Setting`]):
            The settings that all contenders share.
        rows (`Mapping[str, Dataset]`):
            The pairs of one task.
        batch_size (`int`, defaults to 64):
            Sentences in a batch.
        unpad (`bool`, defaults to `True`):
            Whether sentences are encoded without padding.
        dtype (`torch.dtype`, defaults to `torch.float32`):
            Type of the weights. Autocast, which `setting.bf16` selects, is for weights in float32.
        int8 (`bool`, defaults to `False`):
            Whether the encoder has 8-bit weights, see [`quantize_encoder`]; on a CPU only.

    Returns:
        `Callable`: scores all pairs once and returns 5 times the cosine of the mean-pooled vectors, shape `(N,)`.
    """
    (pairs,) = rows.values()
    model, tokenizer = build_model(setting.model_name_or_path, PAPER_TASKS["sts"], pooling="mean")
    tokenizer.model_max_length = min(MAX_LENGTH, tokenizer.model_max_length)
    columns = [pairs[name][:] for name in SENTENCE_COLUMNS]
    model.unpad = unpad
    model.to(device_of_work(), dtype)
    if int8:
        quantize_encoder(model)
    return lambda: predict_logits(model, tokenizer, *columns, batch_size=batch_size, bf16=setting.bf16)[:, 0]


def device_of_work() -> torch.device:
    """Returns the accelerator, or the CPU of a machine without an accelerator."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hides progress bars and messages below errors of transformers, datasets and sentence-transformers."""
    verbosity = transformers_logging.get_verbosity()
    transformers_bars = transformers_logging.is_progress_bar_enabled()
    datasets_bars = not datasets.are_progress_bars_disabled()
    sentence_transformers = logging.getLogger("sentence_transformers")
    level = sentence_transformers.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    sentence_transformers.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'pin_memory' argument is set as true")  # the default of every trainer
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        sentence_transformers.setLevel(level)
        if transformers_bars:
            transformers_logging.enable_progress_bar()
        if datasets_bars:
            datasets.enable_progress_bars()
