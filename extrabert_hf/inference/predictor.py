"""Models and what they predict for any number of sentences or pairs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.special import log_softmax, logsumexp, softmax
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scores import SplitScores, score
from extrabert_hf.models import ExtraBertForOneTask, ExtraBertPreTrainedModel
from extrabert_hf.pretrained.loading import TrainedModel, load_model, load_same_task
from extrabert_hf.tasks import TaskSpec


@dataclass(frozen=True, eq=False)
class Predictions:
    """
    What a predictor returns for N rows.

    Args:
        task ([`TaskSpec`]):
            The task; says whether predictions are classes or scores.
        ids (`Sequence[str]`):
            The rows' ids.
        sentences (`Sequence[tuple[str, ...]]`):
            One sentence a row, or two for a task of pairs.
        logits (`np.ndarray` of shape `(N, C)`):
            A logit a class, or `C = 1` score.
        labels (`np.ndarray` of shape `(N,)`, *optional*):
            Class ids or scores; `None` for unlabelled rows.
    """

    task: TaskSpec
    ids: Sequence[str]
    sentences: Sequence[tuple[str, ...]]
    logits: np.ndarray
    labels: np.ndarray | None = None

    @cached_property
    def values(self) -> np.ndarray:
        """Predicted class ids (int64) or scores (float64), of shape `(N,)`."""
        return predictions_from_logits(self.task, self.logits)

    @cached_property
    def names(self) -> list[str] | None:
        """Name of each row's predicted class; `None` for scores."""
        return None if self.task.is_regression else [self.task.class_names[index] for index in self.values]

    @cached_property
    def probabilities(self) -> np.ndarray | None:
        """Probability of each class, of shape `(N, C)`, each row sums to 1; `None` for scores."""
        return None if self.task.is_regression else softmax(self.logits.astype(np.float64), axis=-1)

    @cached_property
    def confidences(self) -> np.ndarray | None:
        """Probability of the predicted class, of shape `(N,)`; `None` for scores."""
        return None if self.probabilities is None else self.probabilities.max(axis=-1)

    def score(self, train_labels: np.ndarray | None = None) -> SplitScores:
        """Scores labelled rows; `train_labels` of shape `(M,)` give the majority baseline."""
        return score(self.task, self.values, self.labels, train_labels=train_labels)


@dataclass(frozen=True, eq=False)
class Predictor:
    """
    Predicts with one model, or with the mean prediction of several models of the same task (an ensemble).

    Args:
        members (`tuple[TrainedModel, ...]`):
            One or more, with the same head and labels.
        batch_size (`int`, defaults to 64):
            Sentences encoded together, 1 or more.
        bf16 (`bool`, defaults to `False`):
            Whether the encoder runs under bfloat16 autocast; otherwise it runs in the precision of the weights.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.
    """

    members: tuple[TrainedModel, ...]
    batch_size: int = 64
    bf16: bool = False
    progress: bool = False


@torch.inference_mode()
def predict_logits(
    model: ExtraBertPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences1: Sequence[str],
    sentences2: Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    bf16: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """
    Scores sentences or pairs.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            Put into evaluation mode for the call.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        sentences1 (`Sequence[str]`):
            `N` sentences, or the first ones of `N` pairs. The embeddings of all distinct sentences are held in memory:
            give a large file in parts.
        sentences2 (`Sequence[str]`, *optional*):
            The second ones of `N` pairs.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        bf16 (`bool`, defaults to `False`):
            Whether the encoder runs under bfloat16 autocast; else in the weights' own precision.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `np.ndarray` of shape `(N, num_labels)`, float32: the rows' logits in their order.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more, got {batch_size}.")
    columns = [list(column) for column in (sentences1, sentences2) if column is not None]
    position = {s: index for index, s in enumerate(dict.fromkeys(s for column in columns for s in column))}
    if not position:
        return np.empty((0, model.config.num_labels), dtype=np.float32)
    token_ids = tokenize_sentences(tokenizer, position)
    rows = [tuple(position[s] for s in row) for row in zip(*columns, strict=True)]
    # what has a vector: a sentence, or a pair that is encoded jointly
    encoded = (
        list(dict.fromkeys(rows)) if model.head.is_cross_encoder else [(index,) for index in range(len(token_ids))]
    )
    lengths = [sum(len(token_ids[index]) for index in its) for its in encoded]
    by_length = sorted(range(len(encoded)), key=lengths.__getitem__, reverse=True)
    pad = DataCollatorForSentences(tokenizer.pad_token_id).pad
    embeddings: torch.Tensor | None = None  # (encoded, d), made when the first batch tells d and the type
    starts = range(0, len(by_length), batch_size)
    with in_evaluation_mode(model):
        for start in tqdm(starts, desc="encoding", unit="batch", disable=not progress, leave=False):
            chosen = by_length[start : start + batch_size]
            batch = pad([token_ids[i] for index in chosen for i in encoded[index]])
            shape = (len(chosen), 2, -1) if model.head.is_cross_encoder else (len(chosen), -1)
            batch = {name: tensor.view(shape).to(model.device) for name, tensor in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                vectors, _ = model.embed(**batch)
            if embeddings is None:
                embeddings = vectors.new_empty(len(by_length), vectors.shape[-1], dtype=model.dtype)
            embeddings[chosen] = vectors.to(model.dtype)
        if model.head.is_cross_encoder:
            place = {pair: index for index, pair in enumerate(encoded)}
            rows = [(place[row],) for row in rows]
        parts = torch.tensor(rows).split(8192)  # (N, 1) or (N, 2) in all
        logits = torch.cat([model.head(embeddings[part].squeeze(1)) for part in parts])
    return logits.float().cpu().numpy()


@contextmanager
def in_evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Turns dropout off for a while."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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
) -> tuple[np.ndarray, SplitScores | None]:
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
        `tuple[np.ndarray, SplitScores | None]`: the `(N,)` class ids or scores, and their scores.
    """
    columns = [split[name][:] for name in task.sentence_columns]
    logits = predict_members(members, *columns, batch_size=batch_size, progress=progress)
    predictions = predictions_from_logits(task, logits)
    if "label" not in split.column_names:
        return predictions, None
    return predictions, score(task, predictions, np.asarray(split["label"][:]), train_labels=train_labels)
