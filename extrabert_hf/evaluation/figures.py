"""Figures of a run, drawn without a screen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

WINDOWS = 40
"""Points of a curve: steps are averaged until so many are left."""


def plot_conflicts(rows: Sequence[tuple[int, str, str, float]], path: Path) -> None:
    """
    Draws how the cosine of each two tasks' gradients went, and how often it was below zero.

    Args:
        rows (`Sequence[tuple[int, str, str, float]]`):
            Step, two tasks, and the cosine of their gradients. Without any, as for one task, no file is written.
        path (`Path`):
            The png to write; its folder is made.
    """
    if not rows:
        return
    figure = Figure(figsize=(9, 6), layout="constrained")
    cosine_axes, share_axes = figure.subplots(2, 1, sharex=True)
    pairs: dict[str, list[tuple[int, float]]] = {}
    for step, first, second, cosine in rows:
        pairs.setdefault(f"{first} / {second}", []).append((step, cosine))
    for pair, points in pairs.items():
        windows = np.array_split(np.array(points), min(len(points), WINDOWS))  # each (steps, 2)
        steps = [window[:, 0].mean() for window in windows]
        cosine_axes.plot(steps, [window[:, 1].mean() for window in windows], label=pair)
        share_axes.plot(steps, [100 * (window[:, 1] < 0).mean() for window in windows], label=pair)
    cosine_axes.axhline(0, color="0.6", linewidth=0.8)
    cosine_axes.set(ylabel="cosine of the gradients, mean", title="How the tasks pull on the encoder")
    share_axes.set(xlabel="optimizer step", ylabel="steps below zero, %", ylim=(0, 100))
    cosine_axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
