"""Python code of an encoder's repository, which `trust_remote_code=True` runs, in the files of a saved model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.dynamic_module_utils import custom_object_save, get_class_from_dynamic_module
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CODE_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""The arguments of `from_pretrained` for the download of code."""


def is_own_code(loaded: type) -> bool:
    """Whether a class is from a repository's code."""
    return loaded.__module__.startswith(f"{TRANSFORMERS_DYNAMIC_MODULE_NAME}.")


def name_code(encoder: "PreTrainedModel") -> None:
    """
    Lets the config of an encoder name the files that [`save_code`] writes; no code for an installed encoder.

    Raises:
        `ValueError`: if the encoder's code has no config class of its own.
    """
    classes = {"AutoConfig": type(encoder.config), "AutoModel": type(encoder)}
    if not is_own_code(type(encoder)):
        vars(encoder.config).pop("auto_map", None)
        return
    if not is_own_code(type(encoder.config)):
        raise ValueError("the encoder's code must have a config class of its own, named in `auto_map`.")
    encoder.config.auto_map = {
        name: f"{loaded.__module__.rpartition('.')[2]}.{loaded.__name__}" for name, loaded in classes.items()
    }


def save_code(encoder: "PreTrainedModel", folder: str | Path) -> None:
    """Copies the code of an encoder that was loaded with `trust_remote_code=True`; an installed encoder has none."""
    for part in (encoder, encoder.config):
        if is_own_code(type(part)):
            custom_object_save(part, folder)


def needed_code(fields: Mapping[str, Any]) -> str | None:
    """Returns the config class that the saved config of an encoder needs, as `module.Class`; `None` if installed."""
    auto_map, model_type = fields.get("auto_map"), fields.get("model_type")
    reference = auto_map.get("AutoConfig") if isinstance(auto_map, Mapping) else None
    installed = CONFIG_MAPPING[model_type].__name__ if model_type in CONFIG_MAPPING else None
    return None if reference is None or str(reference).rpartition(".")[2] == installed else str(reference)


def run_code(fields: Mapping[str, Any], name: str | Path, **kwargs: Any) -> Mapping[str, Any] | PreTrainedConfig:
    """
    Runs the code of an encoder, and registers its model class with `AutoModel`. To be called for trusted code only.

    Args:
        fields (`Mapping[str, Any]`):
            The saved config of the encoder.
        name (`str` or `Path`):
            Folder or Hub id of the model, whose files have the code.
        kwargs:
            Arguments of `from_pretrained`. Those in [`CODE_ARGUMENTS`] are used.

    Returns:
        `PreTrainedConfig`: the encoder's config; `fields` for an encoder without code of its own.
    """
    if needed_code(fields) is None:
        return fields
    from transformers import AutoModel  # the config is imported before the models are

    fetching = {key: value for key, value in kwargs.items() if key in CODE_ARGUMENTS}
    config_class, model_class = (
        get_class_from_dynamic_module(fields["auto_map"][auto_class], str(name), **fetching)
        for auto_class in ("AutoConfig", "AutoModel")
    )
    AutoModel.register(config_class, model_class, exist_ok=True)
    return config_class.from_dict(dict(fields))


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raises `ValueError` if the saved config of an encoder can't be read, or needs code that was not run."""
    if "model_type" not in fields:
        raise ValueError("`backbone_config` must have a `model_type` ('bert', 'roberta', ...), got none.")
    if (reference := needed_code(fields)) is not None:
        raise ValueError(
            f"the encoder needs Python code of the model's files ({reference}), which is not run. To run it, load the "
            "model with `load_model` of extrabert_hf.pretrained.loading in a `with trusted_code():` block, or with "
            "trust_remote_code=True where extrabert_hf is not installed."
        )
    if fields["model_type"] not in CONFIG_MAPPING:
        raise ValueError(
            f"`backbone_config` must have a `model_type` that transformers has, got {fields['model_type']!r}."
        )


def without_folders(name: str) -> str:
    """Returns the last part of a path; a Hub id is unchanged."""
    name = str(name or "")
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or Path(name).is_dir()
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else name
