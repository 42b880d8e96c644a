"""Loads the model of a LoRA adapter that this package saved, without peft."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedConfig

from extrabert_hf.errors import InputError, one_line
from extrabert_hf.models import MODEL_FOR_HEAD, ExtraBertConfig, ExtraBertForMultiTask, ExtraBertPreTrainedModel
from extrabert_hf.models.adapter_files_extrabert import CONFIG_FILE, WEIGHTS_FILE, AdapterFiles
from extrabert_hf.pretrained.model_files import damaged_file, refuse_lfs_pointers
from extrabert_hf.pretrained.names import find_encoder
from extrabert_hf.pretrained.remote_code import check_code, saved_config_with_code

ONE_TASK = tuple(MODEL_FOR_HEAD.values())
"""The models of one task."""


def saved_model_class(
    config: PreTrainedConfig,
    path: str | Path,
    requirement: str,
    allowed: Sequence[type[ExtraBertPreTrainedModel]] = (*ONE_TASK, ExtraBertForMultiTask),
) -> type[ExtraBertPreTrainedModel]:
    """
    Returns the class that a saved config names under `architectures`.

    Args:
        config (`PreTrainedConfig`):
            Config of any saved model.
        path (`str` or `Path`):
            Source of the config, for the error message.
        requirement (`str`):
            Start of the error message, as in "`folder` must hold an adapter of".
        allowed (`Sequence[type]`, *optional*):
            The classes to choose from; by default all models of this package.

    Raises:
        [`InputError`]: if the config names no allowed class.
    """
    classes = {model_class.__name__: model_class for model_class in allowed}
    architecture = (config.architectures or ["no architecture"])[0]
    if not isinstance(config, ExtraBertConfig) or architecture not in classes:
        raise InputError(f"{requirement} one of {', '.join(classes)}, got {architecture} in {path}.")
    return classes[architecture]


def holds_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter in peft's format."""
    return (Path(folder) / CONFIG_FILE).is_file()


def read_config(folder: str | Path) -> ExtraBertConfig:
    """
    Reads the config beside an adapter; runs the encoder's code if it is trusted.

    Raises:
        [`InputError`]: if the config can't be read, or needs code that is not trusted.
    """
    check_code(str(folder))
    try:
        return saved_config_with_code(str(folder)) or AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # files of others
        raise InputError(f"`folder` must hold the config.json of an adapter: {one_line(error)}") from error


def read_adapter(folder: str | Path, argument: str = "folder") -> AdapterFiles:
    """
    Reads the adapter in a folder.

    Args:
        folder (`str` or `Path`):
            Folder that holds the two files of the adapter.
        argument (`str`, *optional*):
            Name of the argument in an error message.

    Raises:
        [`InputError`]: if the folder holds no adapter, or not a plain LoRA adapter.
    """
    if not (Path(folder) / WEIGHTS_FILE).is_file():
        raise InputError(
            f"`{argument}` must hold an adapter with its {WEIGHTS_FILE}, as a run with --lora true does, got {folder}."
        )
    refuse_lfs_pointers(Path(folder))
    try:
        return AdapterFiles.read(str(folder))
    except Exception as error:  # files of others
        reason = damaged_file(Path(folder)) or one_line(error)
        raise InputError(f"`{argument}` must hold a plain LoRA adapter: {reason}") from error


def load_adapter(
    folder: str | Path,
    *,
    config: ExtraBertConfig | None = None,
    resolve: Callable[[str], str] | None = None,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> ExtraBertPreTrainedModel:
    """
    Builds the model of an adapter that `save_adapter` wrote, with the adapter merged into the encoder.

    Args:
        folder (`str` or `Path`):
            Folder of the adapter.
        config ([`ExtraBertConfig`], *optional*):
            Config of the model; by default that in the folder.
        resolve (`Callable[[str], str]`, *optional*):
            Turns the name of the encoder into the folder or Hub id to load it from; by default [`find_encoder`].
        attn_implementation (`str`, *optional*):
            As in transformers.
        trust_remote_code (`bool`, defaults to `False`):
            Whether to run code of the encoder's files.

    Returns:
        [`ExtraBertPreTrainedModel`]: in float32 and evaluation mode.

    Raises:
        [`InputError`]: if `folder` holds no adapter of this package, or the encoder or the adapter lacks a weight.
    """
    adapter = read_adapter(folder)
    config = config or read_config(folder)
    model_class = saved_model_class(config, folder, "`folder` must hold an adapter of")
    encoder = find_encoder(adapter.encoder, folder) if resolve is None else resolve(adapter.encoder)
    check_code(encoder)
    try:
        return model_class.from_adapter(
            adapter,
            config,
            encoder=encoder,
            hub_arguments={"trust_remote_code": trust_remote_code},
            dtype=torch.float32,
            attn_implementation=attn_implementation,
        )
    except OSError as error:
        raise InputError(
            f"the encoder {adapter.encoder!r} of the adapter in {folder} can't be loaded: put its folder, or a link "
            f"to it, beside the adapter. {one_line(error)}"
        ) from error
    except ValueError as error:
        raise InputError(one_line(error)) from error
