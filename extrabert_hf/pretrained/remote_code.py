"""Python code in the files of a model. It runs only if the user allows it: `--trust_remote_code true`."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedConfig
from transformers.models.auto.tokenization_auto import get_tokenizer_config, tokenizer_class_from_name

from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertConfig
from extrabert_hf.models.encoder_code_extrabert import run_code

_TRUSTED: ContextVar[bool] = ContextVar("trust_remote_code", default=False)


def is_code_trusted() -> bool:
    """Whether loaders may run code of a model's files: the value of `trust_remote_code` of every `from_pretrained`."""
    return _TRUSTED.get()


def trust_code(trusted: bool) -> None:
    """Sets for the rest of the process whether loaders may run code of a model's files; for a command's flag."""
    _TRUSTED.set(trusted)


@contextmanager
def trusted_code(trusted: bool = True) -> Iterator[None]:
    """
    Sets inside a `with` block whether loaders may run code of a model's files.

    Args:
        trusted (`bool`, defaults to `True`):
            Whether to run the code. The default outside of the block is `False`, without a question to the user.
    """
    before = _TRUSTED.set(trusted)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def check_code(path: str) -> None:
    """
    Raises [`InputError`] for a model that needs code of its own files, unless that code is trusted.

    transformers would ask on standard input whether to run the code, or load an installed class of the same
    `model_type`, which may compute something else. An installed class of the same name is loaded without the code.
    For models of this package the installed classes are loaded.

    Args:
        path (`str`):
            Folder or Hub id.
    """
    if is_code_trusted():
        return
    try:
        config, tokenizer = PreTrainedConfig.get_config_dict(path)[0], get_tokenizer_config(path)
    except (OSError, TypeError, ValueError, RecursionError):  # no model, or a broken one: the loader has the message
        return
    if not isinstance(config, Mapping) or not isinstance(tokenizer, Mapping):
        return
    if code := code_references(config, tokenizer):
        raise InputError(
            f"the model {path!r} needs Python code of its own files ({code[0]}), which is not run: read the code and "
            "add --trust_remote_code true, or choose another model."
        )


def code_references(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> list[str]:
    """Returns the code that the two configs need, as `module.Class` or `repository--module.Class`."""
    return [*_code_of(config), *_code_of_tokenizer(tokenizer)]


def saved_config_with_code(path: str) -> ExtraBertConfig | None:
    """
    Loads the config of a model of this package on an encoder with trusted code, and registers the encoder's class.

    Args:
        path (`str`):
            Folder or Hub id. The folder has the encoder's code, which `save_pretrained` copied.

    Returns:
        [`ExtraBertConfig`], *optional*: the config; `None` if code is not trusted, or if the encoder has none.
    """
    if not is_code_trusted():
        return None
    try:
        config = PreTrainedConfig.get_config_dict(path)[0]
    except (OSError, TypeError, ValueError, RecursionError):  # no model, or a broken one: the loader has the message
        return None
    encoder = config.get("backbone_config") or {}
    if config.get("model_type") != ExtraBertConfig.model_type or not [*_code_of(encoder)]:
        return None
    return ExtraBertConfig.from_dict(config | {"backbone_config": run_code(encoder, path)})


@contextmanager
def pickles_in_one_line(where: str) -> Iterator[None]:
    """Converts the error for a pickle with more than tensors, which torch does not load, to an [`InputError`]."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{where} holds a pickle file that is damaged or has more than tensors in it, which could run code: it is "
            "never loaded. Use files that you trust, with the weights in .safetensors files."
        ) from error


def _code_of(config: Mapping[str, Any]) -> Iterator[str]:
    """Yields the code that a config or a config inside it needs, as `module.Class` or `repository--module.Class`."""
    model_type, auto_map = config.get("model_type"), config.get("auto_map")
    if auto_map and not isinstance(auto_map, Mapping):
        yield str(auto_map)
    elif auto_map and model_type != ExtraBertConfig.model_type:
        known = isinstance(model_type, str) and model_type in CONFIG_MAPPING
        config_class = CONFIG_MAPPING[model_type] if known else None
        model_class = None if config_class is None else MODEL_MAPPING.get(config_class, None)
        for auto_class, installed in (("AutoConfig", config_class), ("AutoModel", model_class)):
            reference = auto_map.get(auto_class)
            if reference is not None and _class_name(reference) != getattr(installed, "__name__", None):
                yield str(reference)
    for part in config.values():
        if isinstance(part, Mapping) and part is not auto_map:
            yield from _code_of(part)


def _code_of_tokenizer(config: Mapping[str, Any]) -> Iterator[str]:
    auto_map = config.get("auto_map")
    references = auto_map.get("AutoTokenizer") if isinstance(auto_map, Mapping) else auto_map  # a list in old files
    references = references if isinstance(references, list) else [references]
    named = [name for name in references if name is not None]
    if named and all(tokenizer_class_from_name(_class_name(name)) is None for name in named):
        yield str(named[0])


def _class_name(reference: Any) -> str:
    return str(reference).rpartition(".")[2]
