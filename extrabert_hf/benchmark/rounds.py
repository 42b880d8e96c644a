"""Measuring in turn, so that what slows the machine down for a while slows every contender down."""

import gc
import logging
import time
from collections.abc import Callable, Mapping

from transformers import PrinterCallback, Trainer

from extrabert_hf.benchmark.contenders import Rows
from extrabert_hf.benchmark.report import DECIMALS

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 4


def rates_in_turn(
    contenders: Mapping[str, Callable[[Rows], Trainer]], rows: Rows, rounds: int, batch_size: int, unit: str = "rows/s"
) -> dict[str, list[float]]:
    """
    Trains every contender once a round, each time a fresh model, after a short training that is not counted.

    Args:
        contenders (`Mapping[str, Callable]`):
            Sets up each one's trainer on the rows given.
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
        training_seconds(build(some_rows))

    def trial(name: str) -> float:
        rate = amount / training_seconds(contenders[name](rows))
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


def training_seconds(trainer: Trainer) -> float:
    """Times `trainer.train()`: what a user waits for once model and rows are loaded."""
    trainer.remove_callback(PrinterCallback)  # it prints a summary to stdout
    gc.collect()  # the model trained before
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start
