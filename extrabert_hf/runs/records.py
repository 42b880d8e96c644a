"""Parts of the metrics of a run: model, data, training, best score; their JSON forms and the check of their types."""

import sys
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from extrabert_hf.errors import InputError, printable


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
        dev_seed (`int`, *optional*):
            Seed of the draw of these rows; `None` for a run of an earlier version, which used the seed of the run.
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
    dev_seed: int | None = None
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


# The types of a record, whose JSON file can hold anything

FORMS = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def check_types(value: Any, kind: Any, where: str) -> None:
    """
    Raises an [`InputError`] for the first value without the type of its annotation.

    Args:
        value (`Any`):
            A dataclass, or a value of one of its fields.
        kind (`Any`):
            The annotation: a dataclass, `int`, `float`, `str`, `bool`, `None`, `Any`, `Literal`, a union, `dict`,
            `list` or `tuple`. An `int` is a valid `float`, a `bool` is not a valid `int`.
        where (`str`):
            The name of the value in the message.

    Example:
        >>> check_types({"dev": 9, "test": "many"}, dict[str, int], "rows")
        Traceback (most recent call last):
        ...
        extrabert_hf.errors.InputError: `rows.test` must be a whole number, got 'many'
    """
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        _check_union(value, arguments, where)
    elif is_dataclass(kind):
        _need(isinstance(value, kind), value, kind.__name__, where)
        hints = get_type_hints(kind)
        for field in fields(kind):
            check_types(getattr(value, field.name), hints[field.name], f"{where}.{field.name}".lstrip("."))
    elif origin is Literal:
        _need(value in arguments, value, f"one of {', '.join(map(repr, arguments))}", where)
    elif origin is dict:
        _need(isinstance(value, dict), value, "an object", where)
        for name, each in value.items():
            check_types(name, arguments[0], f"a name in {where}")
            check_types(each, arguments[1], f"{where}.{printable(name, 40)}")
    elif origin in (list, tuple):
        _check_sequence(value, origin, arguments, where)
    elif kind is float:
        _need(is_finite_number(value), value, FORMS[float], where)
    else:
        _need(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), value, FORMS[kind], where)


def is_finite_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that a `float` can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_union(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    for kind in kinds:
        try:
            check_types(value, kind, where)
        except InputError:
            continue  # the next kind may fit
        break
    else:
        check_types(value, kinds[0], where)  # raises the error of the first kind


def _check_sequence(value: Any, origin: type, kinds: tuple[Any, ...], where: str) -> None:
    _need(isinstance(value, origin), value, "a list", where)
    if origin is tuple and kinds[-1] is not Ellipsis:
        _need(len(value) == len(kinds), value, f"a list of {len(kinds)}", where)
        for each, kind in zip(value, kinds, strict=True):
            check_types(each, kind, where)
    else:
        for each in value:
            check_types(each, kinds[0], where)


def _need(is_right: bool, value: Any, form: str, where: str) -> None:
    if not is_right:
        raise InputError(f"`{where}` must be {form}, got {printable(repr(value), 80)}")
