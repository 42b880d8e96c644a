"""The most memory that work takes, measured in a process of its own: one that has trained before keeps some."""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from extrabert_hf.allocator import keep_freed_memory
from extrabert_hf.benchmark.contenders import Rows
from extrabert_hf.benchmark.quiet import quiet_libraries
from extrabert_hf.benchmark.rounds import Work, start_of
from extrabert_hf.tasks import SENTENCE_COLUMNS

STATUS = Path("/proc/self/status")
STEPS = 3
"""The optimizer's state is there from the first step on; what is freed and taken again settles in the next."""


def can_measure_memory() -> bool:
    """Whether there is CUDA, which keeps count itself, or Linux, which does so for a process."""
    return torch.cuda.is_available() or STATUS.is_file()


def memory_in_own_process(build: Callable[[Rows], Work], rows: Rows, batch_size: int) -> float:
    """
    Lets a contender work on some batches of the longest rows in a process of its own.

    Args:
        build (`Callable`):
            Sets up the work; what a new process can import.
        rows (`Mapping[str, Dataset]`):
            Rows by task.
        batch_size (`int`):
            Rows a step.

    Returns:
        `float`: MiB at the peak above what was held before it, when model and rows were loaded.
    """
    longest = {task: longest_rows(some, batch_size) for task, some in rows.items()}
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(memory_of_work, build, longest).result()


def longest_rows(rows: Dataset, batch_size: int) -> Dataset:
    """Gives the `batch_size` rows with the longest sentences, by characters, for each of some steps."""
    columns = [rows[name] for name in SENTENCE_COLUMNS if name in rows.column_names]
    lengths = [max(map(len, sentences)) for sentences in zip(*columns, strict=True)]
    return rows.select(np.tile(np.argsort(lengths)[::-1][:batch_size], STEPS))


def memory_of_work(build: Callable[[Rows], Work], rows: Rows) -> float:
    """Works once, in this process; gives what [`memory_in_own_process`] does."""
    keep_freed_memory()
    with quiet_libraries():
        run = start_of(build(rows))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        before = _resident_mib("VmRSS")
        run()
        return _resident_mib("VmHWM") - before  # `ru_maxrss` would hold the starting process's peak too


def _resident_mib(field: str) -> float:
    """`VmRSS` of this process, now, or `VmHWM`, its highest so far (proc_pid_status(5))."""
    return int(re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)[1]) / 1024
