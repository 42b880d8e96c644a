"""The whole benchmark, read top to bottom."""

import logging
import tempfile
from functools import partial
from statistics import median
from typing import Any

from datasets import Dataset

from extrabert_hf.allocator import keep_freed_memory
from extrabert_hf.benchmark.arguments import BenchmarkArguments
from extrabert_hf.benchmark.benchmarks import BENCHMARKS
from extrabert_hf.benchmark.contenders import Rows, Setting, our_trainer
from extrabert_hf.benchmark.flops import measure_flops
from extrabert_hf.benchmark.memory import memory_in_own_process
from extrabert_hf.benchmark.quiet import quiet_libraries
from extrabert_hf.benchmark.report import entry, other_entries, step_entries
from extrabert_hf.benchmark.rounds import rates_in_turn
from extrabert_hf.benchmark.scaling import measure_scaling
from extrabert_hf.data.loading import load_split
from extrabert_hf.machine import describe_machine
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec
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
        (ours; other packages' is their default, float32), `machine`; `others` where there are further contenders;
        `steps`, `scaling`, `flops` and `memory` (MiB by contender) where they were asked for.

    Raises:
        [`InputError`]: for data or a model that can't be used, or a peer that is not installed.
    """
    keep_freed_memory()  # as a run does; the peers have it, too
    peer_names = {name: BENCHMARKS[name].peer_name() for name in arguments.only}  # before hours of measuring
    rows = {
        name: {
            task: load_rows(PAPER_TASKS[task], arguments.data, arguments.rows, repeat=benchmark.repeats_rows)
            for task in benchmark.tasks
        }
        for name, benchmark in BENCHMARKS.items()
        if name in arguments.only
    }
    bf16, reason = choose_bf16()
    machine = describe_machine()
    precision = "bfloat16 autocast" if bf16 else "float32"
    logger.info("ours in %s (%s)", precision, reason)
    entries = []
    for name in arguments.only:
        logger.info("%s against %s", name, peer_names[name])
        with tempfile.TemporaryDirectory() as folder, quiet_libraries():
            setting = Setting(arguments.model_name_or_path, arguments.batch_size, bf16, output_dir=folder)
            measured = compare(name, setting, rows[name], arguments)
        entries.append(
            {
                **measured,
                "peer_name": peer_names[name],
                "rounds": arguments.rounds,
                "rows": min(map(len, rows[name].values())),
                "batch_size": arguments.batch_size,
                "model": arguments.model_name_or_path,
                "precision": precision,
                "machine": machine,
            }
        )
    return entries


def load_rows(task: TaskSpec, data: str, rows: int, *, repeat: bool = True) -> Dataset:
    """Gives the first `rows` train rows; where there are fewer, all, or with `repeat` from the start again."""
    train = load_split(task, data, "train").splits["train"]
    if len(train) < rows and not repeat:
        logger.info("%s: %s train rows, all there are", task.name, f"{len(train):,}")
        return train
    if len(train) < rows:
        logger.info("%s: %s train rows, repeated to make %s", task.name, f"{len(train):,}", f"{rows:,}")
    return train.select([index % len(train) for index in range(rows)])


def compare(name: str, setting: Setting, rows: Rows, arguments: BenchmarkArguments) -> dict[str, Any]:
    """Measures ours, the peer, the others and, if asked for, ours without its last steps, in turn; then the rest."""
    benchmark = BENCHMARKS[name]
    contenders = benchmark.contenders(setting)
    ladder = benchmark.steps(setting) if arguments.steps else {}
    rungs = {step: partial(our_trainer, setting, **fields) for step, fields in ladder.items() if fields}
    rates = rates_in_turn(contenders | rungs, rows, arguments.rounds, setting.batch_size, benchmark.unit)
    ours, peer = rates.pop("ours"), rates.pop("peer")
    details: dict[str, Any] = {}
    if others := {other: rates[other] for other in contenders if other in rates}:
        details["others"] = other_entries(others, peer)
    if ladder:
        details["steps"] = step_entries({step: rates.get(step, ours) for step in ladder})  # the last is ours
    if arguments.flops and benchmark.ours is our_trainer:
        details["flops"] = measure_flops(contenders["ours"], rows, median(ours), setting.bf16)
    if arguments.scaling:
        details["scaling"] = measure_scaling({who: contenders[who] for who in ("ours", "peer")}, rows)
    if arguments.memory:
        details["memory"] = {
            contender: memory_in_own_process(build, rows, setting.batch_size)
            for contender, build in contenders.items()
        }
    return entry(name, ours, peer, benchmark.unit, **details)
