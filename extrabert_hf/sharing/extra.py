"""The packages that only an export needs."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from extrabert_hf.errors import InputError

NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "sentence_transformers", "transformers")


def need_packages(*packages: str) -> None:
    """Raises [`InputError`] for the first of `packages`, by their import names, that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"the export needs {package.replace('_', '-')}: pip install 'extrabert_hf[export]'")


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
