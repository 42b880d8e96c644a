"""What a benchmark has measured: the ratios as bars, how time grows as lines."""

from collections.abc import Mapping, Sequence
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
