"""Builds the model that is to be trained: on a plain encoder, or from a model that this package saved."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import (
    MODEL_FOR_HEAD,
    ExtraBertConfig,
    ExtraBertForMultiTask,
    ExtraBertForOneTask,
    ExtraBertPreTrainedModel,
)
from extrabert_hf.models.base_extrabert import drop_pooler
from extrabert_hf.pretrained.encoder_checks import check_config, prepare_tokenizer, probe_encoder
from extrabert_hf.pretrained.loading import (
    TrainedModel,
    load_config,
    load_tokenizer,
    load_whole_model,
    models_by_task,
    reason_of,
)
from extrabert_hf.pretrained.names import resolve_model_name
from extrabert_hf.pretrained.remote_code import is_code_trusted, pickles_in_one_line
from extrabert_hf.tasks import COLUMN_FIELDS, TaskSpec

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=ExtraBertPreTrainedModel)


def build_model(
    name: str, task: TaskSpec, *, attn_implementation: str | None = None, **config_fields: Any
) -> tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]:
    """
    Builds a task's model on a pretrained encoder, or from a model of this package to continue its training.

    A model of this package that has the head of the task is continued with its own config, and `config_fields` are not
    used. Its classes become those of the task: a class of the same name keeps its weights, a new one is newly
    initialized. Of a model with another head only the encoder is used, as of a plain encoder. Of a model of several
    tasks, the task of the same name is continued; if there is none, its encoder is used. The log says which it was.

    The config of the model remembers the task's name and column names, see [`load_model`].

    Args:
        name (`str`):
            As for [`resolve_model_name`].
        task ([`TaskSpec`]):
            The task. Its head determines the class of the model, its labels the number of logits.
        attn_implementation (`str`, *optional*):
            As in transformers.
        config_fields:
            Fields of [`ExtraBertConfig`].

    Returns:
        `tuple[ExtraBertForOneTask, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: if the model can't be loaded, a field has a value that the model does not allow, or the model
        has an adapter for each of several tasks and none for this one.
    """
    path = resolve_model_name(name)
    if not isinstance(load_config(path), ExtraBertConfig):
        fields = {**config_fields, **_label_fields(task), "task_name": task.name, "columns": _columns_of(task)}
        return _on_encoder(MODEL_FOR_HEAD[task.head], path, attn_implementation, **fields)
    whole, tokenizer = load_whole_model(path, attn_implementation=attn_implementation)
    saved = models_by_task(whole, tokenizer)
    source = saved.get(task.name) if whole.config.tasks else next(iter(saved.values()))
    return _continued(whole, source, task, path, config_fields), tokenizer


def build_multitask_model(
    name: str,
    tasks: Mapping[str, TaskSpec],
    *,
    attn_implementation: str | None = None,
    config_fields: Mapping[str, Mapping[str, Any]],
) -> tuple[ExtraBertForMultiTask, PreTrainedTokenizerBase]:
    """
    Builds a model of several tasks on one pretrained encoder, or from a model of this package.

    A task that a model of this package has by the same name is continued as in [`build_model`]; the others get a new
    head on its encoder. A model with an adapter for each task must have the same tasks and labels.

    Args:
        name (`str`):
            As for [`build_model`].
        tasks (`Mapping[str, TaskSpec]`):
            The tasks by name.
        attn_implementation (`str`, *optional*):
            As in transformers.
        config_fields (`Mapping[str, Mapping[str, Any]]`):
            Fields of [`ExtraBertConfig`] for each task, by the task's name.

    Returns:
        `tuple[ExtraBertForMultiTask, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: as [`build_model`].
    """
    path = resolve_model_name(name)
    if not isinstance(load_config(path), ExtraBertConfig):
        heads = {
            task_name: {"head": task.head, **config_fields[task_name], **_label_fields(task), **_columns_entry(task)}
            for task_name, task in tasks.items()
        }
        return _on_encoder(ExtraBertForMultiTask, path, attn_implementation, tasks=heads)
    whole, tokenizer = load_whole_model(path, attn_implementation=attn_implementation)
    saved = models_by_task(whole, tokenizer)
    labels = {task_name: _labels_of(task) for task_name, task in tasks.items()}
    if whole.config.tasks and labels == {task_name: _labels_of(model.task) for task_name, model in saved.items()}:
        for task_name, task in tasks.items():
            for field in ("columns", "conformal"):
                whole.config.tasks[task_name].pop(field, None)
            whole.config.tasks[task_name] |= _columns_entry(task)
        logger.info("continuing from the ExtraBertForMultiTask in %s, with its own config", path)
        return whole, tokenizer
    if getattr(whole, "adapters", None):
        raise InputError(
            f"`model_name_or_path` must be an encoder or have the same tasks and labels, got {sorted(saved)} with an "
            f"adapter for each in {path}."
        )
    models = {
        task_name: _continued(whole, saved.get(task_name), task, path, config_fields[task_name])
        for task_name, task in tasks.items()
    }
    return ExtraBertForMultiTask.from_single_task(models), tokenizer


def need_model_without_adapters(name: str) -> None:
    """
    Checks the model that a LoRA adapter is to be trained on: the adapter must load on the encoder in its files.

    One task of a model with adapters has the adapter of the task merged into its encoder, and no file has these
    weights.

    Args:
        name (`str`):
            As for [`build_model`].

    Raises:
        [`InputError`]: if the model has an adapter for a task.
    """
    config = load_config(resolve_model_name(name))
    tasks = (config.tasks or {}) if isinstance(config, ExtraBertConfig) else {}
    if adapted := sorted(task for task, entry in tasks.items() if "adapter" in entry):
        raise InputError(
            f"`lora` must start from a model without adapters, got {name} with adapters for {', '.join(adapted)}: "
            "name the run of one task, or leave out --lora."
        )


def _continued(
    whole: ExtraBertPreTrainedModel,
    saved: TrainedModel | None,
    task: TaskSpec,
    path: str,
    config_fields: Mapping[str, Any],
) -> ExtraBertForOneTask:
    """Returns a task's model on the encoder of `whole`, with the head of `saved` if it is of the same kind."""
    if saved is None or saved.task.head != task.head:
        model = _with_new_head(whole, task, path, config_fields)
        logger.info("the encoder of the %s in %s, with a new head for %r", type(whole).__name__, path, task.name)
    else:
        model, about = _with_labels(saved, task)
        logger.info("continuing from the %s in %s, with its own config%s", type(model).__name__, path, about)
    model.config.task_name, model.config.columns = task.name, _columns_of(task)
    return model.requires_grad_(True)  # the encoder of a model with adapters was frozen


def _with_new_head(
    whole: ExtraBertPreTrainedModel, task: TaskSpec, path: str, config_fields: Mapping[str, Any]
) -> ExtraBertForOneTask:
    """Returns a model with a new pooling and head on the encoder of a saved model."""
    if getattr(whole, "adapters", None):
        raise InputError(
            f"`model_name_or_path` must be an encoder or have an adapter for {task.name!r} with the head "
            f"{task.head!r}, got adapters for {sorted(whole.adapters)} in {path}."
        )
    backbone = copy.copy(whole.backbone)
    backbone._modules = dict(backbone._modules)  # its pooler can be dropped here, and stay in `whole`
    fields = {**config_fields, **_label_fields(task), "encode_by_length": whole.config.encode_by_length}
    try:
        config = ExtraBertConfig(backbone_config=backbone.config, **fields)
        model = MODEL_FOR_HEAD[task.head]._from_config(config)
    except (StrictDataclassError, ValueError) as error:
        raise InputError(one_line(error)) from error
    if "pooler" not in config.poolings:
        drop_pooler(backbone)
    elif getattr(backbone, "pooler", None) is None:
        raise InputError(f"`pooling` must not be 'pooler' here: the model in {path} was saved without the pooler.")
    return _on(backbone, model)


def _with_labels(saved: TrainedModel, task: TaskSpec) -> tuple[ExtraBertForOneTask, str]:
    """Returns the saved model with the labels of `task`, and in words what changes."""
    before, model = saved.task, saved.model
    model.config.conformal = None  # the quantiles are of the weights before training
    if _labels_of(before) == _labels_of(task):
        return model, ""
    config = copy.deepcopy(model.config)
    weights = model.head.state_dict()
    if task.is_regression:
        config.score_range = list(task.label_range)
        about = f"; scores from {list(before.label_range)} become scores from {list(task.label_range)}"
        relabelled = type(model)._from_config(config)
        if "classifier.bias" in weights and config.similarity_bounds != "scale":  # the weights are in these units
            (old_low, old_high), (low, high) = before.label_range, task.label_range
            factor = (high - low) / (old_high - old_low)
            weights["classifier.weight"] = factor * weights["classifier.weight"]
            weights["classifier.bias"] = low + factor * (weights["classifier.bias"] - old_low)
    else:
        config.class_names = list(task.class_names)
        relabelled = type(model)._from_config(config)
        kept = [name for name in task.class_names if name in before.class_names]
        new = [name for name in task.class_names if name not in kept]
        left_out = [name for name in before.class_names if name not in kept]
        about = f"; classes kept: {_listed(kept)}; new: {_listed(new)}; left out: {_listed(left_out)}"
        rows, saved_rows = ([names.index(name) for name in kept] for names in (task.class_names, before.class_names))
        for name, initial in relabelled.head.classifier.state_dict(prefix="classifier.").items():
            initial = initial.to(model.device, copy=True)
            initial[rows] = weights[name][saved_rows]
            weights[name] = initial
    relabelled.head.load_state_dict(weights)
    relabelled.pooling = model.pooling
    return _on(model.backbone, relabelled), about


def _on(backbone: PreTrainedModel, model: ExtraBertForOneTask) -> ExtraBertForOneTask:
    """Returns `model` in evaluation mode, with `backbone` as its encoder."""
    model.backbone = backbone
    model.config.backbone_config = backbone.config
    return model.to(backbone.device).eval()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _labels_of(task: TaskSpec) -> tuple[str, tuple]:
    """Returns head and labels, which determine the outputs of a task's model."""
    return task.head, tuple(task.label_range if task.is_regression else task.class_names)


def _label_fields(task: TaskSpec) -> dict[str, Any]:
    if task.is_regression:
        return {"score_range": list(task.label_range)}
    return {"class_names": list(task.class_names)}


def _columns_of(task: TaskSpec) -> dict[str, str] | None:
    columns = {field.removesuffix("_column"): getattr(task, field) for field in COLUMN_FIELDS}
    return {name: column for name, column in columns.items() if column is not None} or None


def _columns_entry(task: TaskSpec) -> dict[str, Any]:
    columns = _columns_of(task)
    return {} if columns is None else {"columns": columns}


def _on_encoder(
    model_class: type[M], path: str, attn_implementation: str | None, **config_fields: Any
) -> tuple[M, PreTrainedTokenizerBase]:
    check_config(load_config(path), path)
    tokenizer = load_tokenizer(path)
    try:
        with pickles_in_one_line(f"the model {path!r}"):
            model = model_class.from_backbone(
                path, attn_implementation=attn_implementation, trust_remote_code=is_code_trusted(), **config_fields
            )
    except StrictDataclassError as error:  # the cause names the field of the config and the reason
        raise InputError(one_line(error)) from error
    except InputError:
        raise
    except Exception as error:  # code and files of others
        raise InputError(f"no {model_class.__name__} on {path!r}: {reason_of(error, path)}") from error
    prepare_tokenizer(tokenizer, model, path)
    probe_encoder(model, tokenizer, path)
    return model, tokenizer
