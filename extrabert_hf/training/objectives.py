"""The loss of a training step: label balance, R-Drop, distillation."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from scipy.ndimage import gaussian_filter1d

from extrabert_hf.data.collators import EXTRA_COLUMNS
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.loading import load_same_task
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments, ObjectiveArguments

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Objective:
    r"""
    The training loss of a batch: the loss of the labels, with distillation and R-Drop.

    Args:
        r_drop (`float`, defaults to 0.0):
            Weight of the R-Drop loss, the disagreement between two forward passes with different dropout: for classes
            the mean of the two KL divergences (Wu et al. 2021, https://arxiv.org/abs/2106.14448, Equation 3), for a
            score the mean squared difference. With R-Drop the logits must be those of the batch, followed by the
            logits of a second forward pass over the same batch.
        distillation (`float`, defaults to 0.0):
            Share of the distillation loss, 0 to 1 (Hinton et al. 2015, https://arxiv.org/abs/1503.02531). The loss of
            the labels has the remaining share.
        temperature (`float`, defaults to 1.0):
            Temperature by which the logits of classes are divided before student and teacher are compared.
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
        Computes the loss, a mean over the rows.

        Args:
            logits (`torch.Tensor` of shape `(B, C)`, with `r_drop` `(2B, C)`):
                A logit for each of `C` classes, or a score (`C = 1`).
            labels (`torch.Tensor` of shape `(B,)`):
                Class ids (int64) or scores.
            weights (`torch.Tensor` of shape `(B,)`, *optional*):
                Weight of each row in the loss; the mean weight of all training rows is 1.
            teacher_logits (`torch.Tensor` of shape `(B, C)`, *optional*):
                Mean logits of the teachers; required by `distillation`.

        Returns:
            `torch.Tensor` of shape `()`.
        """
        passes = logits.float().split(len(labels))  # (B, C) each
        loss = torch.stack([self._row_losses(logits, labels, teacher_logits) for logits in passes]).mean(dim=0)  # (B,)
        loss = loss.mean() if weights is None else (weights * loss).mean()
        return loss + self.r_drop * disagreement(*passes) if self.r_drop else loss

    def _row_losses(
        self, logits: torch.Tensor, labels: torch.Tensor, teacher_logits: torch.Tensor | None
    ) -> torch.Tensor:
        is_score = logits.shape[1] == 1
        if is_score:
            loss = (logits[:, 0] - labels.float()).square()
        else:
            loss = F.cross_entropy(logits, labels, reduction="none")
        if self.distillation:
            if is_score:
                distance = (logits - teacher_logits).square()[:, 0]
            else:
                distance = self.temperature**2 * divergence(teacher_logits, logits, self.temperature)
            loss = (1 - self.distillation) * loss + self.distillation * distance
        return loss


def objective_from(args: ObjectiveArguments) -> Objective | None:
    """Makes the [`Objective`] that the arguments ask for; `None` if the head's own loss is the training loss."""
    if not args.changes_loss:
        return None
    return Objective(args.r_drop, args.distillation if args.teachers else 0.0, args.distillation_temperature)


def divergence(logits: torch.Tensor, others: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Returns `KL(softmax(logits / T) || softmax(others / T))` of each row, `(B, C)` and `(B, C)` -> `(B,)`."""
    log_p, log_q = ((values / temperature).log_softmax(dim=-1) for values in (logits, others))
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)


def disagreement(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Returns the mean disagreement of two forward passes over the same rows, `(B, C)` each -> `()`."""
    if first.shape[1] == 1:
        return (first - second).square().mean()
    return (divergence(first, second) + divergence(second, first)).mean() / 2


BINS = 50
"""Number of bins over the range of the scores."""
SIGMA = 2
"""Standard deviation, in bins, of the Gaussian kernel that smooths the frequency of scores."""


def balanced_weights(task: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """
    Computes a weight for each row, inversely proportional to the frequency of its label; the mean weight is 1.

    The frequency of a class is its number of rows. The frequency of a score is a smoothed histogram of all scores:
    label distribution smoothing, Yang et al. (2021), https://arxiv.org/abs/2102.09554, Section 3.1.

    Args:
        task ([`TaskSpec`]):
            The task, with its classes or its range of scores.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores of the training rows.

    Returns:
        `np.ndarray` of shape `(N,)`, float32.
    """
    if task.is_regression:
        counts, edges = np.histogram(labels, bins=BINS, range=task.label_range)
        bins = np.clip(np.digitize(labels, edges) - 1, 0, BINS - 1)
        frequency = gaussian_filter1d(counts.astype(np.float64), SIGMA, mode="reflect")[bins]
    else:
        frequency = np.bincount(labels, minlength=len(task.class_names))[labels]
    weights = 1 / frequency
    return (weights / weights.mean()).astype(np.float32)


def balanced_rows(task: TaskSpec, labels: np.ndarray, seed: int) -> np.ndarray:
    """
    Draws `N` of `N` rows with replacement, in proportion to the weights of [`balanced_weights`].

    Args:
        task ([`TaskSpec`]):
            The task, with its classes or its range of scores.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores of the training rows.
        seed (`int`):
            Seed of the draw.

    Returns:
        `np.ndarray` of shape `(N,)`: row numbers. The count of a row is its weight, rounded up or down at random
        (systematic sampling).
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    ends = np.cumsum(balanced_weights(task, labels)[order].astype(np.float64))
    ends *= len(labels) / ends[-1]
    return np.sort(order[np.searchsorted(ends, np.arange(len(labels)) + generator.random()).clip(max=len(labels) - 1)])


def prepare_train_rows(
    rows: Dataset, tokenized: Dataset, task: TaskSpec, training: ExtraBertTrainingArguments
) -> Dataset:
    """
    Adds the columns to tokenised training rows that the training loss needs.

    Args:
        rows (`Dataset`):
            The training rows with their sentences.
        tokenized (`Dataset`):
            The same rows after [`tokenize_dataset`].
        task ([`TaskSpec`]):
            The task of the rows.
        training ([`ExtraBertTrainingArguments`]):
            The arguments of the run.

    Returns:
        `Dataset`: the tokenised rows with `weights` for balanced weights and `teacher_logits` for distillation. With
        balanced sampling, the result has only the rows that were drawn.

    Raises:
        [`InputError`]: if a teacher cannot be loaded, or has another head or other labels.
    """
    weights_name, teacher_name = EXTRA_COLUMNS
    labels = np.asarray(rows["label"][:])
    if training.teachers:
        tokenized = tokenized.add_column(teacher_name, teacher_logits(rows, task, training).tolist())
    if training.label_balance == "weights":
        tokenized = tokenized.add_column(weights_name, balanced_weights(task, labels))
    if training.label_balance == "sampling":
        tokenized = tokenized.select(balanced_rows(task, labels, training.seed))
    return tokenized


def teacher_logits(rows: Dataset, task: TaskSpec, training: ExtraBertTrainingArguments) -> np.ndarray:
    """Returns the mean logits of the teachers for each row, `(N, C)`."""
    teachers = Predictor(
        tuple(load_same_task(name, task, "teachers") for name in training.teachers),
        batch_size=training.eval_batch_size,
        bf16=training.bf16,
        progress=not training.disable_tqdm,
    )
    logger.info("%s: predicting the training rows with the teachers %s", task.name, ", ".join(training.teachers))
    return teachers.predict(rows).logits
