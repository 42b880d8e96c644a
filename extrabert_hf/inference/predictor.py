"""Predicts any number of sentences or pairs with one model or with an ensemble."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from scipy.special import log_softmax, logsumexp, softmax
from transformers import PreTrainedTokenizerBase

from extrabert_hf.data.collators import DataCollatorForSentences
from extrabert_hf.data.in_memory import check_sentences, rows_to_predict
from extrabert_hf.data.tokenization import tokenize_sentences
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.evaluation.scores import SplitScores, score
from extrabert_hf.inference.int8 import quantize_encoder
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.pretrained.loading import TrainedModel, load_model, load_same_task
from extrabert_hf.pretrained.names import model_names
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.terminal import with_progress

PAIRS_PER_HEAD_CALL = 8192
"""Number of rows that the head scores at a time; it limits the memory of the pair features."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """
    The predictions for N rows.

    Args:
        task ([`TaskSpec`]):
            The task; it determines whether the predictions are classes or scores.
        ids (`Sequence[str]`):
            Ids of the rows.
        sentences (`Sequence[tuple[str, ...]]`):
            One sentence per row, or two for a task of pairs.
        logits (`np.ndarray` of shape `(N, C)`):
            One logit for each of `C` classes, or one score (`C = 1`).
        labels (`np.ndarray` of shape `(N,)`, *optional*):
            Class ids or scores; `None` for unlabelled rows.
        lines (`Sequence[int]`, *optional*):
            The rows' lines in their file; by default 1 to N.
    """

    task: TaskSpec
    ids: Sequence[str]
    sentences: Sequence[tuple[str, ...]]
    logits: np.ndarray
    labels: np.ndarray | None = None
    lines: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not len(self.lines):
            object.__setattr__(self, "lines", range(1, len(self.ids) + 1))

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

    @cached_property
    def errors(self) -> np.ndarray:
        """
        Size of each row's error, of shape `(N,)`, for labelled rows.

        For scores it is the absolute error. For classes it is 0 for a correct prediction, and otherwise the
        probability of the prediction.
        """
        if self.confidences is None:
            return np.abs(self.values - self.labels)
        return np.where(self.values == self.labels, 0.0, self.confidences)

    @cached_property
    def worst(self) -> list[int]:
        """Indices of the rows with an error, the largest error first."""
        return worst_rows(self.errors)

    @cached_property
    def words(self) -> np.ndarray:
        """Number of words of each row's longest sentence, of shape `(N,)`."""
        return np.array([max(len(sentence.split()) for sentence in row) for row in self.sentences])

    def score(self, train_labels: np.ndarray | None = None) -> SplitScores:
        """
        Scores the predictions of labelled rows, see [`score`].

        Args:
            train_labels (`np.ndarray` of shape `(M,)`, *optional*):
                Labels of the training rows, for the majority baseline.
        """
        return score(self.task, self.values, self.labels, train_labels=train_labels)


def worst_rows(errors: np.ndarray) -> list[int]:
    """Returns the indices of `errors`, of shape `(N,)`, that are above 0, the largest error first."""
    return [int(row) for row in np.argsort(-errors, kind="stable") if errors[row] > 0]


@dataclass(frozen=True, eq=False)
class Predictor:
    """
    Predicts with one model, or with several models of the same task (an ensemble).

    An ensemble predicts the mean score of its models, or the mean probability of each class.

    Args:
        members (`tuple[TrainedModel, ...]`):
            One or more models with the same head and labels. The predictor has the task of the first model.
        batch_size (`int`, defaults to 64):
            Number of sentences in a batch, 1 or more.
        bf16 (`bool`, defaults to `False`):
            Whether the encoder runs under bfloat16 autocast; otherwise it runs in the precision of the weights.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.
    """

    members: tuple[TrainedModel, ...]
    batch_size: int = 64
    bf16: bool = False
    progress: bool = False

    @classmethod
    def load(
        cls,
        names: str | Path | Sequence[str | Path],
        task: str | None = None,
        *,
        batch_size: int = 64,
        bf16: bool = False,
        int8: bool = False,
        progress: bool = False,
    ) -> "Predictor":
        """
        Loads one model, or several models of the same task.

        Args:
            names (`str`, `Path`, or a list of these):
                A folder or Hub id, or several: in a list, or separated by commas. The name of an existing folder may
                contain a comma.
            task (`str`, *optional*):
                The task to predict, for multitask models.
            batch_size (`int`, defaults to 64):
                Number of sentences in a batch, 1 or more.
            bf16 (`bool`, defaults to `False`):
                Whether the encoder runs under bfloat16 autocast.
            int8 (`bool`, defaults to `False`):
                Whether the encoder computes in 8 bits, see [`quantize_encoder`]; on a CPU only.
            progress (`bool`, defaults to `False`):
                Whether to show a progress bar.

        Raises:
            [`InputError`]: as [`load_model`] and [`quantize_encoder`], and if the models differ in head or labels.
        """
        first_name, *other_names = model_names(names)
        first = load_model(first_name, task)
        members = (first, *(load_same_task(name, first.task, "model") for name in other_names))
        if int8:
            for member in members:
                quantize_encoder(member.model)
        return cls(members, batch_size=batch_size, bf16=bf16, progress=progress)

    @property
    def task(self) -> TaskSpec:
        """The task that is predicted."""
        return self.members[0].task

    def logits(self, sentences1: Sequence[str], sentences2: Sequence[str] | None = None) -> np.ndarray:
        """
        Predicts sentences or pairs.

        Args:
            sentences1 (`Sequence[str]`):
                `N` sentences, or the first sentences of `N` pairs.
            sentences2 (`Sequence[str]`, *optional*):
                The second sentences of `N` pairs.

        Returns:
            `np.ndarray` of shape `(N, C)`: see [`predict_logits`] or, for several models, [`ensemble_logits`].
        """
        check_sentences(self.task, sentences1, sentences2)
        by_member = [
            predict_logits(
                member.model,
                member.tokenizer,
                sentences1,
                sentences2,
                batch_size=self.batch_size,
                bf16=self.bf16,
                progress=self.progress,
            )
            for member in self.members
        ]
        return by_member[0] if len(by_member) == 1 else ensemble_logits(by_member)

    def predict(self, rows: Dataset | Sequence[str] | Sequence[tuple[str, str]]) -> Predictions:
        """
        Predicts rows.

        Args:
            rows (`Dataset`, or a list of `str` or of `tuple[str, str]`):
                A data set with `sentence1`, for pairs `sentence2`, and optional `label`, `id` and `line`; or a list
                of sentences or of pairs. A row without an id gets its index as id.

        Raises:
            [`InputError`]: for other rows.

        Example:
            >>> predictor = Predictor.load("runs/sst")  # doctest: +SKIP
            >>> predictor.predict(["A warm, funny film."]).names  # doctest: +SKIP
            ['positive']
        """
        rows = rows_to_predict(rows, self.task)
        columns = [rows[name][:] for name in self.task.sentence_columns]
        return Predictions(
            task=self.task,
            ids=rows["id"][:] if "id" in rows.column_names else [str(index) for index in range(len(rows))],
            sentences=list(zip(*columns, strict=True)),
            logits=self.logits(*columns),
            labels=np.asarray(rows["label"][:]) if "label" in rows.column_names else None,
            lines=rows["line"][:] if "line" in rows.column_names else (),
        )


@torch.inference_mode()
def predict_logits(
    model: ExtraBertForOneTask,
    tokenizer: PreTrainedTokenizerBase,
    sentences1: Sequence[str],
    sentences2: Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    bf16: bool = False,
    progress: bool = False,
) -> np.ndarray:
    """
    Computes the logits of one model for sentences or pairs; duplicates are encoded once.

    Args:
        model ([`ExtraBertForOneTask`]):
            The model. It runs in evaluation mode; its mode is restored afterwards.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer.
        sentences1 (`Sequence[str]`):
            `N` sentences, or the first sentences of `N` pairs. Memory holds the vectors of all distinct sentences:
            split a large file into parts.
        sentences2 (`Sequence[str]`, *optional*):
            The second sentences of `N` pairs.
        batch_size (`int`, defaults to 64):
            Number of sentences in a batch, 1 or more.
        bf16 (`bool`, defaults to `False`):
            Whether the encoder runs under bfloat16 autocast.
        progress (`bool`, defaults to `False`):
            Whether to show a progress bar.

    Returns:
        `np.ndarray` of shape `(N, C)`, float32: the logits in the order of the rows.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be 1 or more, got {batch_size}.")
    columns = [list(column) for column in (sentences1, sentences2) if column is not None]
    index_of = {s: index for index, s in enumerate(dict.fromkeys(s for column in columns for s in column))}
    if not index_of:
        return np.empty((0, model.config.num_labels), dtype=np.float32)
    token_ids = tokenize_sentences(tokenizer, index_of)
    rows = [tuple(index_of[s] for s in row) for row in zip(*columns, strict=True)]
    is_cross_encoder = model.head.is_cross_encoder
    # an input of the encoder is a sentence index or, for a cross-encoder, two; each input becomes one vector
    inputs = list(dict.fromkeys(rows)) if is_cross_encoder else [(index,) for index in range(len(token_ids))]
    lengths = [sum(len(token_ids[index]) for index in encoded) for encoded in inputs]
    by_length = sorted(range(len(inputs)), key=lengths.__getitem__, reverse=True)
    pad = DataCollatorForSentences(tokenizer.pad_token_id).pad
    embeddings: torch.Tensor | None = None  # (inputs, d), allocated after the first batch, which determines d
    starts = range(0, len(by_length), batch_size)
    with in_evaluation_mode(model):
        for start in with_progress(starts, desc="encoding", units="batches", disable=not progress):
            chosen = by_length[start : start + batch_size]
            batch = pad([token_ids[index] for position in chosen for index in inputs[position]])
            shape = (len(chosen), 2, -1) if is_cross_encoder else (len(chosen), -1)
            batch = {name: tensor.view(shape).to(model.device) for name, tensor in batch.items()}
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                vectors = model.vectors_for_head(**batch)
            if embeddings is None:
                embeddings = vectors.new_empty(len(by_length), vectors.shape[-1], dtype=model.dtype)
            embeddings[chosen] = vectors.to(model.dtype)
        if is_cross_encoder:
            position_of = {pair: position for position, pair in enumerate(inputs)}
            rows = [(position_of[row],) for row in rows]
        parts = torch.tensor(rows).split(PAIRS_PER_HEAD_CALL)  # (N, 1) or (N, 2) in all
        logits = torch.cat([model.head(embeddings[part].squeeze(1)) for part in parts])
    return logits.float().cpu().numpy()


@contextmanager
def in_evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Puts a model into evaluation mode (no dropout) inside a `with` block, and restores its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def ensemble_logits(logits: Sequence[np.ndarray]) -> np.ndarray:
    """
    Averages the predictions of several models for the same rows: scores, or the probabilities of each class.

    Args:
        logits (`Sequence[np.ndarray]`):
            Logits of each model, of shape `(N, C)`; `C = 1` for scores.

    Returns:
        `np.ndarray` of shape `(N, C)`: the mean scores, or the logarithms of the mean probabilities.

    Example:
        >>> ensemble_logits([np.array([[1.0], [4.0]]), np.array([[2.0], [5.0]])]).tolist()
        [[1.5], [4.5]]
        >>> confident, uncertain = np.array([[0.0, 50.0]]), np.array([[0.0, 0.0]])
        >>> np.exp(ensemble_logits([confident, uncertain])).round(2).tolist()
        [[0.25, 0.75]]
    """
    stacked = np.stack(logits).astype(np.float64)  # (M, N, C)
    if stacked.shape[-1] == 1:
        return stacked.mean(axis=0)
    return logsumexp(log_softmax(stacked, axis=-1), axis=0) - np.log(len(stacked))
