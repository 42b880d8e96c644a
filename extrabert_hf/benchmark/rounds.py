"""Measuring in turn, so that what slows the machine down for a while slows every contender down."""

import gc
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import PrinterCallback, Trainer

from extrabert_hf.benchmark.contenders import Rows
from extrabert_hf.benchmark.report import DECIMALS

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
