"""
Measures this package on one GPU beside other libraries; `benchmarks/gpu.sh` runs it.

    python -m benchmarks.gpu path/to/minilm path/to/cs224n/data gpu.json

A measurement that fails does not end the others: its error is in the JSON file and in the log, and the exit status is
1. The JSON file is written after each measurement. No measurement starts after `--seconds`.
"""

import argparse
import logging
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_checks import check_precision, compare_surgery, measure_correctness
from benchmarks.gpu_measures import (
    Bench,
    Measure,
    free_memory,
    measure_machine,
    scoring_measures,
    surgery_measures,
    training_measures,
)
from benchmarks.workloads import quiet_libraries
from extrabert_hf.files import write_json
from extrabert_hf.machine import keep_freed_memory

LONGEST = 40
"""Seconds after which a single measurement is stopped, so that one that hangs does not take the time of all others."""
SHARES = ((0.4, 0.55, 0.6), (0.8, 0.9, 0.93), (0.97, 0.99, 1.0))
"""Of the first, second and further encoders: `Stage.until` of training, scoring and surgery."""


@dataclass(frozen=True)
class Stage:
    """
    Measurements of one section that follow each other.

    Args:
        section (`str`):
            Name in the JSON file.
        until (`float`):
            Share of all seconds after which no measurement of the stage starts, 0 to 1. The rest of the stage is
            measured after the last stage, if time is left.
        measures (`Mapping[str, Callable]`):
            By name, the functions that measure.
    """

    section: str
    until: float
    measures: Mapping[str, Measure]


def stages_of(bench: Bench, encoders: Sequence[str]) -> list[Stage]:
    """Returns the stages in order of importance, for MiniLM and then for encoders of base size."""
    correctness: dict[str, Measure] = {
        f"{encoder} {task}": partial(measure_correctness, bench, encoder, task)
        for encoder in dict.fromkeys(("minilm", "mpnet-base", *encoders))
        for task in (("sts", "sst") if encoder == "minilm" else ("sts",))
        if encoder in encoders
    }
    surgery: dict[str, Measure] = {
        "update, labels -20": partial(compare_surgery, bench, -20.0),
        "update, labels +20": partial(compare_surgery, bench, 20.0),
        "fp16": partial(check_precision, bench, fp16=True),
        "bf16": partial(check_precision, bench, bf16=True),
    }
    stages = [
        Stage("machine", 1.0, {"machine": partial(measure_machine, bench)}),
        Stage("correctness", 1.0, correctness),
        Stage("surgery", 1.0, surgery),
    ]
    for number, encoder in enumerate(encoders):
        trained, scored, combined = SHARES[min(number, len(SHARES) - 1)]
        training = training_measures(bench, encoder, ("sts", "sst", "para"), (16, 64)) | training_measures(
            bench, encoder, ("sts",), (256,)
        )
        stages += [
            Stage("training", trained, training),
            Stage("scoring", scored, scoring_measures(bench, encoder)),
            Stage("surgery", combined, surgery_measures(bench, encoder, (16, 64))),
        ]
    return stages


class Results:
    """
    The JSON file: by section and name, what was measured, `{"error": ...}`, or `{"not_started": ...}`.

    Args:
        path (`Path`):
            The file. It is written after each measurement.
        seconds (`float`):
            Seconds after which no measurement starts.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path, self.seconds, self.start = path, seconds, time.monotonic()
        self.found: dict[str, dict[str, Any]] = {}

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def failed(self) -> list[str]:
        """Sections and names of the measurements that ended in an error."""
        return [
            f"{section}: {name}"
            for section, entries in self.found.items()
            for name in entries
            if "error" in entries[name]
        ]

    def put(self, section: str, name: str, entry: Mapping[str, Any]) -> None:
        """Adds an entry, prints it, and writes the file."""
        self.found.setdefault(section, {})[name] = dict(entry)
        print(f"{self.spent:6.1f} s  {section}: {name}: {described(entry)}", flush=True)  # noqa: T201
        write_json(self.path, {**self.found, "seconds": round(self.spent, 1)})

    def measure(self, section: str, name: str, measure: Measure) -> None:
        """Measures once; an error is written and printed, and the exit status will be 1."""
        start = self.spent
        try:
            free_memory()
            with quiet_libraries(), stopped_after(LONGEST):
                entry = measure()
        except Exception as error:  # of any library: the other measurements go on
            traceback.print_exc()
            entry = {"error": traceback.format_exception_only(error)[-1].strip(), "at": place_of(error)}
        self.put(section, name, {**entry, "seconds": round(self.spent - start, 2)})

    def run(self, stages: Sequence[Stage]) -> None:
        """Measures all stages, each up to its share of the time, and then what is left of them."""
        left = []
        for stage in stages:
            for name, measure in stage.measures.items():
                if self.spent > stage.until * self.seconds:
                    left.append((stage.section, name, measure))
                else:
                    self.measure(stage.section, name, measure)
        for section, name, measure in left:
            if self.spent > self.seconds:
                self.put(section, name, {"not_started": f"after {self.seconds:g} seconds"})
            else:
                self.measure(section, name, measure)


@contextmanager
def stopped_after(seconds: int) -> Iterator[None]:
    """Raises `TimeoutError` in the block after a number of seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def place_of(error: Exception) -> str:
    """Returns file, line and function of the innermost frame of an error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"


def described(entry: Mapping[str, Any]) -> str:
    """Returns the entry's figures in one line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in entry.items()
    )


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Returns the rates of training, scoring and surgery as a table in Markdown."""
    lines = ["| work | steps/s or pairs/s | real tokens/s | share of the product | peak MiB |", "| --- " * 5 + "|"]
    for section in ("training", "surgery", "scoring"):
        for name, entry in found.get(section, {}).items():
            rate = entry.get("steps_per_second", entry.get("pairs_per_second"))
            if rate is None:
                continue
            tokens, share, peak = (entry.get(key) for key in ("tokens_per_second", "share", "peak_mib"))
            cells = [
                f"{rate:,.1f}",
                "" if tokens is None else f"{tokens:,.0f}",
                "" if share is None else f"{share:.1%}",
                "" if peak is None else f"{peak:,.0f}",
            ]
            lines.append(f"| {section} {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Measures everything, writes the JSON file and prints the table; returns 1 if a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minilm", help="folder of `benchmarks/gpu.sh pack`")
    parser.add_argument("data", help="folder with the files of the tasks, or 'sample'")
    parser.add_argument("output", type=Path, help="JSON file of the results")
    parser.add_argument("--seconds", type=float, default=200.0, help="no measurement starts after so many seconds")
    parser.add_argument("--steps", type=int, default=40, help="training steps of one measurement")
    parser.add_argument("--warm_up", type=int, default=10, help="training steps before these")
    parser.add_argument("--rows", type=int, default=16384, help="pairs that MiniLM scores; half of them at base size")
    parser.add_argument("--encoders", nargs="+", default=["minilm", "bert-base", "mpnet-base"])
    parser.add_argument("--only", nargs="+", help="sections; all by default")
    arguments = parser.parse_args(words)
    if min(arguments.steps, arguments.warm_up, arguments.rows) < 1:
        parser.error("--steps, --warm_up and --rows must be 1 or more")
    logging.getLogger("extrabert_hf").setLevel(logging.WARNING)
    keep_freed_memory()
    results = Results(arguments.output, arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            arguments.minilm,
            arguments.data,
            Path(folder),
            steps=arguments.steps,
            warm_up=arguments.warm_up,
            pairs=arguments.rows,
        )
        stages = stages_of(bench, arguments.encoders)
        results.run([stage for stage in stages if arguments.only is None or stage.section in arguments.only])
    print(table(results.found))  # noqa: T201
    if results.failed:
        print("FAILED:", *results.failed, sep="\n  ", file=sys.stderr)  # noqa: T201
    return int(bool(results.failed))


if __name__ == "__main__":
    sys.exit(main())
