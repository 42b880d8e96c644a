"""What a trainer needs beside its rows and its arguments: the model with its tokenizer, and the metrics."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from transformers import EvalPrediction, PreTrainedTokenizerBase

from extrabert_hf.data.tokenization import limit_length
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.evaluation.metrics import compute_metrics, predictions_from_logits
from extrabert_hf.models import ExtraBertPreTrainedModel
from extrabert_hf.pretrained.building import build_model, build_multitask_model
from extrabert_hf.tasks import TaskSpec


def prepare_model(
    name: str,
    tasks: TaskSpec | Mapping[str, TaskSpec],
    *,
    max_length: int | None = None,
    attn_implementation: str | None = None,
    fields_of: Mapping[str, Mapping[str, Any]] | None = None,
    **config_fields: Any,
) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]:
    """
    Builds a model on a pretrained encoder, or loads one to continue its training; the tokenizer truncates sentences.

    Args:
        name (`str` or `Path`):
            The encoder: a folder, a Hub id, or `"minilm"`. A model that this package saved is trained further, with
            its own config where it has the head of the task, see [`build_model`].
        tasks ([`TaskSpec`] or `Mapping[str, TaskSpec]`):
            The task of the model, or the tasks by name for a model of several tasks ([`ExtraBertForMultiTask`]).
        max_length (`int`, *optional*):
            Maximum number of tokens of a sentence, 3 or more. The default is 128, or what tokenizer and encoder take.
        attn_implementation (`str`, *optional*):
            `"eager"`, `"sdpa"`, `"flash_attention_2"`, ... as in transformers.
        fields_of (`Mapping[str, Mapping[str, Any]]`, *optional*):
            By name of a task, fields for this task that override `config_fields`.
        config_fields:
            Fields of [`ExtraBertConfig`], such as `pooling="mean"`.

    Returns:
        `tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: if the model can't be loaded, or an argument has a value that the model does not allow.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> model, tokenizer = prepare_model("minilm", PAPER_TASKS["sts"], pooling="mean")  # doctest: +SKIP
        >>> type(model).__name__, tokenizer.model_max_length  # doctest: +SKIP
        ('ExtraBertForSimilarity', 128)
    """
    specs = {tasks.name: tasks} if isinstance(tasks, TaskSpec) else tasks
    if not isinstance(specs, Mapping) or not specs or not all(isinstance(spec, TaskSpec) for spec in specs.values()):
        raise InputError(
            "`tasks` must be a TaskSpec, such as PAPER_TASKS['sts'], or a dict of them by name, got "
            f"{shorten(repr(tasks))}."
        )
    fields = {task: {**config_fields, **(fields_of or {}).get(task, {})} for task in specs}
    # a model of one task has one head, and loads as a plain sequence classifier
    if isinstance(tasks, TaskSpec):
        model, tokenizer = build_model(name, tasks, attn_implementation=attn_implementation, **fields[tasks.name])
    else:
        model, tokenizer = build_multitask_model(
            name, specs, attn_implementation=attn_implementation, config_fields=fields
        )
    limit_length(tokenizer, model, max_length)
    return model, tokenizer


def metrics_for(task: TaskSpec) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    Makes the `compute_metrics` of a `Trainer` for the rows of a task, see [`compute_metrics`].

    Args:
        task ([`TaskSpec`]):
            The task.

    Example:
        >>> import numpy as np
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> metrics_for(PAPER_TASKS["para"])(EvalPrediction(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0])))
        {'accuracy': 1.0, 'f1': 1.0}
    """
    if not isinstance(task, TaskSpec):
        raise InputError(f"`task` must be a TaskSpec, such as PAPER_TASKS['sts'], got {shorten(repr(task))}.")
    return partial(_metrics_of_logits, task)


def _metrics_of_logits(task: TaskSpec, evaluation: EvalPrediction) -> dict[str, float]:
    return compute_metrics(task, predictions_from_logits(task, evaluation.predictions), evaluation.label_ids)
