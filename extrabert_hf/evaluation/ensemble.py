"""Rows of a data set scored by a model, or by several that answer as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import log_softmax, logsumexp
from transformers import PreTrainedTokenizerBase

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scoring import predict_logits
from extrabert_hf.evaluation.significance import score
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.pretrained import load_model, load_same_task
from extrabert_hf.tasks import TaskSpec

Member = tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]


def load_members(names: str, task: str | None = None) -> tuple[list[Member], TaskSpec]:
    """
    Loads one model, or several of the same task.

    Args:
        names (`str`):
            A folder or Hub id, or several with commas between; a folder that is there may have a comma.
        task (`str`, *optional*):
            Which task of multitask models.

    Raises:
        [`InputError`]: as [`load_model`], and if they have not the same head and labels.
    """
    split = [names] if Path(names).is_dir() else names.split(",")
    if not all(split):
        raise InputError(f"the model must be one name, or several with commas between, got {names!r}.")
    model, tokenizer, spec = load_model(split[0], task)
    return [(model, tokenizer), *(load_same_task(name, spec, "model") for name in split[1:])], spec


def predict_members(members: Sequence[Member], *sentences: Sequence[str], **options: Any) -> np.ndarray:
    """Gives the logits of [`predict_logits`], with its `options`; of several models, those of [`ensemble_logits`]."""
    logits = [predict_logits(model, tokenizer, *sentences, **options) for model, tokenizer in members]
    return logits[0] if len(logits) == 1 else ensemble_logits(logits)


def ensemble_logits(logits: Sequence[np.ndarray]) -> np.ndarray:
    """
    Averages the answers of several models to the same rows: their scores, or their probabilities of each class.

    Args:
        logits (`Sequence[np.ndarray]`):
            Of each model, shape `(N, C)`, `C` 1 for scores.

    Returns:
        `np.ndarray` of shape `(N, C)`: the mean scores, or the logarithms of the mean probabilities.

    Example:
        >>> ensemble_logits([np.array([[1.0], [4.0]]), np.array([[2.0], [5.0]])]).tolist()
        [[1.5], [4.5]]
        >>> sure, unsure = np.array([[0.0, 50.0]]), np.array([[0.0, 0.0]])
        >>> np.exp(ensemble_logits([sure, unsure])).round(2).tolist()
        [[0.25, 0.75]]
    """
    stacked = np.stack(logits).astype(np.float64)  # (M, N, C)
    if stacked.shape[-1] == 1:
        return stacked.mean(axis=0)
    return logsumexp(log_softmax(stacked, axis=-1), axis=0) - np.log(len(stacked))


def score_split(
    members: Sequence[Member],
    task: TaskSpec,
    split: Dataset,
    *,
    train_labels: np.ndarray | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """
    Predicts a canonical split and, where it is labelled, scores it.

    Args:
        members (`Sequence[tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]]`):
            A model and its tokenizer, or several, which answer as one.
        task ([`TaskSpec`]):
            What the split holds.
        split (`Dataset`):
            With `sentence1`, for pairs `sentence2`, and `label` where it is labelled.
        train_labels (`np.ndarray`, *optional*):
            Labels of the training rows, for the majority baseline.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        progress (`bool`, defaults to `True`):
            Whether to show a progress bar.

    Returns:
        `tuple[np.ndarray, dict | None]`: the `(N,)` class ids or scores, and the scores as [`score`] gives them.
    """
    columns = [split[name][:] for name in task.sentence_columns]
    logits = predict_members(members, *columns, batch_size=batch_size, progress=progress)
    predictions = predictions_from_logits(task, logits)
    if "label" not in split.column_names:
        return predictions, None
    return predictions, score(task, predictions, np.asarray(split["label"][:]), train_labels=train_labels)
