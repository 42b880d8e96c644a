"""
Weights the losses of several tasks, from the values of the losses alone: an alternative to gradient surgery.

A weighting has a learned number for each task and an Adam of its own. At each optimizer step it returns a coefficient
for each task; the update of the encoder is `coefficients @ gradients`. This module uses tensors only, neither a model
nor a `Trainer`. All numbers are float64 on the CPU, so JSON holds the state of a weighting exactly.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from extrabert_hf.errors import InputError

EPSILON = 1e-8
"""Added to a loss before its logarithm or its inverse is taken, as in the official implementation of FAMO."""


class LossWeighting:
    """
    Base class: a learned number for each task, which starts at 0, and the Adam that learns it.

    Adam is that of Kingma and Ba (2015), https://arxiv.org/abs/1412.6980, Algorithm 1, with their values of `beta_1`,
    `beta_2` and `epsilon`.

    Args:
        tasks (`Sequence[str]`):
            Names of the `T` tasks, in the order of the losses.
        learning_rate (`float`, defaults to 0.025):
            Learning rate of this Adam, above 0. The default is that of the official implementation of FAMO.
    """

    weight_decay: ClassVar[float] = 0.0
    """L2 penalty of the numbers."""
    needs_losses_after: ClassVar[bool] = False
    """Whether `update` needs the losses of the same rows after the optimizer step."""

    def __init__(self, tasks: Sequence[str], learning_rate: float = 0.025) -> None:
        self.tasks, self.learning_rate = list(tasks), learning_rate
        self.numbers, self.first_moment, self.second_moment = torch.zeros(3, len(self.tasks), dtype=torch.float64)
        self.steps = 0
        self.last_weights: dict[str, float] = {}

    def coefficients(self, losses: torch.Tensor) -> torch.Tensor:
        """
        Returns the coefficients of an optimizer step, and keeps them by task in `last_weights`.

        After an overflow they are 1 and not kept, because the step will be skipped.

        Args:
            losses (`torch.Tensor` of shape `(T,)`):
                Losses of the tasks, 0 or more, before the step.

        Returns:
            `torch.Tensor` of shape `(T,)`, float64 on the CPU, all above 0.
        """
        losses = losses.detach().to("cpu", torch.float64)
        if not losses.isfinite().all():
            return torch.ones_like(losses)
        coefficients = self._coefficients(losses)
        self.last_weights = dict(zip(self.tasks, coefficients.tolist(), strict=True))
        return coefficients

    def update(self, before: torch.Tensor, after: torch.Tensor | None = None) -> None:
        """
        Takes a step of Adam; without effect if a loss is infinite or not a number.

        Args:
            before (`torch.Tensor` of shape `(T,)`):
                The losses that [`coefficients`] got.
            after (`torch.Tensor` of shape `(T,)`, *optional*):
                Losses of the same rows after the optimizer step, for a weighting that needs them.
        """
        given = [each.detach().to("cpu", torch.float64) for each in (before, after) if each is not None]
        gradient = self._gradient(*given) + self.weight_decay * self.numbers
        if not gradient.isfinite().all():
            return
        self.steps += 1
        self.first_moment = 0.9 * self.first_moment + 0.1 * gradient
        self.second_moment = 0.999 * self.second_moment + 0.001 * gradient.square()
        direction = self.first_moment / (1 - 0.9**self.steps)
        scale = (self.second_moment / (1 - 0.999**self.steps)).sqrt() + 1e-8
        self.numbers = self.numbers - self.learning_rate * direction / scale

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as values of JSON."""
        return {
            "tasks": self.tasks,
            "steps": self.steps,
            **{name: getattr(self, name).tolist() for name in ("numbers", "first_moment", "second_moment")},
            "last_weights": self.last_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Takes over the result of [`state_dict`].

        Raises:
            [`InputError`]: if it is not the state of a weighting of these tasks in this order.
        """
        try:
            tasks, steps, weights = state["tasks"], int(state["steps"]), dict(state["last_weights"])
            names = ("numbers", "first_moment", "second_moment")
            values = torch.tensor([state[name] for name in names], dtype=torch.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the state of a loss weighting is damaged: {error}") from error
        if tasks != self.tasks or values.shape != (3, len(self.tasks)):
            raise InputError(f"the state of a loss weighting must be of the tasks {self.tasks}, got {tasks}.")
        self.steps, self.last_weights = steps, weights
        self.numbers, self.first_moment, self.second_moment = values

    def _coefficients(self, losses: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _gradient(self, *losses: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class UncertaintyWeighting(LossWeighting):
    r"""
    Uncertainty weighting: the total is `sum_i exp(-s_i) / 2 L_i + s_i / 2`, with a learned log variance `s_i`.

    Kendall et al. (2018), https://arxiv.org/abs/1705.07115, Section 3.2, Equation 7 with `s_i = log sigma_i^2`. It is
    used for scores and for classes. Equation 10, for classes, has `1 / sigma^2` without the half; at the minimum over
    `s_i` the coefficient is `1 / (2 L_i)` in both. A loss below 1e-8 counts as 1e-8, so that `s_i` is bounded.

    Example:
        >>> weighting = UncertaintyWeighting(["sst", "sts"])
        >>> weighting.coefficients(torch.tensor([1.6, 0.4])).tolist()
        [0.5, 0.5]
        >>> weighting.update(torch.tensor([1.6, 0.4]))
        >>> weighting.numbers.tolist()  # of a loss above 1 the log variance grows, and its weight falls
        [0.02499..., -0.02499...]
    """

    def _coefficients(self, losses: torch.Tensor) -> torch.Tensor:
        return (-self.numbers).exp() / 2

    def _gradient(self, before: torch.Tensor, after: torch.Tensor | None = None) -> torch.Tensor:
        return (1 - (-self.numbers).exp() * before.clamp_min(EPSILON)) / 2  # of the total with respect to s


class FamoWeighting(LossWeighting):
    r"""
    FAMO lets all losses fall at about the same rate: a task whose loss falls more slowly gets a larger weight.

    Liu et al. (2023), https://arxiv.org/abs/2306.03792, Appendix C, Algorithm 2: the update is
    `c sum_i z_i grad log(L_i)` with `z = softmax(w)` and `c = 1 / sum_i (z_i / L_i)`. The coefficients of the
    gradients are `c z_i / L_i`, with the sum 1. After the step, `w` takes a step on
    `J^T (log L(before) - log L(after))`, with the Jacobian `J` of the softmax and a weight decay of 1e-3. The losses
    after the step are those of the same rows.

    Example:
        >>> weighting = FamoWeighting(["sst", "sts"])
        >>> weighting.coefficients(torch.tensor([1.6, 0.4])).tolist()
        [0.2000..., 0.7999...]
        >>> weighting.update(torch.tensor([1.6, 0.4]), torch.tensor([1.5, 0.3]))
        >>> weighting.numbers.tolist()  # the loss of sts has fallen by the larger factor
        [0.02499..., -0.02499...]
    """

    weight_decay = 1e-3
    needs_losses_after = True

    def _coefficients(self, losses: torch.Tensor) -> torch.Tensor:
        weights = self.numbers.softmax(dim=0) / (losses + EPSILON)
        return weights / weights.sum()

    def _gradient(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        z = self.numbers.softmax(dim=0)
        fall = (before + EPSILON).log() - (after + EPSILON).log()
        return z * (fall - z @ fall)  # J^T fall


LOSS_WEIGHTINGS: dict[str, type[LossWeighting]] = {"uncertainty": UncertaintyWeighting, "famo": FamoWeighting}
"""The weightings of losses by name."""
