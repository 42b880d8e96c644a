import warnings

import datasets
from transformers.utils import logging as transformers_logging

from benchmarks.workloads import quiet_libraries


def settings():
    return (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
        datasets.are_progress_bars_disabled(),
        len(warnings.filters),
    )


def test_what_was_set_is_put_back():
    before = settings()
    with quiet_libraries():
        assert settings() != before
        assert datasets.are_progress_bars_disabled()
    assert settings() == before
