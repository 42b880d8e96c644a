"""A model's answers to labelled rows, with the rows' texts and what the model looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from datasets import Dataset
from scipy.special import softmax
from transformers import PreTrainedTokenizerBase

from extrabert_hf.evaluation.metrics import predictions_from_logits
from extrabert_hf.inference.explanation import Explanation, explain
from extrabert_hf.inference.predictor import predict_logits
from extrabert_hf.models import ExtraBertForOneTask
from extrabert_hf.tasks import TaskSpec

EXPLAINED = 40
"""Worst answers whose words are coloured."""


@dataclass(frozen=True, eq=False)
class Answers:
    """
    What a model answered to N labelled rows.

    Args:
        task ([`TaskSpec`]):
            The task.
        ids (`Sequence[str]`):
            Of the rows.
        sentences (`Sequence[tuple[str, ...]]`):
            One or two a row.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
        logits (`np.ndarray` of shape `(N, C)`):
            The head's.
        explanations (`dict[int, Explanation]`):
            Of the worst answers, by the number of the row.
    """

    task: TaskSpec
    ids: Sequence[str]
    sentences: Sequence[tuple[str, ...]]
    labels: np.ndarray
    logits: np.ndarray
    explanations: dict[int, Explanation]

    @cached_property
    def predictions(self) -> np.ndarray:
        """Class ids or scores, `(N,)`."""
        return predictions_from_logits(self.task, self.logits)

    @cached_property
    def confidences(self) -> np.ndarray | None:
        """Probability of the class that was answered, `(N,)`; `None` for scores."""
        return None if self.task.is_regression else softmax(self.logits.astype(np.float64), axis=-1).max(axis=-1)

    @cached_property
    def errors(self) -> np.ndarray:
        """How bad each answer is, `(N,)`: distance of a score; of a wrong class its probability, of a right one 0."""
        if self.confidences is None:
            return np.abs(self.predictions - self.labels)
        return np.where(self.predictions == self.labels, 0.0, self.confidences)

    @cached_property
    def worst(self) -> list[int]:
        """Numbers of the rows with an error, the worst first."""
        return worst_rows(self.errors)

    @property
    def has_weights(self) -> bool:
        """Whether its words have weights to colour them by: those that the encoder's own pooler answers have none."""
        return any(explanation.weights is not None for explanation in self.explanations.values())

    @cached_property
    def words(self) -> np.ndarray:
        """Words of each row's longest sentence, `(N,)`."""
        return np.array([max(len(sentence.split()) for sentence in row) for row in self.sentences])


def worst_rows(errors: np.ndarray) -> list[int]:
    """Gives the numbers of the rows whose error, of `(N,)`, is above 0, the largest first."""
    return [int(row) for row in np.argsort(-errors, kind="stable") if errors[row] > 0]


def answer_rows(
    model: ExtraBertForOneTask,
    tokenizer: PreTrainedTokenizerBase,
    task: TaskSpec,
    rows: Dataset,
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> Answers:
    """
    Lets a model answer labelled rows, and explains its worst answers.

    Args:
        model ([`ExtraBertForOneTask`]):
            In evaluation mode.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's.
        task ([`TaskSpec`]):
            What the rows hold.
        rows (`Dataset`):
            With `sentence1`, for pairs `sentence2`, `label` and `id`.
        batch_size (`int`, defaults to 64):
            Sentences encoded together.
        progress (`bool`, defaults to `True`):
            Whether to show a progress bar.
    """
    was_training = model.training
    model.eval()
    columns = [rows[name][:] for name in task.sentence_columns]
    logits = predict_logits(model, tokenizer, *columns, batch_size=batch_size, progress=progress)
    sentences = list(zip(*columns, strict=True))
    answers = Answers(task, rows["id"][:], sentences, np.asarray(rows["label"][:]), logits, {})
    for row in answers.worst[:EXPLAINED]:
        answers.explanations[row] = explain(model, tokenizer, task, sentences[row])
    model.train(was_training)
    return answers
