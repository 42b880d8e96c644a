"""Rates of all rounds -> figures to keep, and a table to look at."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure


def plot_ratios(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """
    Draws how many times as fast as its peer each of ours is, with the spread of the rounds.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            What [`run_benchmark`] gives, one or more.
    """
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(entries)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(entries)):
        below, above = row["ratio"] - min(row["ratios"]), max(row["ratios"]) - row["ratio"]
        spread = [[max(below, 0.0)], [max(above, 0.0)]]  # the ratio is of the medians, which may lie outside
        axes.barh(place, row["ratio"], xerr=spread, color="tab:blue", alpha=0.75, capsize=3)
        axes.annotate(f"{row['ratio']:.2f}", (0, place), (4, 0), textcoords="offset points", va="center")
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_yticks(
        range(len(entries)), [f"{_told(row)}\n{row['peer_name']}" for row in reversed(entries)], fontsize=8
    )
    axes.set(xlabel="times as fast as the peer, whose speed is the line", xlim=(0, None))
    return figure


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['name']}, batch {row['batch_size']}" if row["name"].startswith("train") else row["name"]


def plot_scaling(entries: Sequence[Mapping[str, Any]]) -> Figure:
    """
    Draws how the seconds of ours and of the peer grow with the rows and with the words of a sentence.

    Args:
        entries (`Sequence[Mapping[str, Any]]`):
            What [`run_benchmark`] gives with `scaling`, one or more.
    """
    figure = Figure(figsize=(9, 3.2 * len(entries)), layout="constrained")
    for row, pair in zip(entries, figure.subplots(len(entries), 2, squeeze=False), strict=True):
        for axes, (size, told) in zip(pair, (("rows", "rows"), ("words", "words a sentence")), strict=True):
            sizes = row["scaling"][size]
            for name, label in (("ours", "ours"), ("peer", row["peer_name"])):
                axes.plot([entry[size] for entry in sizes], [entry[name] for entry in sizes], marker="o", label=label)
            axes.set(title=row["name"], xlabel=told, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        pair[0].legend(frameon=False, fontsize=8)
    return figure


DECIMALS = {"rows/s": 1, "steps/s": 3}
"""What is counted -> the decimals its rate is shown with."""


def entry(name: str, ours: list[float], peer: list[float], unit: str = "rows/s", **details: Any) -> dict[str, Any]:
    """
    Sums up a comparison.

    Args:
        name (`str`):
            Of the comparison.
        ours (`list[float]`):
            Our rows or steps a second, one figure a round.
        peer (`list[float]`):
            The peer's.
        unit (`str`, defaults to `"rows/s"`):
            What is counted.
        details:
            What else the entry shall say.

    Returns:
        `dict`: `ours` and `peer` (medians), `ratio` (of the medians), `unit`, `ratios` (one a round).

    Example:
        >>> entry("train-sts", [100.0, 120.0, 110.0], [50.0, 40.0, 44.0])["ratio"]
        2.5
    """
    return {
        "name": name,
        "ours": median(ours),
        "peer": median(peer),
        "ratio": median(ours) / median(peer),
        "unit": unit,
        "ratios": _ratios(ours, peer),
        **details,
    }


def other_entries(rates: dict[str, list[float]], peer: list[float]) -> list[dict[str, Any]]:
    """
    Sums up what was measured beside ours and the peer.

    Args:
        rates (`dict[str, list[float]]`):
            Rows or steps a second by name, one figure a round.
        peer (`list[float]`):
            The peer's.

    Returns:
        `list[dict]`: `name`, `rate` (median), `ratio` to the peer (of the medians), `ratios` (one a round).
    """
    return [
        {"name": name, "rate": median(own), "ratio": median(own) / median(peer), "ratios": _ratios(own, peer)}
        for name, own in rates.items()
    ]


def step_entries(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """
    Sums up the steps from plain to ours.

    Args:
        rates (`dict[str, list[float]]`):
            Rows a second by step, each with those before it.

    Returns:
        `list[dict]`: `name`, `rate` (median) and `gain`, the factor over the step before (1 for the first).
    """
    medians = {name: median(figures) for name, figures in rates.items()}
    before = [next(iter(medians.values())), *medians.values()]
    return [
        {"name": name, "rate": rate, "gain": rate / previous}
        for (name, rate), previous in zip(medians.items(), before, strict=False)
    ]


def table(entries: list[dict[str, Any]]) -> str:
    """
    Lays out comparisons of one run, one line each, and below what else was measured of each.

    Args:
        entries (`list[dict]`):
            What [`run_benchmark`] gives, one or more.
    """
    run = entries[0]
    lines = [
        f"one epoch of {run['rows']:,} rows a task in batches of {run['batch_size']}, {run['model']}, ours in "
        f"{run['precision']}; median of {run['rounds']} in turn",
        ", ".join(f"{name} {value}" for name, value in run["machine"].items()),
    ]
    for unit in dict.fromkeys(row["unit"] for row in entries):
        lines += ["", f"{unit:<12}{'ours':>9}{'peer':>9}{'ratio':>8}  {'min-max':<11}  peer"]
        lines += [
            f"{row['name']:<12}{_rate(row['ours'], unit)}{_rate(row['peer'], unit)}{row['ratio']:>8.2f}  "
            f"{_spread(row):<11}  {row['peer_name']}"
            for row in entries
            if row["unit"] == unit
        ]
    for row in entries:
        lines += _details(row)
    return "\n".join(lines)


def write_figures(entries: list[dict[str, Any]], path: str | Path | None = None) -> Path:
    """
    Writes comparisons as JSON, and beside it charts of their ratios and, where it was measured, of how time grows.

    Those that the file has already stay, but for one of the same name and batch size.

    Args:
        entries (`list[dict]`):
            What [`run_benchmark`] gives, one or more.
        path (`str` or `Path`, *optional*):
            The file; by default `benchmarks/MACHINE.json`, named after processor, threads and accelerator.

    Returns:
        `Path`: the file.
    """
    machine = entries[0]["machine"]
    told = f"{machine['cpu']} {machine['threads']} threads {machine.get('accelerator', '')}".lower()
    name = "-".join(re.findall(r"[a-z0-9.]+", told))
    path = Path("benchmarks") / f"{name}.json" if path is None else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {(row["name"], row["batch_size"]) for row in entries}
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    entries = [row for row in before if (row["name"], row["batch_size"]) not in measured] + entries
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    plot_ratios(entries).savefig(path.with_suffix(".png"), dpi=120)
    if scaled := [row for row in entries if "scaling" in row]:
        plot_scaling(scaled).savefig(path.with_name(f"{path.stem}-scaling.png"), dpi=120)
    return path


def _details(row: dict[str, Any]) -> list[str]:
    name, unit = row["name"], row["unit"]
    lines = []
    if "others" in row:
        lines += ["", f"{name + ', beside the same peer':<40}{unit:>9}{'ratio':>8}  min-max"]
        lines += [
            f"  {other['name']:<38}{_rate(other['rate'], unit)}{other['ratio']:>8.2f}  {_spread(other)}"
            for other in row["others"]
        ]
    if "steps" in row:
        lines += ["", f"{name + ', step by step':<40}{unit:>9}{'gain':>8}"]
        lines += [
            f"  {step['name']:<38}{_rate(step['rate'], unit)}" + (f"{step['gain']:>8.2f}" if index else "")
            for index, step in enumerate(row["steps"])
        ]
    if "flops" in row:
        flops = row["flops"]
        lines += [
            "",
            f"{name}: {flops['training']:,.0f} GFLOP/s, {flops['share']:.0%} of what a matrix product alone reaches "
            f"in its precision (bfloat16 {flops['bfloat16']:,.0f}, float32 {flops['float32']:,.0f})",
        ]
    if "memory" in row:
        lines += ["", f"{name + ', most memory':<40}{'MiB':>9}"]
        lines += [f"  {contender:<38}{mib:>9,.0f}" for contender, mib in row["memory"].items()]
    return lines


def _ratios(own: list[float], peer: list[float]) -> list[float]:
    return [own_rate / peer_rate for own_rate, peer_rate in zip(own, peer, strict=True)]


def _spread(row: dict[str, Any]) -> str:
    return f"{min(row['ratios']):.2f}-{max(row['ratios']):.2f}"


def _rate(rate: float, unit: str) -> str:
    return f"{rate:>9.{DECIMALS[unit]}f}"
