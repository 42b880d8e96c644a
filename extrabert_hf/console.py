"""The terminal output of a command: messages and one-line errors of this package, without messages of libraries."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from extrabert_hf.errors import InputError


@contextmanager
def recipe_console() -> Iterator[None]:
    """
    Shows the package's log on stderr while a recipe runs. An [`InputError`] ends it with one line and status 2.

    Only the first process of a machine shows messages. Other exceptions are defects of this package and are shown with
    the traceback.
    """
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    package = logging.getLogger("extrabert_hf")
    level_before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO if is_first else logging.ERROR)
    format_before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        yield
    except InputError as error:
        if is_first:
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    finally:
        warnings.formatwarning = format_before
        package.removeHandler(handler)
        package.setLevel(level_before)


NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "sentence_transformers", "transformers")


@contextmanager
def quiet_packages() -> Iterator[None]:
    """Hides warnings of [`NOISY`] packages, which a user cannot act on, and restores the root logger afterwards."""
    root = logging.getLogger()
    handlers, loggers = list(root.handlers), [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        root.handlers[:] = handlers  # a call of `logging.info` adds a handler, which would repeat each message


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
    limit = None if length is None else 4 * length  # the rest cannot be shown: do not read it
    words = " ".join(text[:limit].split())
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
    is_whole = length is None or (len(shown) <= length and len(text) <= limit)
    return shown if is_whole else f"{shown[: length - 1]}…"
