"""What is compared with what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from benchmarks.measures import Work
from benchmarks.surgery import mean_backward, other_ways, surgery_trainer
from benchmarks.workloads import (
    Rows,
    Setting,
    our_scoring,
    our_trainer,
    sentence_transformers_scoring,
    sentence_transformers_trainer,
    transformers_trainer,
)
from extrabert_hf.errors import need_packages
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

WITHOUT: dict[str, dict[str, Any]] = {
    "one forward of both sentences": {"two_forwards": True},
    "length buckets": {"length_buckets": False},
    "no padding": {"unpad": False},
    "bfloat16 autocast": {"bf16": False},
    "fused AdamW": {"optim": "adamw_torch"},
}
"""What each step brings -> what [`our_trainer`] is told to do without it."""


def ladder(task: TaskSpec, bf16: bool) -> dict[str, dict[str, Any]]:
    """
    Lays out the steps, each with those before it; the first is plain, the last is ours as shipped.

    Args:
        task ([`TaskSpec`]):
            One forward of both sentences is a step for pairs only.
        bf16 (`bool`):
            Whether ours trains under bfloat16 autocast on this machine; if not it is no step.

    Returns:
        `dict[str, dict]`: the keyword arguments of [`our_trainer`] by step.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> for step, fields in ladder(PAPER_TASKS["sst"], bf16=False).items():
        ...     print(step, fields)
        plain {'length_buckets': False, 'unpad': False, 'optim': 'adamw_torch'}
        + length buckets {'unpad': False, 'optim': 'adamw_torch'}
        + no padding {'optim': 'adamw_torch'}
        + fused AdamW {}
    """
    taken = {"one forward of both sentences": task.is_pair, "bfloat16 autocast": bf16}
    steps = [step for step in WITHOUT if taken.get(step, True)]
    rungs = {}
    for index, name in enumerate(["plain", *(f"+ {step}" for step in steps)]):
        rungs[name] = {field: value for step in steps[index:] for field, value in WITHOUT[step].items()}
    return rungs


Builder = Callable[[Setting, Rows], Work]
Contenders = dict[str, Callable[[Rows], Work]]


@dataclass(frozen=True)
class Benchmark:
    """
    One comparison.

    Args:
        tasks (`tuple[str, ...]`):
            The tasks that every contender trains on.
        ours, peer (`Callable`):
            Set up our work and the peer's, such as a trainer, from a [`Setting`] and [`Rows`].
        pattern (`str`):
            How the peer is used.
        package (`str`, *optional*):
            The peer's distribution; `None` if it is none of its own.
        others (`Callable`, *optional*):
            Gives what sets up further trainers, by name.
        unit (`str`, defaults to `"rows/s"`):
            What is counted, `"rows/s"` or `"steps/s"`.
        repeats_rows (`bool`, defaults to `True`):
            Whether too few rows are repeated; not where ours would do once what the peer does again.
    """

    tasks: tuple[str, ...]
    ours: Builder
    peer: Builder
    pattern: str
    package: str | None = None
    others: Callable[[], Mapping[str, Builder]] = dict
    unit: str = "rows/s"
    repeats_rows: bool = True

    def peer_name(self) -> str:
        """Gives the peer's package, version and pattern; an [`InputError`] if it is not installed."""
        if self.package is None:
            return self.pattern
        need_packages("the benchmark", "benchmark", self.package.replace("-", "_"))
        return f"{self.package} {version(self.package)}, {self.pattern}"

    def contenders(self, setting: Setting) -> Contenders:
        """Gives what sets up the trainer of each contender: `"ours"`, `"peer"`, then the others."""
        builders = {"ours": self.ours, "peer": self.peer, **self.others()}
        return {name: partial(build, setting) for name, build in builders.items()}

    def steps(self, setting: Setting) -> dict[str, dict[str, Any]]:
        """Gives the [`ladder`] from a plain trainer to ours; none where ours trains several tasks."""
        return ladder(PAPER_TASKS[self.tasks[0]], setting.bf16) if self.ours is our_trainer else {}


def _surgery_others() -> dict[str, Builder]:
    return {name: partial(surgery_trainer, backward=way) for name, way in other_ways().items()}


BENCHMARKS = {
    "train-sts": Benchmark(
        ("sts",), our_trainer, sentence_transformers_trainer, "CosineSimilarityLoss", "sentence-transformers"
    ),
    "train-sst": Benchmark(("sst",), our_trainer, transformers_trainer, "run_glue pattern", "transformers"),
    "train-para": Benchmark(
        ("para",), our_trainer, transformers_trainer, "run_glue pattern, cross-encoder", "transformers"
    ),
    "score-pairs": Benchmark(
        ("para",),
        our_scoring,
        sentence_transformers_scoring,
        "encode in its batches of 32 and cosine (ours: 64)",
        "sentence-transformers",
        repeats_rows=False,
    ),
    "surgery": Benchmark(
        ("sst", "para", "sts"),
        surgery_trainer,
        partial(surgery_trainer, backward=mean_backward),
        "plain mean of the losses, one backward",
        others=_surgery_others,
        unit="steps/s",
    ),
}
"""Name in `--only` -> comparison."""
