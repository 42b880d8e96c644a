"""How the time of ours and of the peer grows: with the rows, and with the words of a sentence."""

import gc
import logging
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.utils.flop_counter import FlopCounterMode
from transformers import PrinterCallback, Trainer

from benchmarks.report import DECIMALS
from benchmarks.workloads import Rows, quiet_libraries
from extrabert_hf.machine import keep_freed_memory
from extrabert_hf.tasks import SENTENCE_COLUMNS

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 4

Work = Trainer | Callable[[], Any]
"""A trainer, whose training is the work, or what does the work when it is called."""


def rates_in_turn(
    contenders: Mapping[str, Callable[[Rows], Work]], rows: Rows, rounds: int, batch_size: int, unit: str = "rows/s"
) -> dict[str, list[float]]:
    """
    Lets every contender work once a round, each time with a fresh model, after some work that is not counted.

    Args:
        contenders (`Mapping[str, Callable]`):
            Sets up each one's work on the rows given.
        rows (`Mapping[str, Dataset]`):
            The rows of the epoch by task, as many of each.
        rounds (`int`):
            Measurements of each, 1 or more.
        batch_size (`int`):
            Rows of a task a step.
        unit (`str`, defaults to `"rows/s"`):
            What is counted, `"rows/s"` (of one task) or `"steps/s"`.

    Returns:
        `dict[str, list[float]]`: how many a second, one figure a round.
    """
    count = min(map(len, rows.values()))
    amount = {"rows/s": count, "steps/s": -(-count // batch_size)}[unit]
    some_rows = {task: some.select(range(min(WARM_UP_STEPS * batch_size, count))) for task, some in rows.items()}
    for build in contenders.values():
        seconds_of(build(some_rows))

    def trial(name: str) -> float:
        rate = amount / seconds_of(contenders[name](rows))
        logger.info("  %s: %.*f %s", name, DECIMALS[unit], rate, unit)
        return rate

    gc.collect()
    gc.freeze()  # a Trainer starts with a garbage collection, whose time would tell how much is imported here
    try:
        return in_turn(list(contenders), trial, rounds)
    finally:
        gc.unfreeze()


def in_turn(names: list[str], trial: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    """
    Makes a trial of each name in each round, in the same order.

    Example:
        >>> figures = iter(range(4))
        >>> in_turn(["ours", "peer"], lambda name: next(figures), rounds=2)
        {'ours': [0, 2], 'peer': [1, 3]}
    """
    rounds_made = [[trial(name) for name in names] for _ in range(rounds)]
    return {name: list(figures) for name, figures in zip(names, zip(*rounds_made, strict=True), strict=True)}


def seconds_of(work: Work) -> float:
    """Times a training, or another piece of work: what a user waits for once model and rows are loaded."""
    run = start_of(work)
    gc.collect()  # the model used before
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def start_of(work: Work) -> Callable[[], Any]:
    """Gives what starts a piece of work: a trainer's is `train`, without the summary that it would print."""
    if callable(work):
        return work
    work.remove_callback(PrinterCallback)
    return work.train


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


SIZE = 2048
TRIALS = 10


def measure_flops(build: Callable[[Rows], Work], rows: Rows, rate: float, bf16: bool) -> dict[str, float]:
    """
    Counts the floating-point operations of work, matrix products forward and backward, on tokens without padding.

    Args:
        build (`Callable`):
            Sets up our work, which encodes no padding.
        rows (`Mapping[str, Dataset]`):
            Of one task.
        rate (`float`):
            The rows a second that it made.
        bf16 (`bool`):
            Whether it works under bfloat16 autocast.

    Returns:
        `dict[str, float]`: in GFLOP/s `training`, `bfloat16` and `float32`, the rates of products of two square
        matrices of 2,048; and `share`, that of `training` in the rate of its precision.
    """
    counter = FlopCounterMode(display=False)
    run = start_of(build(rows))
    with counter:
        run()
    training = counter.get_total_flops() / min(map(len, rows.values())) * rate / 1e9
    products = {"bfloat16": product_rate(torch.bfloat16), "float32": product_rate(torch.float32)}
    return {"training": training, **products, "share": training / products["bfloat16" if bf16 else "float32"]}


def product_rate(dtype: torch.dtype) -> float:
    """Gives the fastest of some products of two square matrices on the device that trains, in GFLOP/s."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    left, right = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        left @ right
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(seconds) / 1e9


SHARES = (0.25, 0.5, 1.0)
"""Of the rows."""
WORDS = (8, 16, 32, 64)


def measure_scaling(contenders: Mapping[str, Callable[[Rows], Work]], rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """
    Times one piece of work of each size, contender after contender.

    Args:
        contenders (`Mapping[str, Callable]`):
            Sets up each one's work on the rows given.
        rows (`Mapping[str, Dataset]`):
            By task; a quarter of them is given sentences of a number of words.

    Returns:
        `dict`: for `"rows"` and `"words"` a list of the sizes measured, each with its size by that name and, by
        contender, its seconds.
    """

    def seconds(sized: Rows) -> dict[str, float]:
        return {name: seconds_of(build(sized)) for name, build in contenders.items()}

    def some(share: float) -> dict[str, Dataset]:
        return {task: its.select(range(max(1, int(share * len(its))))) for task, its in rows.items()}

    quarter = some(SHARES[0])
    return {
        "rows": [{"rows": len(next(iter(some(share).values()))), **seconds(some(share))} for share in SHARES],
        "words": [
            {"words": words, **seconds({task: with_words(its, words) for task, its in quarter.items()})}
            for words in WORDS
        ],
    }


def with_words(rows: Dataset, words: int) -> Dataset:
    """Gives each sentence so many words: its own, from the start again where it has fewer."""

    def stretch(row: dict[str, Any]) -> dict[str, str]:
        split = {name: row[name].split() for name in SENTENCE_COLUMNS if name in row}
        return {name: " ".join((its * -(-words // max(1, len(its))))[:words]) for name, its in split.items()}

    return rows.map(stretch)
