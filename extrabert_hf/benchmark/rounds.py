"""Measuring in turn, so that what slows the machine down for a while slows every contender down."""

import gc
import logging
import time
from collections.abc import Callable, Mapping

from datasets import Dataset
from transformers import PrinterCallback, Trainer

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 4


def rates_in_turn(
    contenders: Mapping[str, Callable[[Dataset], Trainer]], rows: Dataset, rounds: int, batch_size: int
) -> dict[str, list[float]]:
    """
    Trains every contender once a round, each time a fresh model, after a short training that is not counted.

    Args:
        contenders (`Mapping[str, Callable]`):
            Sets up each one's trainer on the rows given.
        rows (`Dataset`):
            The rows of the epoch.
        rounds (`int`):
            Measurements of each, 1 or more.
        batch_size (`int`):
            Rows a step, for the warm-up.

    Returns:
        `dict[str, list[float]]`: rows a second, one figure a round.
    """
    some_rows = rows.select(range(min(WARM_UP_STEPS * batch_size, len(rows))))
    for build in contenders.values():
        training_seconds(build(some_rows))

    def trial(name: str) -> float:
        rate = len(rows) / training_seconds(contenders[name](rows))
        logger.info("  %s: %.1f rows/s", name, rate)
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
