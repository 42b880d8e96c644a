"""Parts of the metrics of a run, with their JSON forms: model, data, training, best score."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from extrabert_hf.runs.record_checks import check_types


@dataclass(frozen=True)
class ModelRecord:
    """
    The model of a task.

    Args:
        encoder (`str`):
            Hub id of the pretrained encoder, or the last part of its path.
        encoder_is_on_hub (`bool`):
            Whether `encoder` is a Hub id.
        config_fields (`dict[str, Any]`):
            The fields of [`ExtraBertConfig`] that a run can set: `pooling`, `pair_encoding`, ...
        model_name_or_path (`str`, *optional*):
            The argument of the run. `None` in metrics that are shared.
    """

    encoder: str
    encoder_is_on_hub: bool
    config_fields: dict[str, Any]
    model_name_or_path: str | None = None

    @property
    def pooling(self) -> str:
        """The `pooling` of the config."""
        return self.config_fields["pooling"]  # every record has it, see `TaskMetrics.from_dict`

    @property
    def similarity(self) -> str | None:
        """The `similarity` of the config; `None` for a task without it."""
        return self.config_fields.get("similarity")

    @property
    def is_cross_encoder(self) -> bool:
        """Whether the `pair_encoding` of the config is `"cross_encoder"`."""
        return self.config_fields.get("pair_encoding") == "cross_encoder"

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "ModelRecord":
        """Reads the JSON form, in which the fields of the config are beside the encoder's names."""
        names = {name: record[name] for name in ("encoder", "encoder_is_on_hub")}
        path = record.get("model_name_or_path")
        known = {*names, "model_name_or_path"}
        return cls(**names, config_fields={k: v for k, v in record.items() if k not in known}, model_name_or_path=path)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        path = {} if self.model_name_or_path is None else {"model_name_or_path": self.model_name_or_path}
        return path | {"encoder": self.encoder, "encoder_is_on_hub": self.encoder_is_on_hub} | self.config_fields


@dataclass(frozen=True)
class DataRecord:
    """
    The arguments that name the rows of a run, see [`DataArguments`].

    Args:
        data, dev_data, test_data (`str`, *optional*):
            The sources of the rows.
        dataset_config (`str`, *optional*):
            Configuration of a data set of the Hub.
        dev_fraction (`float`, defaults to 0.1):
            Share of the train rows that becomes the dev split if there is none.
        strict_data (`bool`, defaults to `False`):
            Whether a row that cannot be used is an error.
        others (`dict[str, Any]`):
            The other arguments.
    """

    data: str | None = None
    dataset_config: str | None = None
    dev_data: str | None = None
    test_data: str | None = None
    dev_fraction: float = 0.1
    strict_data: bool = False
    others: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "DataRecord":
        """Reads the JSON form, in which the other arguments are beside the fields."""
        return cls(**_with_rest(cls, record, "others"))

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        record = asdict(self)
        others = record.pop("others")
        return record | others


@dataclass(frozen=True)
class TrainingRecord:
    """
    What training took.

    Args:
        steps (`int`):
            Number of optimizer steps.
        global_batch_size (`int`, *optional*):
            Rows of an optimizer step, of each task in a multitask run; `None` if batches are filled by tokens.
        best_step (`int`, *optional*):
            Step of the best checkpoint; `None` without evaluations during training.
        processes (`int`):
            Number of processes.
        precision (`str`):
            `"no"` (float32), `"bf16"` or `"fp16"` (autocast).
        measures (`dict[str, float | None]`):
            Metrics of [`~transformers.Trainer.train`]: `train_loss`, `train_runtime` in seconds, ...; `None` for a
            number that is not finite.
    """

    steps: int
    global_batch_size: int | None
    best_step: int | None
    processes: int
    precision: Literal["no", "bf16", "fp16"]
    measures: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "TrainingRecord":
        """Reads the JSON form, in which the measures are beside the other fields."""
        return cls(**_with_rest(cls, record, "measures"))

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form."""
        record = asdict(self)
        measures = record.pop("measures")
        return record | measures


@dataclass(frozen=True)
class BestScore:
    """
    The best evaluation of a task. [`KeepBestPerTask`] saves the model of this evaluation.

    Args:
        step (`int`):
            Optimizer step of the evaluation.
        metric (`str`):
            Name of the task's main metric.
        value (`float`):
            The score.
    """

    step: int
    metric: str
    value: float

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "BestScore":
        """Reads the JSON form, in which the score has the name of the metric."""
        ((metric, value),) = ((name, value) for name, value in record.items() if name != "step")
        best = cls(record["step"], metric, value)
        check_types(best, cls, "")
        return best

    def to_dict(self) -> dict[str, float]:
        """Returns the JSON form."""
        return {"step": self.step, self.metric: self.value}


def _with_rest(kind: type, record: Mapping[str, Any], rest: str) -> dict[str, Any]:
    """Returns the entries of a record that are fields of a dataclass, and the other entries under the name `rest`."""
    names = [entry.name for entry in fields(kind) if entry.name != rest]
    known = {name: record[name] for name in names if name in record}
    return known | {rest: {name: value for name, value in record.items() if name not in names}}
