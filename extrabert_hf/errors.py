"""What a user can mend."""

import importlib.util
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError


class InputError(ValueError):
    """Something the user gave cannot be used: the message names it, the allowed form, and what came."""


def need_packages(what: str, extra: str, *packages: str) -> None:
    """
    Asks for packages that only a part of this one needs.

    Args:
        what (`str`):
            The part, as in "the export needs ...".
        extra (`str`):
            The extra that installs them.
        packages (`str`):
            Their import names.

    Raises:
        [`InputError`]: for the first that is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{what} needs {package.replace('_', '-')}: pip install 'extrabert_hf[{extra}]'")


def need_folder(argument: str, path: Path) -> None:
    """Makes the folder that an argument names, where it is not there; an [`InputError`] where it can't be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`{argument}` must be a folder, or one that can be made, got {path}: {error.strerror}."
        ) from error


def need_place_for_file(argument: str, path: Path) -> None:
    """Makes the folder of the file that an argument names; an [`InputError`] where no file can be written there."""
    if path.is_dir():
        raise InputError(f"`{argument}` must be a file, got the folder {path}.")
    need_folder(argument, path.parent)


def one_line(error: BaseException) -> str:
    """Returns an error's message as one line; the class name of an error without a message."""
    # a `StrictDataclassError` names only the class: its cause names the field and the reason
    told = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
    return " ".join(str(told).split()) or type(told).__name__
