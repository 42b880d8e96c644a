"""How a run can be told to model and train; each field's `help` is its one description."""

import dataclasses
import os
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from transformers import TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.models.configuration_extrabert import ExtraBertConfig, PairEncoding, PoolingName
from extrabert_hf.processes import check_group
from extrabert_hf.sharing.hub_arguments import HubArguments
from extrabert_hf.training.objective_arguments import ObjectiveArguments
from extrabert_hf.training.precision import choose_bf16


@dataclass
class ModelArguments:
    """Which model; the fields after the first two are those of `ExtraBertConfig`."""

    _argument_group_name: ClassVar[str] = "model"

    model_name_or_path: str = field(
        default="google-bert/bert-base-uncased",
        metadata={
            "help": "Encoder: Hub id, folder, or 'minilm' (from PyPI, no network). A folder with a model of "
            "this task trained before goes on from it."
        },
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "'sdpa' (the default where it is there), 'eager', 'flash_attention_2', ..."}
    )
    pair_encoding: PairEncoding = field(
        default=ExtraBertConfig.pair_encoding,
        metadata={
            "help": "A vector for each sentence of a pair, or jointly one for both, which read each other: often more "
            "accurate, but nothing is encoded once for many pairs."
        },
    )
    pooling: PoolingName = field(
        default=ExtraBertConfig.pooling, metadata={"help": "How token states become one sentence vector."}
    )
    multiplicative_weight: bool = field(
        default=ExtraBertConfig.multiplicative_weight,
        metadata={"help": "Multiplicative attention with a learned W (s^T W h); without, s^T h as the paper prints."},
    )
    feed_forward_depth: int = field(
        default=ExtraBertConfig.feed_forward_depth,
        metadata={"help": "Layers between pooling and classifier (sentiment, paraphrase)."},
    )
    feed_forward_residual: bool = field(
        default=ExtraBertConfig.feed_forward_residual, metadata={"help": "Each such layer adds to its input."}
    )
    pair_features: list[str] = field(
        default_factory=lambda: list(ExtraBertConfig.pair_features),
        metadata={"help": "What a linear layer over a pair (u, v) sees."},
    )
    similarity: Literal["cosine", "linear"] = field(
        default=ExtraBertConfig.similarity, metadata={"help": "Score of a pair: scaled cosine, or linear."}
    )
    similarity_bounds: Literal["none", "clamp", "scale"] = field(
        default=ExtraBertConfig.similarity_bounds,
        metadata={
            "help": "What keeps a score in its range: a cut-off outside training, or the sigmoid of a linear score "
            "and (1 + cos) / 2, which learns badly."
        },
    )
    head_dropout: float = field(default=ExtraBertConfig.head_dropout, metadata={"help": "Dropout in the head."})

    def config_fields(self) -> dict:
        """The fields of `ExtraBertConfig`."""
        fields = dataclasses.asdict(self)
        del fields["model_name_or_path"], fields["attn_implementation"]
        return fields


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
    padding_free: bool = field(
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
