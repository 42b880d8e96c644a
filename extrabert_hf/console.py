"""The terminal output of a command: messages and one-line errors of this package, without messages of libraries."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from extrabert_hf.errors import InputError, printable, without_secrets


class _MessageFormatter(logging.Formatter):
    """Shows a message without secrets and without characters that control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(without_secrets(super().format(record)))


@contextmanager
def recipe_console() -> Iterator[None]:
    """
    Shows the package's log on stderr while a recipe runs. An [`InputError`] ends it with one line and status 2.

    Only the first process of a machine shows messages. Other exceptions are defects of this package and are shown with
    the traceback.
    """
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_MessageFormatter("%(message)s"))
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
