"""transformers' `TrainingArguments` with the defaults of this package and further fields."""

import logging
import os
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from transformers import TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.machine import check_group, choose_bf16
from extrabert_hf.sharing.model_card import HubArguments
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


@dataclass
class ExtraBertTrainingArguments(ObjectiveArguments, HubArguments, TrainingArguments):
    """`TrainingArguments` with our defaults, and fields of our own."""

    _argument_group_name: ClassVar[str] = "training (transformers' TrainingArguments and ours)"

    head_learning_rate: float | None = field(
        default=1e-3,
        metadata={"help": "Learning rate of heads and poolings, which start untrained; none: the encoder's."},
    )
    length_buckets: bool = field(
        default=True, metadata={"help": "Batches of sentences of like length: less padding, the same rows an epoch."}
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "Batches of at most so many tokens on each device, padding counted, in place of so many rows; "
            "always of like length. Each batch counts the same, whatever its rows; with R-Drop a row's tokens count "
            "twice. One task only."
        },
    )
    unpad: bool = field(
        default=True, metadata={"help": "No padding in the encoder, where it can do without: faster, the same result."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better score."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Start anew though the output folder holds checkpoints of an earlier run."}
    )
    bf16: bool | None = field(
        default=None, metadata={"help": "bfloat16 autocast: true, false, or by default where it is faster."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "'last' for the output folder's last checkpoint, or a checkpoint folder."}
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "A resumed run counts evaluations without a better score on from before."}
    )
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Rows a step on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows a step in evaluation."})
    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate of the encoder."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Warm-up steps, or their share of all if below 1."})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's weight decay, not on biases and norms."})
    logging_steps: float = field(default=50, metadata={"help": "Steps from one log line to the next."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: 'epoch', 'steps' or 'no'."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint; as eval_strategy."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "The score by which the best checkpoint is picked: 'loss' or a metric of the task; of several "
            "tasks 'mean', 'cs224n_2024', 'worst', 'loss', or one task's, such as 'sts_pearson'."
        },
    )
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept: the best and the last."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "End with the best checkpoint, not the last."}
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "Scale the finished model's logits, of two classes shift them too, so that its probabilities "
            "mean what they say; fitted to the dev rows. Not for scores."
        },
    )
    hub_strategy: str = field(default="end", metadata={"help": "When --push_to_hub pushes: at the 'end', once."})

    def __post_init__(self) -> None:
        if self.hub_strategy != "end":
            raise InputError(
                f"`hub_strategy` must be 'end', a checkpoint has no scores yet, got {self.hub_strategy!r}."
            )
        if self.hub_revision is not None or self.hub_always_push:
            raise InputError("`hub_revision` and `hub_always_push` are not taken: one push, to the branch 'main'.")
        if self.hub_token is not None:
            os.environ["HF_TOKEN"] = self.hub_token  # where the client looks: arguments are written to files
            self.hub_token = None
        self.check_objective()
        if self.label_smoothing_factor and self.objective is not None:
            raise InputError("`label_smoothing_factor` can't be joined with another loss (`r_drop`, `teachers`, ...).")
        if not torch.accelerator.is_available():
            self.use_cpu = True  # else bf16 is refused, and of several processes each trains alone into one folder
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        if self.max_tokens_per_batch is not None and self.max_tokens_per_batch < 1:
            raise InputError(f"`max_tokens_per_batch` must be 1 or more, got {self.max_tokens_per_batch}.")
        if self.fp16 and self.use_cpu:
            raise InputError("`fp16` needs an accelerator, this run is on the CPU: use `bf16`, or neither.")
        self.precision_reason = "as told"
        if self.bf16 is None:
            self.bf16, self.precision_reason = (False, "as told") if self.fp16 else choose_bf16(self.use_cpu)
        super().__post_init__()
        check_group(self.world_size)
        if self.world_size > 1:
            choices: list[bool | None] = [None] * self.world_size
            torch.distributed.all_gather_object(choices, self.bf16)
            if len(set(choices)) > 1:
                raise InputError(
                    "The processes measured differently whether bfloat16 is faster: say --bf16 true or false."
                )
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise InputError("`early_stopping_patience` needs `load_best_model_at_end`, got false.")
