"""transformers' `TrainingArguments` with the defaults of this package and further fields."""

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import torch
from accelerate import PartialState
from transformers import TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.training.argument_checks import check_values

logger = logging.getLogger(__name__)


@dataclass
class ObjectiveArguments:
    """The loss, and the weight of each row in it."""

    label_balance: Literal["none", "weights", "sampling"] = field(
        default="none",
        metadata={
            "help": "Balance rare and frequent labels. 'weights': rows with rare labels have a larger weight in the "
            "loss. 'sampling': rows with rare labels are drawn more often; the rows are drawn once, before training, "
            "and some rows with frequent labels are left out."
        },
    )
    r_drop: float = field(
        default=0.0,
        metadata={"help": "Weight of the R-Drop loss: the difference of two forward passes with different dropout."},
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={
            "help": "Teacher models of the same task for distillation, as folders or Hub ids. The student learns the "
            "mean prediction of the teachers in addition to the labels."
        },
    )
    distillation: float = field(
        default=0.5,
        metadata={"help": "Share of the distillation loss in the loss, 0 to 1. The rest is the loss of the labels."},
    )
    distillation_temperature: float = field(
        default=1.0, metadata={"help": "Temperature by which the logits of student and teachers are divided."}
    )

    def check_objective(self) -> None:
        """Raises [`InputError`] for a value out of range."""
        if self.label_balance not in ("none", "weights", "sampling"):
            raise InputError(f"`label_balance` must be 'none', 'weights' or 'sampling', got {self.label_balance!r}.")
        names = ("distillation", "distillation_temperature")
        if not self.teachers and any(getattr(self, name) != getattr(ObjectiveArguments, name) for name in names):
            logger.warning("without `teachers`, `distillation` and `distillation_temperature` have no effect")

    @property
    def changes_loss(self) -> bool:
        """Whether the training loss differs from the loss of the model's head."""
        return self.label_balance == "weights" or self.r_drop > 0 or bool(self.teachers)


@dataclass
class ExtraBertTrainingArguments(ObjectiveArguments, HubArguments, TrainingArguments):
    """
    `TrainingArguments` with the defaults of this package and additional fields.

    The constructor only checks values. It does not set up the device or a process group, measure the hardware, or set
    an environment variable: [`prepare_process`] does this once, when training starts. (transformers reads the JSON
    files that `accelerator_config`, `fsdp_config` and `deepspeed` may name.) Until then `bf16` may be `None`. The
    device is set up when `device` or another property that depends on it is first read.
    """

    _argument_group_name: ClassVar[str] = "training"

    head_learning_rate: float | None = field(
        default=1e-3,
        metadata={
            "help": "Learning rate of heads and poolings, which start untrained. null in a YAML: --learning_rate."
        },
    )
    length_buckets: bool = field(
        default=True,
        metadata={
            "help": "Make batches of sentences of similar length: an epoch has the same rows with less padding."
        },
    )
    max_tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "Maximum number of tokens of a batch on each device, padding included, instead of a number of "
            "rows. Batches have rows of similar length. Each batch has the same weight, whatever its number of rows. "
            "With R-Drop a row's tokens count twice. For one task only."
        },
    )
    unpad: bool = field(
        default=True,
        metadata={
            "help": "Run the encoder on sequences without padding, if the encoder supports this: faster, with the "
            "same result. On a GPU, some encoders, float32, and training with dropout of attention weights are padded "
            "in any case."
        },
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this number of evaluations without a better score."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start a new run although the output folder holds checkpoints of an earlier run."},
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "bfloat16 autocast: true or false. The default is automatic: on a GPU if the hardware supports "
            "it, on the CPU if it is faster."
        },
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Checkpoint to resume from: 'last' (the last checkpoint in the output folder), or a folder."
        },
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True,
        metadata={"help": "When a run is resumed, restore the number of evaluations without a better score."},
    )
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Training rows per step on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Evaluation rows per step on each device."})
    learning_rate: float = field(default=2e-5, metadata={"help": "Peak learning rate of the encoder."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Number of warm-up steps. A value below 1 is the share of all steps."}
    )
    weight_decay: float = field(
        default=0.01, metadata={"help": "Weight decay of AdamW, not applied to biases and norms."}
    )
    logging_steps: float = field(default=50, metadata={"help": "Number of steps between two log lines."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate: 'epoch', 'steps' or 'no'."})
    save_strategy: str = field(
        default="epoch", metadata={"help": "When to save a checkpoint: 'epoch', 'steps' or 'no'."}
    )
    metric_for_best_model: str | None = field(
        default=None,
        metadata={
            "help": "The score that selects the best checkpoint. For one task: 'loss' or a metric of the task. For "
            "several tasks: 'mean', 'cs224n_2024', 'worst', 'loss', or a metric of one task, such as 'sts_pearson'."
        },
    )
    save_total_limit: int | None = field(
        default=2,
        metadata={"help": "Maximum number of checkpoints to keep; 2 keeps the best and the last checkpoint."},
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Load the best checkpoint after training instead of keeping the last weights."}
    )
    calibrate: bool = field(
        default=False,
        metadata={
            "help": "Calibrate the probabilities after training: fit a temperature on the dev rows and, for two "
            "classes, also a bias. Not for similarity scores."
        },
    )
    hub_strategy: str = field(
        default="end",
        metadata={"help": "When --push_to_hub uploads the model. The only value is 'end': once, after training."},
    )

    precision_reason: str | None = field(default=None, init=False, repr=False)
    """Why `bf16` has its value; set by [`prepare_process`]."""

    def __post_init__(self) -> None:
        self._check_hub()
        self.check_objective()
        if self.label_smoothing_factor and self.changes_loss:
            raise InputError("`label_smoothing_factor` can't be used with another loss (`r_drop`, `teachers`, ...).")
        check_values(self)
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise InputError("`early_stopping_patience` needs `load_best_model_at_end`, got false.")
        if not torch.accelerator.is_available():
            self.use_cpu = True  # otherwise transformers refuses bf16, and processes of a launcher form no group
        if self.fp16 and self.use_cpu:
            raise InputError("`fp16` needs an accelerator, but this run is on the CPU: use `bf16`, or neither.")
        # transformers' checks end with the set-up of the device, a cached property: a value in the cache stops it
        vars(self)["_setup_devices"] = torch.device("cpu")
        super().__post_init__()
        del vars(self)["_setup_devices"]

    @cached_property
    def distributed_state(self) -> PartialState:
        """The processes of the launcher; the first use sets up the device, which assigns this attribute."""
        _ = self.device
        return vars(self)["distributed_state"]

    @property
    def n_gpu(self) -> int:
        """The number of GPUs of this process, as in transformers; the first use sets up the device."""
        _ = self.device
        return super().n_gpu

    def _check_hub(self) -> None:
        if self.hub_strategy != "end":
            raise InputError(
                f"`hub_strategy` must be 'end', because a checkpoint has no scores yet, got {self.hub_strategy!r}."
            )
        if self.hub_revision is not None or self.hub_always_push:
            raise InputError(
                "`hub_revision` and `hub_always_push` can't be set: a run pushes once, to the branch 'main'."
            )
