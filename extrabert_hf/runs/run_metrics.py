"""The metrics of a run as dataclasses with a JSON form, and what a repository on the Hub can show of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from extrabert_hf.data.sources import SourceDescription
from extrabert_hf.errors import InputError, printable
from extrabert_hf.evaluation.metrics import metric_names
from extrabert_hf.evaluation.scores import SplitScores
from extrabert_hf.inference.calibration import CalibrationReport, CalibrationScores
from extrabert_hf.models.configuration_extrabert import FORMER_PAIR_ENCODINGS
from extrabert_hf.runs.gradient_conflicts import ConflictSummary
from extrabert_hf.runs.records import BestScore, DataRecord, ModelRecord, TrainingRecord, check_types
from extrabert_hf.tasks import TaskSpec

VERSION = 1
"""Version of the JSON form. Files of version 0 have no `version`."""

SHARED_ARGUMENTS = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "head_learning_rate",
    "per_device_train_batch_size",
    "max_tokens_per_batch",
    "gradient_accumulation_steps",
    "warmup_steps",
    "lr_scheduler_type",
    "weight_decay",
    "optim",
    "max_grad_norm",
    "r_drop",
    "label_balance",
    "seed",
    "length_buckets",
    "eval_strategy",
    "load_best_model_at_end",
    "metric_for_best_model",
)
"""Training arguments that are shown in a repository on the Hub. None of them can hold a path."""

ARGUMENT_TYPES = {
    "seed": int | None,
    "learning_rate": float | None,
    "head_learning_rate": float | None,
    "max_tokens_per_batch": int | None,
    "warmup_steps": float | None,
    "eval_strategy": str | None,
    "teachers": list[str] | int | None,
}
"""Types of the training arguments that a report or a card computes with."""

SPLITS = ("train", "dev", "test")
"""Splits with scores."""

DISTILLATION_ARGUMENTS = ("distillation", "distillation_temperature")
"""Training arguments that are shown only for a run with teachers."""


@dataclass(frozen=True)
class TaskMetrics:
    """
    The results of a run on one task.

    Args:
        task ([`TaskSpec`]):
            The task.
        scores (`dict[str, SplitScores]`):
            Scores by split: `"dev"` and, if the test rows have labels, `"test"`.
        rows (`dict[str, int]`):
            Number of rows by split.
        rejected_rows (`int`):
            Number of rows that were not used.
        model ([`ModelRecord`]):
            The model.
        dataset ([`SourceDescription`]):
            The public name of the data.
        calibration ([`CalibrationReport`], *optional*):
            The effect of calibration; `None` for a model that was not calibrated.
        data ([`DataRecord`], *optional*):
            The arguments that name the rows. `None` in metrics that are shared.
    """

    task: TaskSpec
    scores: dict[str, SplitScores]
    rows: dict[str, int]
    rejected_rows: int
    model: ModelRecord
    dataset: SourceDescription
    calibration: CalibrationReport | None = None
    data: DataRecord | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "TaskMetrics":
        """
        Reads the JSON form.

        Raises:
            [`InputError`]: for scores that a report or a card cannot show.
        """
        metrics = cls(
            task=TaskSpec.from_dict(record["task"]),
            scores={split: SplitScores.from_dict(scores) for split, scores in record["scores"].items()},
            rows=record["rows"],
            rejected_rows=record["rejected_rows"],
            model=ModelRecord.from_dict(record["model"]),
            dataset=SourceDescription(**record["dataset"]),
            calibration=calibration_from_dict(record.get("calibration")),
            data=None if record.get("data") is None else DataRecord.from_dict(record["data"]),
        )
        check_types(metrics, cls, "")
        check_types(metrics.model.config_fields.get("pooling"), str, "model.pooling")
        for split, scores in metrics.scores.items():
            if split not in SPLITS:
                raise InputError(f"`scores` must be of {', '.join(SPLITS)}, got {printable(split, 40)!r}")
            known = set(metric_names(metrics.task))
            if not {metrics.task.metric} <= scores.metrics.keys() == scores.intervals.keys() <= known:
                raise InputError(
                    f"`scores.{split}` must have {printable(metrics.task.metric, 40)!r} and an interval for each "
                    f"metric, got {printable(', '.join(scores.metrics), 200)}"
                )
        return metrics

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        data = {} if self.data is None else {"data": self.data.to_dict()}
        return {
            "task": asdict(self.task),
            "scores": {split: asdict(scores) for split, scores in self.scores.items()},
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "rows": self.rows,
            "rejected_rows": self.rejected_rows,
            "model": self.model.to_dict(),
            **data,
            "dataset": asdict(self.dataset),
        }


@dataclass(frozen=True)
class RunMetrics:
    """
    All metrics of a run. `RunFolder.write_metrics` and `RunFolder.read_metrics` write and read the file.

    Args:
        tasks (`dict[str, TaskMetrics]`):
            Results by task.
        aggregate (`dict[str, float]`, *optional*):
            Scores over all tasks of a multitask run, see [`aggregate_scores`].
        multitask (`dict[str, Any]`, *optional*):
            The fields of [`MultiTaskArguments`] of a multitask run.
        best_per_task (`dict[str, BestScore]`, *optional*):
            With `keep_best_per_task`: for each task, the evaluation of the kept model.
        gradient_conflicts ([`ConflictSummary`], *optional*):
            Conflicts between the tasks' gradients of the encoder, for a multitask run.
        loss_weights (`dict[str, float]`, *optional*):
            Weight of each task's loss at the last step, for a multitask run with a loss weighting.
        training ([`TrainingRecord`], *optional*):
            The result of training; `None` for a model that was composed of several runs.
        lora (`dict[str, Any]`):
            The fields of [`LoraArguments`].
        arguments (`dict[str, Any]`):
            The training arguments, as [`~transformers.TrainingArguments.to_dict`] returns them.
        machine (`dict[str, Any]`):
            Hardware, see [`describe_machine`].
        versions (`dict[str, str]`):
            Version of each library by name.
        finished (`str`, *optional*):
            Date and time of the end of the run in ISO 8601; `None` for a run of an earlier version.
    """

    tasks: dict[str, TaskMetrics]
    aggregate: dict[str, float] | None = None
    multitask: dict[str, Any] | None = None
    best_per_task: dict[str, BestScore] | None = None
    gradient_conflicts: ConflictSummary | None = None
    loss_weights: dict[str, float] | None = None
    training: TrainingRecord | None = None
    lora: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    finished: str | None = None

    @property
    def seed(self) -> int | None:
        """Seed of the run; `None` for a model that was composed of runs with different seeds."""
        return self.arguments.get("seed")

    @property
    def learning_rate(self) -> float | None:
        """Learning rate of the encoder."""
        return self.arguments.get("learning_rate")

    @property
    def head_learning_rate(self) -> float | None:
        """Learning rate of the heads and poolings."""
        return self.arguments.get("head_learning_rate")

    @property
    def max_tokens_per_batch(self) -> int | None:
        """Most tokens of a batch; `None` or 0 if batches are filled by rows."""
        return self.arguments.get("max_tokens_per_batch")

    @property
    def is_selected_on_dev(self) -> bool:
        """Whether the model is the best one of the evaluations during training."""
        selects, strategy = self.arguments.get("load_best_model_at_end"), self.arguments.get("eval_strategy")
        return bool(selects) and strategy != "no"

    @property
    def aggregator(self) -> str | None:
        """Aggregator of the tasks' gradients; `None` without a multitask run."""
        return (self.multitask or {}).get("aggregator")

    @property
    def loss_weighting(self) -> str | None:
        """Weighting of the tasks' losses; `None` without one."""
        name = (self.multitask or {}).get("loss_weighting")
        return None if name == "none" else name

    @property
    def adapter_settings(self) -> dict[str, Any]:
        """Rank, alpha and dropout of the LoRA adapters by short name; empty without LoRA."""
        names = ("lora_r", "lora_alpha", "lora_dropout") if self.lora.get("lora") else ()
        return {name.removeprefix("lora_"): self.lora[name] for name in names if name in self.lora}

    @property
    def processor(self) -> str | None:
        """Name of the accelerator, or of the processor of a machine without one."""
        return self.machine.get("accelerator") or self.machine.get("cpu")

    @property
    def threads(self) -> int | None:
        """Number of PyTorch's threads."""
        return self.machine.get("threads")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "RunMetrics":
        """
        Reads the JSON form of this version or of an earlier one.

        Raises:
            [`InputError`]: for the form of a later version.
            `KeyError`, `TypeError`, `ValueError` or `AttributeError`: for any other value without this form.
        """
        version = record.get("version", 0)
        check_types(version, int, "version")
        if version > VERSION:
            raise InputError(
                f"version {version} of a run's metrics needs a newer extrabert_hf, this one reads up to {VERSION}"
            )
        if version == 0:
            record = _from_version_0(record)
        values = {entry.name: record[entry.name] for entry in fields(cls) if entry.name in record}
        values["tasks"] = {name: TaskMetrics.from_dict(entry) for name, entry in record["tasks"].items()}
        if "best_per_task" in values:
            values["best_per_task"] = {
                name: BestScore.from_dict(best) for name, best in record["best_per_task"].items()
            }
        for name, kind in (("gradient_conflicts", ConflictSummary), ("training", TrainingRecord)):
            if name in values:
                values[name] = kind.from_dict(values[name])
        metrics = cls(**values)
        check_types(metrics, cls, "")
        for name, kind in ARGUMENT_TYPES.items():
            check_types(metrics.arguments.get(name), kind, f"arguments.{name}")
        if not metrics.tasks:
            raise InputError("`tasks` must have one task or more, got none")
        for name in [*metrics.tasks, *(metrics.best_per_task or {})]:
            if name not in metrics.tasks or metrics.tasks[name].task.name != name:  # the name becomes part of paths
                raise InputError(f"`tasks` must have the name of each task as a key, got {printable(name, 80)!r}")
        return metrics

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form; `from_dict` of it equals these metrics."""
        record: dict[str, Any] = {"version": VERSION}
        for name in (entry.name for entry in fields(self)):
            value = getattr(self, name)
            if name in ("tasks", "best_per_task") and value is not None:
                value = {task: entry.to_dict() for task, entry in value.items()}
            if value is not None:
                record[name] = value.to_dict() if isinstance(value, ConflictSummary | TrainingRecord) else value
        return record

    def shared(self) -> "RunMetrics":
        """Returns the metrics that a repository on the Hub can show: without paths and names of local files."""
        tasks = {
            name: replace(entry, data=None, model=replace(entry.model, model_name_or_path=None))
            for name, entry in self.tasks.items()
        }
        teachers = self.arguments.get("teachers")
        names = SHARED_ARGUMENTS + (DISTILLATION_ARGUMENTS if teachers else ())
        arguments = {name: self.arguments[name] for name in names if name in self.arguments}
        if teachers:
            arguments["teachers"] = teachers if isinstance(teachers, int) else len(teachers)
        return replace(self, tasks=tasks, arguments=arguments)


def calibration_from_dict(record: Mapping[str, Any] | None) -> CalibrationReport | None:
    """Reads the JSON form of a calibration."""
    if record is None:
        return None
    scores = {name: CalibrationScores(**record[name]) for name in ("before", "after")}
    return CalibrationReport(**{**record, **scores, "accuracy_gain": tuple(record["accuracy_gain"])})


def _from_version_0(record: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the names of version 0, which had no `version`, to the present names."""

    def renamed(model: Mapping[str, Any]) -> dict[str, Any]:
        encoding = model.get("pair_encoding")
        known = {} if encoding is None else {"pair_encoding": FORMER_PAIR_ENCODINGS.get(encoding, encoding)}
        return {**model, **known}

    tasks = {name: {**entry, "model": renamed(entry["model"])} for name, entry in record["tasks"].items()}
    names = {"padding_free": "unpad"}
    arguments = {names.get(name, name): value for name, value in record.get("arguments", {}).items()}
    return {**record, "tasks": tasks, "arguments": arguments}
