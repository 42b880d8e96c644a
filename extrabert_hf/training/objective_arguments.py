"""What a run can be told to minimise beside the head's own loss; each field's `help` is its one description."""

import logging
from dataclasses import dataclass, field
from typing import Literal

from extrabert_hf.errors import InputError
from extrabert_hf.training.objectives import Objective

logger = logging.getLogger(__name__)


@dataclass
class ObjectiveArguments:
    """The loss, and which rows count how much in it."""

    label_balance: Literal["none", "weights", "sampling"] = field(
        default="none",
        metadata={
            "help": "Rows of rare labels count more, by 'weights' in the loss, or come more often, by 'sampling': "
            "drawn once, some of the frequent ones are left out."
        },
    )
    r_drop: float = field(
        default=0.0, metadata={"help": "Weight of the disagreement of two passes with different dropout (R-Drop)."}
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Models of the same task, folders or Hub ids, whose mean answer is learnt beside the labels."
        },
    )
    distillation: float = field(
        default=0.5, metadata={"help": "Share of the teachers' answers in the loss, the labels' is the rest, 0 to 1."}
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "What logits are divided by before student and teachers are compared."}
    )

    def check_objective(self) -> None:
        """Raises [`InputError`] for a value that has no meaning."""
        if self.label_balance not in ("none", "weights", "sampling"):
            raise InputError(f"`label_balance` must be 'none', 'weights' or 'sampling', got {self.label_balance!r}.")
        if self.r_drop < 0:
            raise InputError(f"`r_drop` must be 0 or more, got {self.r_drop}.")
        if not 0 <= self.distillation <= 1:
            raise InputError(f"`distillation` must be from 0 to 1, got {self.distillation}.")
        if self.distillation_temperature <= 0:
            raise InputError(f"`distillation_temperature` must be above 0, got {self.distillation_temperature}.")
        names = ("distillation", "distillation_temperature")
        if not self.teachers and any(getattr(self, name) != getattr(ObjectiveArguments, name) for name in names):
            logger.warning("without `teachers` nothing is done with `distillation` and `distillation_temperature`")

    @property
    def objective(self) -> Objective | None:
        """The loss; `None` where it is the head's own alone."""
        if self.label_balance != "weights" and not self.r_drop and not self.teachers:
            return None
        share = self.distillation if self.teachers else 0.0
        return Objective(self.r_drop, share, self.distillation_temperature)
