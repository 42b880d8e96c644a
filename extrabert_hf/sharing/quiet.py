"""Keeps the notes of the packages that an export needs off the terminal."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
