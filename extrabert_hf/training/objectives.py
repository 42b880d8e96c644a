"""All that enters the loss of a training step: label balance, R-Drop, teachers."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from scipy.ndimage import gaussian_filter1d

from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.loading import load_same_task
from extrabert_hf.tasks import TaskSpec

if TYPE_CHECKING:
    from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments


@dataclass(frozen=True)
class Objective:
    r"""
    The loss of a batch, and what is added to it.

    Args:
        r_drop (`float`, defaults to 0.0):
            Weight of the disagreement between two passes with different dropout: for classes the mean of the two KL
            divergences (R-Drop, Wu et al. 2021, https://arxiv.org/abs/2106.14448, Equation 3), for a score the mean
            squared difference. The batch must then hold its rows twice, one after the other.
        distillation (`float`, defaults to 0.0):
            Share of the teacher's answers in the loss, 0 to 1, the labels' is the rest (Hinton et al. 2015,
            https://arxiv.org/abs/1503.02531).
        temperature (`float`, defaults to 1.0):
            What logits of classes are divided by before teacher and student are compared.
    """

    r_drop: float = 0.0
    distillation: float = 0.0
    temperature: float = 1.0

    def __call__(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor | None = None,
        teacher_logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Gives the loss, a mean over the rows.

        Args:
            logits (`torch.Tensor` of shape `(B, C)`, with `r_drop` `(2B, C)`):
                A logit a class, or `C = 1` score.
            labels (`torch.Tensor` of shape `(B,)`):
                Class ids, int64, or scores.
            weights (`torch.Tensor` of shape `(B,)`, *optional*):
                How much each row counts; their mean over the training rows is 1.
            teacher_logits (`torch.Tensor` of shape `(B, C)`, *optional*):
                Needed with `distillation`.

        Returns:
            `torch.Tensor` of shape `()`.
        """
        passes = logits.float().split(len(labels))  # (B, C) each
        loss = torch.stack([self._of_rows(its, labels, teacher_logits) for its in passes]).mean(dim=0)  # (B,)
        loss = loss.mean() if weights is None else (weights * loss).mean()
        return loss + self.r_drop * disagreement(*passes) if self.r_drop else loss

    def _of_rows(
        self, logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor:
        is_score = logits.shape[1] == 1
        if is_score:
            loss = (logits[:, 0] - labels.float()).square()
        else:
            loss = F.cross_entropy(logits, labels, reduction="none")
        if self.distillation:
            if is_score:
                of_teacher = (logits - teacher_logits).square()[:, 0]
            else:
                of_teacher = self.temperature**2 * divergence(teacher_logits, logits, self.temperature)
            loss = (1 - self.distillation) * loss + self.distillation * of_teacher
        return loss


def divergence(logits: torch.Tensor, others: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """`KL(softmax(logits / T) || softmax(others / T))` of each row, `(B, C)` and `(B, C)` -> `(B,)`."""
    log_p, log_q = ((its / temperature).log_softmax(dim=-1) for its in (logits, others))
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)


def disagreement(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Of two passes over the same rows, `(B, C)` each: a mean over the rows, `()`."""
    if first.shape[1] == 1:
        return (first - second).square().mean()
    return (divergence(first, second) + divergence(second, first)).mean() / 2


BINS = 50
"""Of a score's range."""
SIGMA = 2
"""Width of the kernel, in bins, that smooths the frequency of scores."""


def balanced_weights(task: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """
    Weighs each row by how rare its label is; the mean of all weights is 1.

    A class by its share of the rows. A score by the frequency of scores around it: label distribution smoothing, Yang
    et al. (2021), https://arxiv.org/abs/2102.09554, Section 3.1.

    Args:
        task ([`TaskSpec`]):
            Says whether labels are classes, or the range of the score.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores of the training rows.

    Returns:
        `np.ndarray` of shape `(N,)`, float32.
    """
    if task.is_regression:
        counts, edges = np.histogram(labels, bins=BINS, range=task.label_range)
        places = np.clip(np.digitize(labels, edges) - 1, 0, BINS - 1)
        frequency = gaussian_filter1d(counts.astype(np.float64), SIGMA, mode="reflect")[places]
    else:
        frequency = np.bincount(labels, minlength=len(task.class_names))[labels]
    weights = 1 / frequency
    return (weights / weights.mean()).astype(np.float32)


def balanced_rows(task: TaskSpec, labels: np.ndarray, seed: int) -> np.ndarray:
    """
    Draws as many rows as there are, those of rare labels more often, those of frequent ones less.

    Args:
        task ([`TaskSpec`]):
            As for [`balanced_weights`].
        labels (`np.ndarray` of shape `(N,)`):
            As for [`balanced_weights`].
        seed (`int`):
            Of the draw.

    Returns:
        `np.ndarray` of shape `(N,)`: row numbers, each as often as its weight says, rounded up or down by chance.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    ends = np.cumsum(balanced_weights(task, labels)[order].astype(np.float64))
    ends *= len(labels) / ends[-1]
    return np.sort(order[np.searchsorted(ends, np.arange(len(labels)) + generator.random()).clip(max=len(labels) - 1)])


logger = logging.getLogger(__name__)


def prepare_train_rows(
    rows: Dataset, tokenized: Dataset, task: TaskSpec, training: "ExtraBertTrainingArguments"
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
        logger.info("%s: predicting the training rows with %s", task.name, ", ".join(training.teachers))
        teachers = Predictor(
            tuple(load_same_task(name, task, "teachers") for name in training.teachers),
            batch_size=training.eval_batch_size,
            bf16=training.bf16,
            progress=not training.disable_tqdm,
        )
        tokenized = tokenized.add_column(teacher_name, teachers.predict(rows).logits.tolist())
    if training.label_balance == "weights":
        tokenized = tokenized.add_column(weights_name, balanced_weights(task, labels))
    if training.label_balance == "sampling":
        tokenized = tokenized.select(balanced_rows(task, labels, training.seed))
    return tokenized
