"""The results of comparisons: as JSON, as a text table, and as charts."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measures import DECIMALS, FlopRates, Scaling, TimesForRows, TimesForWords
from extrabert_hf.files import write_figure, write_json


@dataclass(frozen=True)
class OtherResult:
    """
    A contender that was measured beside ours and the peer.

    Args:
        name (`str`):
            Name of the contender.
        rate (`float`):
            Median rate over the rounds, in the unit of the comparison.
        ratio (`float`):
            `rate` divided by the peer's median rate.
        ratios (`list[float]`):
            Rate divided by the peer's rate, one number per round.
    """

    name: str
    rate: float
    ratio: float
    ratios: list[float]


@dataclass(frozen=True)
class StepResult:
    """
    One step of the ablation, which has one optimization more than the step before.

    Args:
        name (`str`):
            Name of the optimization; `"plain"` for the first step.
        rate (`float`):
            Median rows a second over the rounds.
        gain (`float`):
            `rate` divided by the rate of the step before; 1 for the first step.
    """

    name: str
    rate: float
    gain: float


@dataclass(frozen=True)
class BenchmarkResult:
    """
    The measurements of one comparison. The fields are keys of the JSON file.

    Args:
        name (`str`):
            Name of the comparison, a key of `BENCHMARKS`.
        ours, peer (`float`):
            Median rates over the rounds, in `unit`.
        ratio (`float`):
            `ours` divided by `peer`.
        unit (`str`):
            `"rows/s"` or `"steps/s"`.
        ratios (`list[float]`):
            Our rate divided by the peer's rate, one number per round.
        peer_name (`str`):
            Package, version and pattern of the peer.
        rounds (`int`):
            Measurements of each contender.
        rows (`int`):
            Rows of each task in one measurement.
        batch_size (`int`):
            Rows of a task in a training step.
        model (`str`):
            The encoder, as the user named it.
        precision (`str`):
            Precision of this package.
        machine (`dict[str, Any]`):
            The hardware and the torch version, as [`describe_machine`] returns them.
        setting (`str`, defaults to `"guide"`):
            `"guide"` for the peer as its guide has it, `"best"` for the peer at its best.
        options (`str`, *optional*):
            Name of the options of the peer at its best.
        others (`list[OtherResult]`, *optional*):
            Further contenders.
        steps (`list[StepResult]`, *optional*):
            The ablation, from the plain trainer to ours.
        flops (`FlopRates`, *optional*):
            Floating-point operations a second of our training and of the machine.
        scaling (`Scaling`, *optional*):
            How seconds grow with the rows and with the words of a sentence.
        memory (`dict[str, float]`, *optional*):
            Peak memory in MiB by contender.
    """

    name: str
    ours: float
    peer: float
    ratio: float
    unit: str
    ratios: list[float]
    peer_name: str
    rounds: int
    rows: int
    batch_size: int
    model: str
    precision: str
    machine: dict[str, Any]
    setting: str = "guide"
    options: str | None = None
    others: list[OtherResult] | None = None
    steps: list[StepResult] | None = None
    flops: FlopRates | None = None
    scaling: Scaling | None = None
    memory: dict[str, float] | None = None

    @property
    def key(self) -> tuple[str, int, str]:
        """Comparison, batch size and setting: what a file holds once."""
        return self.name, self.batch_size, self.setting

    @property
    def peer_label(self) -> str:
        """Name of the peer, with its options if it is the peer at its best."""
        return self.peer_name if self.options is None else f"{self.peer_name}, at its best ({self.options})"

    @classmethod
    def of_rates(cls, ours: list[float], peer: list[float], **fields: Any) -> "BenchmarkResult":
        """
        Computes medians and ratios from the rates of all rounds.

        Args:
            ours (`list[float]`):
                Our rates, one per round.
            peer (`list[float]`):
                The peer's rates, one per round.
            fields:
                The fields of the result that are not computed.
        """
        rates = median(ours), median(peer)
        return cls(
            ours=rates[0], peer=rates[1], ratio=rates[0] / rates[1], ratios=ratios_by_round(ours, peer), **fields
        )

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "BenchmarkResult":
        """Reads an entry of the JSON file; one without `setting` is of the peer as its guide has it."""
        fields = dict(entry)
        if "others" in fields:
            fields["others"] = [OtherResult(**other) for other in fields["others"]]
        if "steps" in fields:
            fields["steps"] = [StepResult(**step) for step in fields["steps"]]
        if "flops" in fields:
            fields["flops"] = FlopRates(**fields["flops"])
        if "scaling" in fields:
            by_rows = [TimesForRows(**times) for times in fields["scaling"]["rows"]]
            by_words = [TimesForWords(**times) for times in fields["scaling"]["words"]]
            fields["scaling"] = Scaling(by_rows, by_words)
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Returns the entry of the JSON file, without the parts that were not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def other_results(rates: Mapping[str, list[float]], peer: list[float]) -> list[OtherResult]:
    """
    Summarizes the contenders that were measured beside ours and the peer.

    Args:
        rates (`Mapping[str, list[float]]`):
            By contender, one rate per round.
        peer (`list[float]`):
            The peer's rates, one a round.
    """
    return [
        OtherResult(name, median(own), median(own) / median(peer), ratios_by_round(own, peer))
        for name, own in rates.items()
    ]


def step_results(rates: Mapping[str, list[float]]) -> list[StepResult]:
    """
    Summarizes an ablation.

    Args:
        rates (`Mapping[str, list[float]]`):
            By step, rows per second, one rate per round; each step includes the optimizations of those before it.
    """
    medians = {name: median(figures) for name, figures in rates.items()}
    before = [next(iter(medians.values())), *medians.values()]
    return [
        StepResult(name, rate, rate / previous)
        for (name, rate), previous in zip(medians.items(), before, strict=False)
    ]


def ratios_by_round(own: list[float], peer: list[float]) -> list[float]:
    """Divides the rates of a contender by the peer's, round by round."""
    return [own_rate / peer_rate for own_rate, peer_rate in zip(own, peer, strict=True)]


def table(results: Sequence[BenchmarkResult]) -> str:
    """Formats the results of one run as text: a line for each comparison, and below it the details of each."""
    run = results[0]
    lines = [
        f"one epoch of {run.rows:,} rows a task in batches of {run.batch_size}, {run.model}, ours in "
        f"{run.precision}; median of {run.rounds} in turn",
        ", ".join(f"{name} {value}" for name, value in run.machine.items()),
    ]
    for unit in dict.fromkeys(result.unit for result in results):
        lines += ["", f"{unit:<12}{'setting':<7}{'ours':>9}{'peer':>9}{'ratio':>8}  {'min-max':<11}  peer"]
        lines += [
            f"{result.name:<12}{result.setting:<7}{_rate(result.ours, unit)}{_rate(result.peer, unit)}"
            f"{result.ratio:>8.2f}  {_spread(result.ratios):<11}  {result.peer_label}"
            for result in results
            if result.unit == unit
        ]
    for result in results:
        lines += _details(result)
    return "\n".join(lines)


def _details(result: BenchmarkResult) -> list[str]:
    name, unit = result.name, result.unit
    lines = []
    if result.others is not None:
        lines += ["", f"{name + ', beside the same peer':<40}{unit:>9}{'ratio':>8}  min-max"]
        lines += [
            f"  {other.name:<38}{_rate(other.rate, unit)}{other.ratio:>8.2f}  {_spread(other.ratios)}"
            for other in result.others
        ]
    if result.steps is not None:
        lines += ["", f"{name + ', step by step':<40}{unit:>9}{'gain':>8}"]
        lines += [
            f"  {step.name:<38}{_rate(step.rate, unit)}" + (f"{step.gain:>8.2f}" if index else "")
            for index, step in enumerate(result.steps)
        ]
    if (flops := result.flops) is not None:
        lines += [
            "",
            f"{name}: {flops.training:,.0f} GFLOP/s, {flops.share:.0%} of the rate of a matrix product in the same "
            f"precision (bfloat16 {flops.bfloat16:,.0f}, float32 {flops.float32:,.0f})",
        ]
    if result.memory is not None:
        lines += ["", f"{name + ', peak memory':<40}{'MiB':>9}"]
        lines += [f"  {contender:<38}{mib:>9,.0f}" for contender, mib in result.memory.items()]
    return lines


def _spread(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}-{max(ratios):.2f}"


def _rate(rate: float, unit: str) -> str:
    return f"{rate:>9.{DECIMALS[unit]}f}"


def plot_ratios(results: Sequence[BenchmarkResult]) -> Figure:
    """Draws the ratio of our rate to the peer's as a bar for each comparison, with the spread of the rounds."""
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(results)), layout="constrained")
    axes = figure.subplots()
    labels = []
    for position, result in enumerate(reversed(results)):
        below, above = result.ratio - min(result.ratios), max(result.ratios) - result.ratio
        spread = [[max(below, 0.0)], [max(above, 0.0)]]  # a ratio of medians can be outside the range of the rounds
        color = {"guide": "tab:blue", "best": "tab:orange"}[result.setting]
        axes.barh(position, result.ratio, xerr=spread, color=color, alpha=0.75, capsize=3)
        axes.annotate(f"{result.ratio:.2f}", (0, position), (4, 0), textcoords="offset points", va="center")
        batch = f", batch {result.batch_size}" if result.name.startswith("train") else ""
        labels.append(f"{result.name}{batch}\n{result.peer_label}")
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.set(xlabel="speed as a multiple of the peer's", xlim=(0, None))
    return figure


def plot_scaling(results: Sequence[BenchmarkResult]) -> Figure:
    """Draws seconds against rows and against words of a sentence, for each result that has `scaling`."""
    figure = Figure(figsize=(9, 3.2 * len(results)), layout="constrained")
    for result, pair in zip(results, figure.subplots(len(results), 2, squeeze=False), strict=True):
        by_rows, by_words = result.scaling.rows, result.scaling.words
        curves = [
            (by_rows, [times.rows for times in by_rows], "rows"),
            (by_words, [times.words for times in by_words], "words of a sentence"),
        ]
        for axes, (measured, sizes, size_name) in zip(pair, curves, strict=True):
            axes.plot(sizes, [times.ours for times in measured], marker="o", label="ours")
            axes.plot(sizes, [times.peer for times in measured], marker="o", label=result.peer_label)
            axes.set(title=result.name, xlabel=size_name, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        pair[0].legend(frameon=False, fontsize=8)
    return figure


def read_results(path: str | Path) -> list[BenchmarkResult]:
    """Reads a file that [`write_results`] wrote."""
    return [BenchmarkResult.from_dict(entry) for entry in json.loads(Path(path).read_text(encoding="utf-8"))]


def write_results(results: Sequence[BenchmarkResult], path: str | Path | None = None) -> Path:
    """
    Adds results to a JSON file and draws its charts: the ratios, and the scaling if it was measured.

    Results of the same comparison, batch size and setting replace those in the file.

    Args:
        results (`Sequence[BenchmarkResult]`):
            Results of one run.
        path (`str` or `Path`, *optional*):
            The file; by default `benchmarks/MACHINE.json`, named after processor, threads and accelerator.

    Returns:
        `Path`: the file.
    """
    path = default_path(results[0].machine) if path is None else Path(path)
    measured = {result.key for result in results}
    earlier = read_results(path) if path.is_file() else []
    results = [result for result in earlier if result.key not in measured] + list(results)
    write_json(path, [result.to_dict() for result in results])
    write_figure(path.with_suffix(".png"), plot_ratios(results), dpi=120)
    if scaled := [result for result in results if result.scaling is not None]:
        write_figure(path.with_name(f"{path.stem}-scaling.png"), plot_scaling(scaled), dpi=120)
    return path


def default_path(machine: Mapping[str, Any]) -> Path:
    """Returns the path of a machine's results, such as `benchmarks/amd-epyc-2-threads.json`."""
    description = f"{machine['cpu']} {machine['threads']} threads {machine.get('accelerator', '')}".lower()
    return Path("benchmarks") / f"{'-'.join(re.findall(r'[a-z0-9.]+', description))}.json"
