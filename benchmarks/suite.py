"""The comparisons: which contenders work on which tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.peers import (
    Options,
    sentence_transformers_options,
    sentence_transformers_scoring,
    sentence_transformers_scoring_options,
    sentence_transformers_trainer,
    transformers_options,
    transformers_trainer,
)
from benchmarks.surgery import mean_backward, other_methods, surgery_trainer
from benchmarks.workloads import Contender, Rows, Setting, Work, our_scoring, our_trainer
from extrabert_hf.errors import need_packages
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

Builder = Callable[[Setting, Rows], Work]
"""Sets up the work of a contender from the shared [`Setting`] and the rows."""


@dataclass(frozen=True)
class Benchmark:
    """
    One comparison of this package with a peer: another library, or another method in this package.

    Args:
        tasks (`tuple[str, ...]`):
            Names of the tasks that every contender works on.
        ours, peer (`Callable`):
            Set up the work of this package and of the peer.
        pattern (`str`):
            How the peer is used.
        package (`str`, *optional*):
            Distribution that provides the peer; `None` if this package does.
        options (`Callable`, *optional*):
            Returns the candidates for the peer at its best, by name; the first one has no options, it is the peer as
            its guide has it. Without candidates, the peer has the setting `"guide"` only.
        others (`Callable`, *optional*):
            Returns the builders of further contenders by name.
        unit (`str`, defaults to `"rows/s"`):
            What is counted, `"rows/s"` or `"steps/s"`.
        repeats_rows (`bool`, defaults to `True`):
            Whether rows are repeated if the data has too few. Pair scoring must not repeat them: this package
            encodes duplicates once, the peer does not.
    """

    tasks: tuple[str, ...]
    ours: Builder
    peer: Builder
    pattern: str
    package: str | None = None
    options: Callable[[], Mapping[str, Options]] = dict
    others: Callable[[], Mapping[str, Builder]] = dict
    unit: str = "rows/s"
    repeats_rows: bool = True

    def peer_name(self) -> str:
        """Returns the package, version and pattern of the peer; raises [`InputError`] if it is not installed."""
        if self.package is None:
            return self.pattern
        need_packages("the benchmark", "benchmark", self.package.replace("-", "_"))
        return f"{self.package} {version(self.package)}, {self.pattern}"

    def contenders(self, setting: Setting) -> dict[str, Contender]:
        """Returns, by name, the functions that set up the contenders: `"ours"`, `"peer"`, then the others."""
        builders = {"ours": self.ours, "peer": self.peer, **self.others()}
        return {name: partial(build, setting) for name, build in builders.items()}

    def candidates(self, setting: Setting) -> dict[str, Contender]:
        """Returns, by the name of its options, the functions that set up each candidate for the peer at its best."""
        return {name: partial(self.peer, setting, **options) for name, options in self.options().items()}

    def ablation(self, setting: Setting) -> dict[str, dict[str, Any]]:
        """Returns the [`ablation`] of the task; empty unless ours is the trainer of one task."""
        return ablation(PAPER_TASKS[self.tasks[0]], setting.bf16) if self.ours is our_trainer else {}


OPTIMIZATIONS: dict[str, dict[str, Any]] = {
    "one forward of both sentences": {"two_forwards": True},
    "length buckets": {"length_buckets": False},
    "no padding": {"unpad": False},
    "bfloat16 autocast": {"bf16": False},
    "fused AdamW": {"optim": "adamw_torch"},
}
"""Name of an optimization -> the argument of [`our_trainer`] that turns it off."""


def ablation(task: TaskSpec, bf16: bool) -> dict[str, dict[str, Any]]:
    """
    Lists the trainers from a plain one to this package's default, each with one optimization more.

    Args:
        task ([`TaskSpec`]):
            "one forward of both sentences" is only listed for a task of pairs.
        bf16 (`bool`):
            Whether this package trains under bfloat16 autocast here; otherwise "bfloat16 autocast" is not listed.

    Returns:
        `dict[str, dict]`: by name, the keyword arguments of [`our_trainer`].

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> for name, fields in ablation(PAPER_TASKS["sst"], bf16=False).items():
        ...     print(name, fields)
        plain {'length_buckets': False, 'unpad': False, 'optim': 'adamw_torch'}
        + length buckets {'unpad': False, 'optim': 'adamw_torch'}
        + no padding {'optim': 'adamw_torch'}
        + fused AdamW {}
    """
    applies = {"one forward of both sentences": task.is_pair, "bfloat16 autocast": bf16}
    names = [name for name in OPTIMIZATIONS if applies.get(name, True)]
    trainers = {}
    for index, trainer in enumerate(["plain", *(f"+ {name}" for name in names)]):
        trainers[trainer] = {key: value for name in names[index:] for key, value in OPTIMIZATIONS[name].items()}
    return trainers


def _other_scoring() -> dict[str, Builder]:
    if torch.accelerator.is_available() or not torch.backends.mkldnn.is_available():
        return {}
    return {"ours with --int8": partial(our_scoring, int8=True)}


def _other_surgery_trainers() -> dict[str, Builder]:
    return {name: partial(surgery_trainer, backward=method) for name, method in other_methods().items()}


BENCHMARKS = {
    "train-sts": Benchmark(
        ("sts",),
        our_trainer,
        sentence_transformers_trainer,
        "CosineSimilarityLoss",
        "sentence-transformers",
        sentence_transformers_options,
    ),
    "train-sst": Benchmark(
        ("sst",), our_trainer, transformers_trainer, "run_glue pattern", "transformers", transformers_options
    ),
    "train-para": Benchmark(
        ("para",),
        our_trainer,
        transformers_trainer,
        "run_glue pattern, cross-encoder",
        "transformers",
        transformers_options,
    ),
    "score-pairs": Benchmark(
        ("para",),
        our_scoring,
        sentence_transformers_scoring,
        "encode and cosine",
        "sentence-transformers",
        sentence_transformers_scoring_options,
        _other_scoring,
        repeats_rows=False,
    ),
    "surgery": Benchmark(
        ("sst", "para", "sts"),
        surgery_trainer,
        partial(surgery_trainer, backward=mean_backward),
        "plain mean of the losses, one backward",
        others=_other_surgery_trainers,
        unit="steps/s",
    ),
}
"""Name in `--only` -> comparison."""
