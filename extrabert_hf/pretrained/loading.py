"""Loads a model by name, with the tokenizer and the task."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import (
    MODEL_FOR_HEAD,
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForOneTask,
    ExtraBertPreTrainedModel,
)
from extrabert_hf.pretrained.adapters import holds_adapter, load_adapter, saved_model_class
from extrabert_hf.pretrained.encoder_checks import prepare_tokenizer
from extrabert_hf.pretrained.model_files import damaged_file
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.pretrained.remote_code import (
    check_code,
    is_code_trusted,
    pickles_in_one_line,
    saved_config_with_code,
)
from extrabert_hf.tasks import COLUMN_FIELDS, PAPER_TASKS, TaskSpec

logger = logging.getLogger(__name__)
T = TypeVar("T")
M = TypeVar("M", bound=ExtraBertPreTrainedModel)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """
    A model of one task with its tokenizer and its task.

    Args:
        model ([`ExtraBertForOneTask`]):
            The model. The functions of this module load it in float32 and evaluation mode, on the accelerator if the
            machine has one.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer. It truncates sentences to the maximum length of the training run.
        task ([`TaskSpec`]):
            The task's name and labels, and the names of the columns that the training rows had.
    """

    model: ExtraBertForOneTask
    tokenizer: PreTrainedTokenizerBase
    task: TaskSpec

    def save_pretrained(self, folder: str | Path) -> None:
        """Saves model and tokenizer into one folder, which [`load_model`] loads."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_model(name: str | Path, task: str | None = None, *, attn_implementation: str | None = None) -> TrainedModel:
    """
    Loads the model of one task that this package saved.

    The task has the name and the column names that the model was trained with. A file may lack a remembered column:
    then the well-known names are tried, see [`find_columns`]. Models saved before version 0.2 remember neither; the
    task gets the name of the paper's task for the head.

    Args:
        name (`str` or `Path`):
            Folder or Hub id; if the folder holds an adapter, the adapter is merged into its encoder.
        task (`str`, *optional*):
            Name of one task of a multitask model; a model of one task needs no name.
        attn_implementation (`str`, *optional*):
            As in transformers.

    Raises:
        [`InputError`]: if the model can't be loaded, is not a model of this package, or has no such task.
    """
    path, config = _saved_config(name)
    if config.tasks is not None and task not in config.tasks:
        names = ", ".join(map(repr, config.tasks))
        got = "none: add --task" if task is None else repr(task)
        raise InputError(f"`task` must be one of {names}, the tasks of the model in {path}, got {got}.")
    model = _load_saved(path, attn_implementation)
    if isinstance(model, ExtraBertForMultiTask):
        model = model.extract(task)
    elif task is not None and task != _task_of(model).name:
        raise InputError(
            f"`task` is for a multitask model, but {path} holds an {config.architectures[0]}, got {task!r}."
        )
    return TrainedModel(model, _tokenizer_of(model, path), _task_of(model))


def load_same_task(name: str, task: TaskSpec, argument: str) -> TrainedModel:
    """Loads a model as [`load_model`] does; head and labels must be those of `task`. Errors name `argument`."""
    try:
        path, config = _saved_config(name)
        saved = load_model(name, None if config.tasks is None else task.name)
    except InputError as error:
        raise InputError(f"`{argument}` {name}: {error}") from error
    _check_same_task(saved.task, task, path, argument)
    return saved


def load_whole_model(
    name: str, *, attn_implementation: str | None = None
) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a saved model of one task or of several, and its tokenizer, as [`load_model`] does."""
    path, _ = _saved_config(name)
    model = _load_saved(path, attn_implementation)
    return model, _tokenizer_of(model, path)


def models_by_task(
    model: ExtraBertPreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Mapping[str, TaskSpec] | None = None
) -> dict[str, TrainedModel]:
    """
    Splits a multitask model into models of one task over the same weights; for a model of one task, the only entry is
    the model.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            A model of one task or of several.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer.
        tasks (`Mapping[str, TaskSpec]`, *optional*):
            The tasks by name; by default those that the model's config remembers.
    """
    if isinstance(model, ExtraBertForMultiTask):
        models = [model.extract(task) for task in tasks or model.config.tasks]
    else:
        models = [model]
    if tasks is None:
        tasks = {task.name: task for task in map(_task_of, models)}
    return {
        name: TrainedModel(each, tokenizer, task) for each, (name, task) in zip(models, tasks.items(), strict=True)
    }


def load_all_tasks(name: str) -> dict[str, TrainedModel]:
    """Loads the model of each task as [`load_model`] does; returns the models by task, with one shared encoder."""
    return models_by_task(*load_whole_model(name))


def load_config(path: str) -> PreTrainedConfig:
    """Loads the config of a model by folder or Hub id; an [`InputError`] if the config can't be loaded."""
    return _load(_config_from_pretrained, path)


def _config_from_pretrained(path: str, *, config: PreTrainedConfig | None = None, **kwargs: Any) -> PreTrainedConfig:
    return config or AutoConfig.from_pretrained(path, **kwargs)


def load_tokenizer(name: str, max_length: int | None = None) -> PreTrainedTokenizerBase:
    """Loads a model's tokenizer by folder or Hub id; it truncates to `max_length` tokens, by default its own limit."""
    tokenizer = _load(AutoTokenizer.from_pretrained, resolve_model_name(name))
    tokenizer.model_max_length = max_length or tokenizer.model_max_length
    return tokenizer


def _saved_config(name: str) -> tuple[str, ExtraBertConfig]:
    """Returns path and config of a model that this package saved, by folder or Hub id; raises for any other model."""
    path = resolve_model_name(name)
    config = load_config(path)
    saved_model_class(config, path, "the model must be")
    return path, config


def _load_saved(path: str, attn_implementation: str | None) -> ExtraBertPreTrainedModel:
    if holds_adapter(path):
        model = _load(load_adapter, path, attn_implementation=attn_implementation)
    else:
        model = _load(AutoModel.from_pretrained, path, dtype=torch.float32, attn_implementation=attn_implementation)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return model.eval().to(device)


def _task_of(model: ExtraBertForOneTask) -> TaskSpec:
    """Returns the task that the model's config remembers: the paper's task of its head with its own labels."""
    config = model.config
    task = next(task for task in PAPER_TASKS.values() if task.head == model.head_kind)
    if task.is_regression:
        labels: dict[str, Any] = {"label_range": tuple(config.score_range)}
    else:
        labels = {"class_names": tuple(config.class_names or task.class_names)}
    columns = {field: (config.columns or {}).get(field.removesuffix("_column")) for field in COLUMN_FIELDS}
    columns = {field: column for field, column in columns.items() if column is not None}
    return dataclasses.replace(
        task, name=config.task_name or task.name, **labels, **columns, remembered_columns=tuple(columns)
    )


def _check_same_task(saved: TaskSpec, task: TaskSpec, path: str, argument: str) -> None:
    def described(task: TaskSpec) -> str:
        labels = task.label_range if task.is_regression else task.class_names
        return f"an {MODEL_FOR_HEAD[task.head].__name__} with labels {list(labels)}"

    if described(saved) != described(task):
        raise InputError(
            f"`{argument}` must be {described(task)} for {task.name!r}, got {described(saved)} in {path}."
        )


def _tokenizer_of(model: ExtraBertPreTrainedModel, path: str) -> PreTrainedTokenizerBase:
    return prepare_tokenizer(_load(AutoTokenizer.from_pretrained, path), model, path)


def reason_of(error: Exception, path: str) -> str:
    """Returns in one line why a model can't be loaded: a damaged file, or the error of its code."""
    if (damaged := damaged_file(Path(path))) is not None:
        return damaged
    if isinstance(error, (OSError, ValueError, RuntimeError, ImportError, StrictDataclassError)):
        return one_line(error)
    return f"its config or its code fails with {type(error).__name__}: {one_line(error)}"


def _load(from_pretrained: Callable[..., T], path: str, **kwargs: Any) -> T:
    check_code(path)
    try:
        with pickles_in_one_line(f"the model {path!r}"):
            if (config := saved_config_with_code(path)) is not None:
                kwargs["config"] = config
            return from_pretrained(path, trust_remote_code=is_code_trusted(), **kwargs)
    except InputError:
        raise
    except Exception as error:  # code and files of others
        raise InputError(f"the model {path!r} can't be loaded: {reason_of(error, path)}") from error
