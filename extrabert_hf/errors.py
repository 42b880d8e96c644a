"""The error for wrong input of a user, functions that raise it, and text that is safe to show."""

import difflib
import errno
import importlib.util
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LONGEST_MESSAGE = 1500
"""Number of characters of the longest message. A longer message loses its middle, which is a value."""

SECRETS = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)|\bhf_[A-Za-z0-9]{20,}")
"""User and password in a URL, and a token of the Hub."""

CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of characters that a terminal does not show as they are."""


class InputError(ValueError):
    r"""
    Input of a user that cannot be used. The message names the argument, the allowed form, and the value.

    The message is one line of at most [`LONGEST_MESSAGE`] characters that a terminal can show, without secrets.

    Example:
        >>> InputError("`data` must be a file,\ngot https://me:secret@host/a.csv.")
        InputError('`data` must be a file, got https://...@host/a.csv.')
    """

    def __init__(self, message: object = "") -> None:
        text = without_secrets(str(message))
        if len(text) > LONGEST_MESSAGE:  # the start names the argument, the end says what to do
            text = f"{text[: LONGEST_MESSAGE - 505]} ... {text[-500:]}"
        super().__init__(escape_controls(" ".join(re.split(r"[\r\n\t]+", text))))


def without_secrets(text: str) -> str:
    """Replaces tokens of the Hub, and the user and the password in a URL, by dots."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(variable):
            text = text.replace(token, "...")
    return SECRETS.sub("...", text)


def escape_controls(text: str) -> str:
    r"""
    Escapes the characters that control a terminal or the direction of text; line breaks and tabs stay.

    Example:
        >>> escape_controls("red: \x1b[31m") == r"red: \x1b[31m"
        True
    """
    if text.isprintable():
        return text
    shown = (char in "\n\t" or unicodedata.category(char) not in CONTROL for char in text)
    return "".join(char if is_shown else ascii(char)[1:-1] for char, is_shown in zip(text, shown, strict=True))


def shorten(text: str, length: int = 200) -> str:
    """Cuts a text to `length` characters; a text that is cut ends with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def printable(text: str, length: int | None = None) -> str:
    r"""
    Returns a text on one line without characters that are invisible or change the direction of the text.

    Args:
        text (`str`):
            Any text.
        length (`int`, *optional*):
            Maximum number of characters; a text that is cut ends with an ellipsis.

    Example:
        >>> printable("two\n lines, a bell \x07"), printable("a long name", 6)
        ('two lines, a bell \\x07', 'a lon…')
    """
    limit = len(text) if length is None else 4 * length  # the rest cannot be shown: do not read it
    words = " ".join(text[:limit].split())
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
    is_whole = length is None or (len(shown) <= length and len(text) <= limit)
    return shown if is_whole else f"{shown[: length - 1]}…"


def one_line(error: BaseException) -> str:
    r"""
    Returns the message of an exception on one line.

    For an error of a config's field (huggingface_hub's `StrictDataclassError`) the result is the message of the cause,
    which names the allowed values. For an exception without a message, the result is the name of the class.

    Example:
        >>> one_line(OSError("no such model:\n  'bert'")), one_line(KeyError())
        ("no such model: 'bert'", 'KeyError')
    """
    from huggingface_hub.errors import StrictDataclassError  # takes longer to import than this package's commands

    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def did_you_mean(typed: Any, known: Iterable[str]) -> str:
    """
    Returns the end of a message: the known name that is nearest to the typed one, or an empty text.

    Example:
        >>> did_you_mean("poling", ["pooling", "data"]), did_you_mean("zzz", ["pooling", "data"])
        (' Did you mean `pooling`?', '')
    """
    near = difflib.get_close_matches(str(typed), list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""


def missing_package(what: str, extra: str, package: str) -> InputError:
    """
    Makes the error for an optional package that is not installed.

    Args:
        what (`str`):
            The feature that needs the package, such as "the export".
        extra (`str`):
            The extra of `extrabert_hf` that installs the package.
        package (`str`):
            Import name of the package.

    Example:
        >>> missing_package("the export", "export", "onnx")
        InputError("the export needs onnx: pip install 'extrabert_hf[export]'")
    """
    return InputError(f"{what} needs {package.replace('_', '-')}: pip install 'extrabert_hf[{extra}]'")


def is_installed(module: str) -> bool:
    """Whether a module, also one in a package, can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def need_packages(what: str, extra: str, *packages: str) -> None:
    """Raises [`missing_package`] for the first of `packages` that is not installed."""
    for package in packages:
        if not is_installed(package):
            raise missing_package(what, extra, package)


def refuse_file(argument: str, path: Path) -> None:
    """Raises an [`InputError`] if the path of a folder is a file."""
    if path.exists() and not path.is_dir():
        raise InputError(f"`{argument}` must be a folder, got the file {path}.")


def need_folder(argument: str, path: Path) -> None:
    """Creates the folder that an argument names; raises an [`InputError`] if it cannot be created."""
    refuse_file(argument, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"`{argument}` must be a folder that exists or can be created, got {path}: {error.strerror}."
        ) from error


def need_place_for_file(argument: str, path: Path) -> None:
    """Creates the parent folder of the file that an argument names; raises an [`InputError`] if that fails."""
    if path.is_dir():
        raise InputError(f"`{argument}` must be a file, got the folder {path}.")
    need_folder(argument, path.parent)


FILE_SYSTEM_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMFILE, errno.ENFILE),
)
"""Errors of the disk, of permissions and of paths. Others, such as a missing file, may be defects of this package."""


FULL_DISK = ("database or disk is full", "[enforce fail at inline_container", "basic_ios::clear: iostream error")
"""Messages on a full disk of SQLite and of `torch.save`, without the number of the error."""


def file_system_errno(error: BaseException) -> int | None:
    """Returns the number of an error of [`FILE_SYSTEM_ERRORS`], also of a library that is not written in Python."""
    number = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # Rust: safetensors, tokenizers
        number = int(found[1])
    elif any(text in str(error) for text in FULL_DISK):
        number = errno.ENOSPC
    return number if number in FILE_SYSTEM_ERRORS else None


def file_system_error(error: BaseException) -> str | None:
    """
    Describes an error of the file system, or one with such a cause, in one line; `None` for other errors.

    Example:
        >>> file_system_error(OSError(28, "No space left on device", "run/model.safetensors"))
        'No space left on device: run/model.safetensors'
    """
    for cause in causes(error):
        number = file_system_errno(cause)
        if number is not None:
            name = (cause.filename2 or cause.filename) if isinstance(cause, OSError) else None
            return os.strerror(number) + ("" if name is None else f": {os.fsdecode(name)}")
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception, then the one that caused it or during whose handling it was raised, and so on."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__
