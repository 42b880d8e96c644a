"""Keeps progress bars and notes of the libraries off the terminal while the clock runs."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silences transformers, datasets and sentence-transformers, all but errors, and puts back what was set."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    data_bars = not datasets.are_progress_bars_disabled()
    sentence_transformers = logging.getLogger("sentence_transformers")
    level = sentence_transformers.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    sentence_transformers.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'pin_memory' argument is set as true")  # every trainer's default
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        sentence_transformers.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
        if data_bars:
            datasets.enable_progress_bars()
