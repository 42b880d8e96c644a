"""What a command shows: messages, one-line errors, and nothing of the libraries below it."""

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
    Shows the package's messages on stderr while a recipe runs; an [`InputError`] ends it in one line, with status 2.

    Of a machine's processes only the first talks. Any other exception passes through: it is a defect of ours and keeps
    its traceback.
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
    """Keeps back what these packages warn of, which no user can mend, and undoes what they do to the root log."""
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
        root.handlers[:] = handlers  # a bare `logging.info` adds one, and everything is told twice
