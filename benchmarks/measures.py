"""The measurements: rates of contenders in turn, seconds at several sizes, operations a second, peak memory."""

import gc
import logging
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import PrinterCallback

from benchmarks.workloads import Contender, Rows, Work, device_of_work, quiet_libraries
from extrabert_hf.machine import keep_freed_memory
from extrabert_hf.tasks import SENTENCE_COLUMNS

logger = logging.getLogger(f"extrabert_hf.{__name__}")  # `command_console` shows the messages of this package

DECIMALS = {"rows/s": 1, "steps/s": 3}
"""Unit of a rate -> the decimals that are shown."""

WARM_UP_STEPS = 4


def rates_in_turn(
    contenders: Mapping[str, Contender], rows: Rows, rounds: int, batch_size: int, unit: str = "rows/s"
) -> dict[str, list[float]]:
    """
    Measures the rate of every contender once in each round, each time with a new model.

    Before the first round every contender works on a few rows, without being measured.

    Args:
        contenders (`Mapping[str, Callable]`):
            By name, the function that sets up the work of a contender.
        rows (`Mapping[str, Dataset]`):
            Rows by task, the same number for each task.
        rounds (`int`):
            Measurements of each contender, 1 or more.
        batch_size (`int`):
            Rows of a task in a training step.
        unit (`str`, defaults to `"rows/s"`):
            `"rows/s"`, rows of one task a second, or `"steps/s"`, training steps a second.

    Returns:
        `dict[str, list[float]]`: by contender, one rate per round.
    """
    count = min(map(len, rows.values()))
    amount = {"rows/s": count, "steps/s": -(-count // batch_size)}[unit]
    first_rows = {task: split.select(range(min(WARM_UP_STEPS * batch_size, count))) for task, split in rows.items()}
    for build in contenders.values():
        seconds_of(build(first_rows))

    def measure(name: str) -> float:
        rate = amount / seconds_of(contenders[name](rows))
        logger.info("  %s: %.*f %s", name, DECIMALS[unit], rate, unit)
        return rate

    gc.collect()
    gc.freeze()  # the Trainer starts with a garbage collection, which takes longer the more modules are imported
    try:
        return in_turn(list(contenders), measure, rounds)
    finally:
        gc.unfreeze()


def in_turn(names: list[str], measure: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    """
    Calls `measure` with every name once in each round, always in the same order.

    Example:
        >>> figures = iter(range(4))
        >>> in_turn(["ours", "peer"], lambda name: next(figures), rounds=2)
        {'ours': [0, 2], 'peer': [1, 3]}
    """
    measured = [[measure(name) for name in names] for _ in range(rounds)]
    return {name: list(figures) for name, figures in zip(names, zip(*measured, strict=True), strict=True)}


def seconds_of(work: Work) -> float:
    """Returns the seconds that work takes; the time to load the model and the rows is not counted."""
    run = function_of(work)
    gc.collect()  # frees the model of the measurement before
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def function_of(work: Work) -> Callable[[], Any]:
    """Returns the function that does the work: `train` of a trainer, without the summary that it prints."""
    if callable(work):
        return work
    work.remove_callback(PrinterCallback)
    return work.train


SHARES_OF_ROWS = (0.25, 0.5, 1.0)
WORDS_OF_SENTENCES = (8, 16, 32, 64)


@dataclass(frozen=True)
class TimesForRows:
    """
    Seconds of one piece of work on a number of rows.

    Args:
        rows (`int`):
            Rows of a task.
        ours, peer (`float`):
            Seconds of this package and of the library that it is compared with.
    """

    rows: int
    ours: float
    peer: float


@dataclass(frozen=True)
class TimesForWords:
    """
    Seconds of one piece of work on sentences of a number of words.

    Args:
        words (`int`):
            Words of every sentence.
        ours, peer (`float`):
            Seconds of this package and of the library that it is compared with.
    """

    words: int
    ours: float
    peer: float


@dataclass(frozen=True)
class Scaling:
    """
    How seconds grow with the size of the work.

    Args:
        rows (`list[TimesForRows]`):
            From few rows to many.
        words (`list[TimesForWords]`):
            From short sentences to long ones.
    """

    rows: list[TimesForRows]
    words: list[TimesForWords]


def measure_scaling(contenders: Mapping[str, Contender], rows: Rows) -> Scaling:
    """
    Measures the seconds of one piece of work at each size, one contender after the other.

    Args:
        contenders (`Mapping[str, Callable]`):
            The functions that set up the work of `"ours"` and of `"peer"`.
        rows (`Mapping[str, Dataset]`):
            Rows by task. A quarter of them is used to measure sentences of a given number of words.
    """

    def seconds(sized_rows: Rows) -> dict[str, float]:
        return {name: seconds_of(build(sized_rows)) for name, build in contenders.items()}

    parts = [
        {task: split.select(range(max(1, int(share * len(split))))) for task, split in rows.items()}
        for share in SHARES_OF_ROWS
    ]
    by_rows = [TimesForRows(len(next(iter(part.values()))), **seconds(part)) for part in parts]
    by_words = [
        TimesForWords(words, **seconds({task: with_words(split, words) for task, split in parts[0].items()}))
        for words in WORDS_OF_SENTENCES
    ]
    return Scaling(by_rows, by_words)


def with_words(rows: Dataset, words: int) -> Dataset:
    """Cuts or repeats each sentence so that it has exactly `words` words."""

    def resize(row: dict[str, Any]) -> dict[str, str]:
        sentences = {name: row[name].split() for name in SENTENCE_COLUMNS if name in row}
        return {
            name: " ".join((sentence * -(-words // max(1, len(sentence))))[:words])
            for name, sentence in sentences.items()
        }

    return rows.map(resize)


MATMUL_SIZE = 2048
MATMUL_TRIALS = 10


@dataclass(frozen=True)
class FlopRates:
    """
    Floating-point operations a second, in GFLOP/s.

    Args:
        training (`float`):
            Of training, counted over the matrix products of forward and backward.
        bfloat16, float32 (`float`):
            Of a product of two square matrices in that type.
        share (`float`):
            `training` as a share of the matrix product in the same precision, 0 to 1.
    """

    training: float
    bfloat16: float
    float32: float
    share: float


def measure_flops(build: Contender, rows: Rows, rate: float, bf16: bool) -> FlopRates:
    """
    Counts the floating-point operations of work, on tokens without padding.

    Args:
        build (`Callable`):
            Sets up the work of this package, which encodes without padding.
        rows (`Mapping[str, Dataset]`):
            Rows of one task.
        rate (`float`):
            Measured rows a second of the same work.
        bf16 (`bool`):
            Whether the work runs under bfloat16 autocast.
    """
    counter = FlopCounterMode(display=False)
    run = function_of(build(rows))
    with counter:
        run()
    training = counter.get_total_flops() / min(map(len, rows.values())) * rate / 1e9
    bfloat16, float32 = matmul_rate(torch.bfloat16), matmul_rate(torch.float32)
    return FlopRates(training, bfloat16, float32, share=training / (bfloat16 if bf16 else float32))


def matmul_rate(dtype: torch.dtype, size: int = MATMUL_SIZE) -> float:
    """Returns the GFLOP/s of the fastest of several products of two square matrices, on the device that trains."""
    device = device_of_work()
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(MATMUL_TRIALS):
        start = time.perf_counter()
        left @ right
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9


PROCESS_STATUS = Path("/proc/self/status")
MEMORY_STEPS = 3
"""The optimizer's state exists from the first step on; what the allocator reuses settles in the next step."""


def can_measure_memory() -> bool:
    """Whether peak memory can be measured: CUDA counts it, and Linux counts it for each process."""
    return torch.cuda.is_available() or PROCESS_STATUS.is_file()


def memory_in_own_process(build: Contender, rows: Rows, batch_size: int) -> float:
    """
    Measures the peak memory of a contender's work on batches of the longest rows, in a new process.

    Args:
        build (`Callable`):
            Sets up the work; the new process must be able to import it.
        rows (`Mapping[str, Dataset]`):
            Rows by task.
        batch_size (`int`):
            Rows of a task in a training step.

    Returns:
        `float`: MiB at the peak, minus the MiB that were in use when model and rows were loaded.
    """
    longest = {task: longest_rows(split, batch_size) for task, split in rows.items()}
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(memory_of_work, build, longest).result()


def longest_rows(rows: Dataset, batch_size: int) -> Dataset:
    """Returns the `batch_size` rows with the longest sentence in characters, repeated for each of several steps."""
    columns = [rows[name] for name in SENTENCE_COLUMNS if name in rows.column_names]
    lengths = [max(map(len, sentences)) for sentences in zip(*columns, strict=True)]
    return rows.select(np.tile(np.argsort(lengths)[::-1][:batch_size], MEMORY_STEPS))


def memory_of_work(build: Contender, rows: Rows) -> float:
    """Does the work once in this process; returns the result of [`memory_in_own_process`]."""
    keep_freed_memory()
    with quiet_libraries():
        run = function_of(build(rows))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return (torch.cuda.max_memory_allocated() - before) / 2**20
        before = _resident_mib("VmRSS")
        run()
        return _resident_mib("VmHWM") - before  # `ru_maxrss` would include the peak of the parent process


def _resident_mib(field: str) -> float:
    """MiB of this process in RAM: `VmRSS` now, `VmHWM` at the peak (proc_pid_status(5))."""
    return int(re.search(rf"^{field}:\s*(\d+) kB$", PROCESS_STATUS.read_text(), re.MULTILINE)[1]) / 1024
