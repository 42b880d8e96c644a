"""What a step of training minimises where it is more than the head's own loss."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


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
