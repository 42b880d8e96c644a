"""What the training rows carry for the loss: how much each counts, and what its teachers answer."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from extrabert_hf.data.balance import balanced_rows, balanced_weights
from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.evaluation.ensemble import predict_members
from extrabert_hf.pretrained import load_same_task
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)


def prepare_train_rows(
    rows: Dataset, tokenized: Dataset, task: TaskSpec, training: ExtraBertTrainingArguments
) -> Dataset:
    """
    Adds to tokenised training rows what [`ObjectiveArguments`] ask for.

    Args:
        rows (`Dataset`):
            The same rows before, with their sentences.
        tokenized (`Dataset`):
            What [`tokenize_dataset`] made of them.
        task ([`TaskSpec`]):
            Theirs.
        training ([`ExtraBertTrainingArguments`]):
            The run's.

    Returns:
        `Dataset`: with `weights` or `teacher_logits` where they are asked for; with balanced sampling other rows.

    Raises:
        [`InputError`]: for a teacher that can't be loaded, or has another head or other labels.
    """
    weights_name, teacher_name = EXTRA_COLUMNS
    labels = np.asarray(rows["label"][:])
    if training.teachers:
        options = {"batch_size": training.eval_batch_size, "bf16": training.bf16}
        answers = answers_of(training.teachers, rows, task, progress=not training.disable_tqdm, **options)
        tokenized = tokenized.add_column(teacher_name, answers.tolist())
    if training.label_balance == "weights":
        tokenized = tokenized.add_column(weights_name, balanced_weights(task, labels))
    if training.label_balance == "sampling":
        tokenized = tokenized.select(balanced_rows(task, labels, training.seed))
    return tokenized


def answers_of(teachers: Sequence[str], rows: Dataset, task: TaskSpec, **options: Any) -> np.ndarray:
    """Gives the teachers' mean answer to each row, as [`predict_members`] does with `options`, `(N, C)`."""
    members = [load_same_task(name, task, "teachers") for name in teachers]
    logger.info("%s: what %s answer to the training rows", task.name, ", ".join(teachers))
    return predict_members(members, *(rows[name][:] for name in task.sentence_columns), **options)
