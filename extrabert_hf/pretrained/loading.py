"""From what a user calls a model to the model, its tokenizer and its task."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import (
    MODEL_FOR_HEAD,
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForOneTask,
    ExtraBertPreTrainedModel,
)
from extrabert_hf.pretrained.adapters import holds_adapter, load_adapter, saved_model_class
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

logger = logging.getLogger(__name__)
T = TypeVar("T")
M = TypeVar("M", bound=ExtraBertPreTrainedModel)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
    """
    A model of one task with its tokenizer and its task.

    Args:
        model ([`ExtraBertForOneTask`]):
            In evaluation mode when it was loaded by a function of this module.
        tokenizer (`PreTrainedTokenizerBase`):
            Cuts sentences after the model's maximum length.
        task ([`TaskSpec`]):
            The task's own name, its labels, and the columns that its training rows had.
    """

    model: ExtraBertForOneTask
    tokenizer: PreTrainedTokenizerBase
    task: TaskSpec


def build_model(
    name: str, task: TaskSpec, *, attn_implementation: str | None = None, **config_fields: Any
) -> tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]:
    """
    Builds a task's model on a pretrained encoder, or goes on from one trained before.

    Args:
        name (`str`):
            As for [`resolve_model_name`]. A folder or repository that holds a model of this package for the same head
            is loaded as it is, `config_fields` unused.
        task ([`TaskSpec`]):
            Its head picks the class, its labels the logits.
        attn_implementation (`str`, *optional*):
            As in transformers.
        config_fields:
            Fields of [`ExtraBertConfig`].

    Returns:
        `tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: if it can't be loaded, or a field is not valid for it.
    """
    path = resolve_model_name(name)
    model_class = MODEL_FOR_HEAD[task.head]
    if isinstance(_load(AutoConfig.from_pretrained, path), ExtraBertConfig):
        model, tokenizer, saved_task = load_model(path, attn_implementation=attn_implementation)
        _check_same_task(saved_task, task, path)
        logger.info("going on from the %s in %s, with its own config", model_class.__name__, path)
        return model, tokenizer
    return _on_encoder(model_class, path, attn_implementation, **config_fields, **_label_fields(task))


def build_multitask_model(
    name: str,
    tasks: Mapping[str, TaskSpec],
    *,
    attn_implementation: str | None = None,
    config_fields: Mapping[str, Mapping[str, Any]],
) -> tuple[ExtraBertForMultiTask, PreTrainedTokenizerBase]:
    """
    Builds a model of several tasks on one pretrained encoder, or goes on from one trained before.

    Args:
        name (`str`):
            As for [`build_model`].
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name.
        attn_implementation (`str`, *optional*):
            As in transformers.
        config_fields (`Mapping[str, Mapping[str, Any]]`):
            By task, fields of [`ExtraBertConfig`].

    Returns:
        `tuple[ExtraBertForMultiTask, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: as [`build_model`].
    """
    path = resolve_model_name(name)
    config = _load(AutoConfig.from_pretrained, path)
    if isinstance(config, ExtraBertConfig):
        model = _load_saved(path, attn_implementation)
        saved_tasks = config.tasks or {}  # in the order of config.json, the alphabet's
        if not isinstance(model, ExtraBertForMultiTask) or saved_tasks.keys() != tasks.keys():
            raise InputError(
                f"`model_name_or_path` must be an encoder or an ExtraBertForMultiTask for {sorted(tasks)}, "
                f"got an {type(model).__name__} for {sorted(saved_tasks) or 'one task'} in {path}."
            )
        for task_name, task in tasks.items():
            _check_same_task(_task_of(task_name, model.extract(task_name)), task, path)
        logger.info("going on from the ExtraBertForMultiTask in %s, with its own config", path)
        return model, _load(AutoTokenizer.from_pretrained, path)
    heads = {
        task_name: {"head": task.head, **config_fields[task_name], **_label_fields(task)}
        for task_name, task in tasks.items()
    }
    return _on_encoder(ExtraBertForMultiTask, path, attn_implementation, tasks=heads)


def load_model(
    name: str, task: str | None = None, *, attn_implementation: str | None = None
) -> tuple[ExtraBertForOneTask, PreTrainedTokenizerBase, TaskSpec]:
    """
    Loads the model of one task that this package saved, and tells its task.

    Args:
        name (`str`):
            Folder or Hub id; a folder may hold an adapter, which comes merged into its encoder.
        task (`str`, *optional*):
            Which task of a multitask model; not needed for a model of one task.
        attn_implementation (`str`, *optional*):
            As in transformers.

    Returns:
        `tuple[ExtraBertForOneTask, PreTrainedTokenizerBase, TaskSpec]`: the model in float32 and evaluation mode, on
        the accelerator where there is one; its tokenizer; and the paper's task for its head with its own labels.

    Raises:
        [`InputError`]: if it can't be loaded, is no model of this package, or has no such task.
    """
    path, config = _saved_config(name)
    if config.tasks is not None and task not in config.tasks:
        names = ", ".join(map(repr, config.tasks))
        raise InputError(f"`task` must be one of {names}, the tasks of the model in {path}, got {task!r}.")
    model = _load_saved(path, attn_implementation)
    if isinstance(model, ExtraBertForMultiTask):
        model = model.extract(task)
    elif task is not None and task != _task_of(None, model).name:
        raise InputError(f"`task` is for a multitask model, {path} holds an {config.architectures[0]}, got {task!r}.")
    return model, _load(AutoTokenizer.from_pretrained, path), _task_of(task, model)


def load_same_task(name: str, task: TaskSpec, argument: str) -> tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]:
    """Loads a model of `task`, as [`load_model`] does; what it refuses, other labels too, it tells of `argument`."""
    try:
        path, config = _saved_config(name)
        model, tokenizer, saved = load_model(name, None if config.tasks is None else task.name)
    except InputError as error:
        raise InputError(f"`{argument}` {name}: {error}") from error
    _check_same_task(saved, task, path, argument)
    return model, tokenizer


def load_all_tasks(name: str) -> list[tuple[ExtraBertForOneTask, PreTrainedTokenizerBase, TaskSpec]]:
    """Loads, as [`load_model`] does, the model of each task that a folder or repository holds, over one encoder."""
    path, config = _saved_config(name)
    model, tokenizer = _load_saved(path, None), _load(AutoTokenizer.from_pretrained, path)
    models = {None: model} if config.tasks is None else {task: model.extract(task) for task in config.tasks}
    return [(its, tokenizer, _task_of(task, its)) for task, its in models.items()]


def load_tokenizer(name: str, max_length: int | None = None) -> PreTrainedTokenizerBase:
    """Loads a model's tokenizer, by folder or Hub id; it cuts off after `max_length` tokens, or its own number."""
    tokenizer = _load(AutoTokenizer.from_pretrained, resolve_model_name(name))
    tokenizer.model_max_length = max_length or tokenizer.model_max_length
    return tokenizer


def _saved_config(name: str) -> tuple[str, ExtraBertConfig]:
    """Finds a model that this package saved, by folder or Hub id; refuses any other."""
    path = resolve_model_name(name)
    config = _load(AutoConfig.from_pretrained, path)
    saved_model_class(config, path, "the model must be")
    return path, config


def _load_saved(path: str, attn_implementation: str | None) -> ExtraBertPreTrainedModel:
    if holds_adapter(path):
        model = _load(load_adapter, path, resolve=resolve_model_name, attn_implementation=attn_implementation)
    else:
        model = _load(AutoModel.from_pretrained, path, dtype=torch.float32, attn_implementation=attn_implementation)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return model.eval().to(device)


def _task_of(name: str | None, model: ExtraBertForOneTask) -> TaskSpec:
    task = next(task for task in PAPER_TASKS.values() if task.head == model.head_kind)
    task = dataclasses.replace(task, name=name or task.name)
    if task.is_regression:
        return dataclasses.replace(task, label_range=tuple(model.config.score_range))
    return dataclasses.replace(task, class_names=tuple(model.config.class_names or task.class_names))


def _check_same_task(saved: TaskSpec, task: TaskSpec, path: str, argument: str = "") -> None:
    def told(task: TaskSpec) -> str:
        labels = task.label_range if task.is_regression else task.class_names
        return f"an {MODEL_FOR_HEAD[task.head].__name__} with labels {list(labels)}"

    if told(saved) != told(task):
        allowed = f"`{argument}` must be" if argument else "`model_name_or_path` must be an encoder or"
        raise InputError(f"{allowed} {told(task)} for {task.name!r}, got {told(saved)} in {path}.")


def _label_fields(task: TaskSpec) -> dict[str, Any]:
    if task.is_regression:
        return {"score_range": list(task.label_range)}
    return {"class_names": list(task.class_names)}


def _on_encoder(
    model_class: type[M], path: str, attn_implementation: str | None, **config_fields: Any
) -> tuple[M, PreTrainedTokenizerBase]:
    tokenizer = _load(AutoTokenizer.from_pretrained, path)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of a folder without its files
        raise InputError(f"{path!r} must hold a tokenizer beside its encoder, its vocabulary is empty.")
    try:
        model = model_class.from_backbone(path, attn_implementation=attn_implementation, **config_fields)
    except StrictDataclassError as error:  # a field of the config; its cause says which and why
        raise InputError(one_line(error)) from error
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"no {model_class.__name__} on {path!r}: {one_line(error)}") from error
    return model, tokenizer


def _load(from_pretrained: Callable[..., T], path: str, **kwargs: Any) -> T:
    try:
        return from_pretrained(path, **kwargs)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, StrictDataclassError) as error:
        raise InputError(f"the model {path!r} can't be loaded: {one_line(error)}") from error
