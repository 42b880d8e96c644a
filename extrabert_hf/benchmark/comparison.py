"""The whole benchmark, read top to bottom."""

import logging
import tempfile
from functools import partial
from typing import Any

from datasets import Dataset

from extrabert_hf.benchmark.arguments import BenchmarkArguments
from extrabert_hf.benchmark.contenders import BENCHMARKS, Setting, our_trainer
from extrabert_hf.benchmark.machine import describe_machine
from extrabert_hf.benchmark.quiet import quiet_libraries
from extrabert_hf.benchmark.report import entry, step_entries
from extrabert_hf.benchmark.rounds import rates_in_turn
from extrabert_hf.benchmark.steps import ladder
from extrabert_hf.data.loading import load_split
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.precision import choose_bf16

logger = logging.getLogger(__name__)


def run_benchmark(arguments: BenchmarkArguments) -> list[dict[str, Any]]:
    """
    Measures our trainers against their peers.

    Args:
        arguments ([`BenchmarkArguments`]):
            Which comparisons, on which rows.

    Returns:
        `list[dict]`: an [`entry`] a comparison, with `peer_name`, `rounds`, `rows`, `batch_size`, `model`, `precision`
        (ours; the peers' is their default, float32), `machine`, and `steps` where they were asked for.

    Raises:
        [`InputError`]: for data or a model that can't be used, or a peer that is not installed.
    """
    peer_names = {name: BENCHMARKS[name].peer_name() for name in arguments.only}  # before hours of measuring
    rows = {name: load_rows(BENCHMARKS[name].task, arguments.data, arguments.rows) for name in arguments.only}
    bf16, reason = choose_bf16()
    machine = describe_machine()
    precision = "bfloat16 autocast" if bf16 else "float32"
    logger.info("ours in %s (%s)", precision, reason)
    entries = []
    for name in arguments.only:
        logger.info("%s against %s", name, peer_names[name])
        with tempfile.TemporaryDirectory() as folder, quiet_libraries():
            setting = Setting(
                BENCHMARKS[name].task, arguments.model_name_or_path, arguments.batch_size, bf16, output_dir=folder
            )
            measured = compare(name, setting, rows[name], arguments.rounds, with_steps=arguments.steps)
        entries.append(
            {
                **measured,
                "peer_name": peer_names[name],
                "rounds": arguments.rounds,
                "rows": arguments.rows,
                "batch_size": arguments.batch_size,
                "model": arguments.model_name_or_path,
                "precision": precision,
                "machine": machine,
            }
        )
    return entries


def load_rows(task: TaskSpec, data: str, rows: int) -> Dataset:
    """Gives the first `rows` train rows, from the start again where there are fewer."""
    train = load_split(task, data, "train").splits["train"]
    if len(train) < rows:
        logger.info("%s: %s train rows, repeated to make %s", task.name, f"{len(train):,}", f"{rows:,}")
    return train.select([index % len(train) for index in range(rows)])


def compare(name: str, setting: Setting, rows: Dataset, rounds: int, *, with_steps: bool) -> dict[str, Any]:
    """Measures ours, the peer and, if asked for, ours without its last steps, in turn."""
    contenders = {"ours": partial(our_trainer, setting), "peer": partial(BENCHMARKS[name].peer, setting)}
    *steps, shipped = ladder(setting.task, setting.bf16).items()
    if with_steps:
        contenders |= {step: partial(our_trainer, setting, **fields) for step, fields in steps}
    rates = rates_in_turn(contenders, rows, rounds, setting.batch_size)
    ours, peer = rates.pop("ours"), rates.pop("peer")
    if not with_steps:
        return entry(name, ours, peer)
    return entry(name, ours, peer, steps=step_entries({**rates, shipped[0]: ours}))
