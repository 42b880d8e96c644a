"""Figures of a run, drawn without a screen."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from extrabert_hf.evaluation.conflicts import Conflict

WINDOWS = 40
"""Points of a curve: steps are averaged until so many are left."""
CURVES_CAPTION = "Loss of training, and the score of each evaluation"
CONFLICTS_CAPTION = "How the tasks' gradients of the encoder oppose each other"


def plot_conflicts(rows: Sequence[Conflict]) -> Figure:
    """
    Draws how the cosine of each two tasks' gradients went, and how often it was below zero.

    Args:
        rows (`Sequence[Conflict]`):
            What [`read_conflicts`] gives, one or more.
    """
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
    return figure


def plot_confusion(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """
    Draws which classes were taken for which: rows, and their share of the label's rows.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Class ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Class ids.
        class_names (`Sequence[str]`):
            Names in the order of the ids.
        title (`str`):
            What stands above.
    """
    counts = np.zeros((len(class_names), len(class_names)), dtype=int)
    np.add.at(counts, (labels.astype(int), predictions.astype(int)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # each row sums to 1, or to 0
    figure = Figure(figsize=(2.2 + 0.9 * len(class_names), 1.6 + 0.8 * len(class_names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.6 else "0.15"
        axes.text(column, row, f"{count:,}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=30, ha="right")
    axes.set_yticks(ticks, class_names)
    axes.set(xlabel="predicted", ylabel="label", title=title)
    figure.colorbar(image, label="share of the label's rows", shrink=0.8)
    return figure


def plot_scores(labels: np.ndarray, predictions: np.ndarray, label_range: Sequence[float], title: str) -> Figure:
    """
    Draws predicted against actual scores, with the line on which they are equal and a histogram of each.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Scores.
        predictions (`np.ndarray` of shape `(N,)`):
            Scores.
        label_range (`Sequence[float]`):
            Smallest and largest label.
        title (`str`):
            What stands above.
    """
    figure = Figure(figsize=(6.5, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5))
    axes = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=axes)
    beside = figure.add_subplot(grid[1, 1], sharey=axes)
    low, high = min(label_range[0], predictions.min()), max(label_range[1], predictions.max())
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8)
    axes.scatter(labels, predictions, s=12, alpha=0.35, edgecolors="none")
    axes.set(xlabel="label", ylabel="predicted")
    bins = np.linspace(low, high, 26)
    above.hist(labels, bins=bins, color="0.6")
    beside.hist(predictions, bins=bins, orientation="horizontal", color="0.6")
    for histogram in (above, beside):
        histogram.axis("off")
    above.set_title(title)
    return figure


def plot_curves(history: Sequence[Mapping[str, float]], metrics: Mapping[str, str]) -> Figure:
    """
    Draws the loss of training, and below it the scores of each evaluation.

    Args:
        history (`Sequence[Mapping[str, float]]`):
            The `log_history` of `trainer_state.json`.
        metrics (`Mapping[str, str]`):
            By task, the metric to draw. A run of one task has it in the history as `eval_<metric>`, one of several as
            `eval_<task>_<metric>`.
    """
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    loss_axes, score_axes = figure.subplots(2, 1, sharex=True)
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    loss_axes.plot(*zip(*losses, strict=True)) if losses else None
    loss_axes.set(ylabel="training loss", title="Training")
    for task, name in metrics.items():
        metric = f"eval_{task}_{name}" if len(metrics) > 1 else f"eval_{name}"
        points = [(entry["step"], entry[metric]) for entry in history if metric in entry]
        if points:
            score_axes.plot(*zip(*points, strict=True), marker="o", label=metric.removeprefix("eval_"))
    score_axes.set(xlabel="optimizer step", ylabel="score on dev")
    if score_axes.lines:
        score_axes.legend(frameon=False)
    return figure


def plot_differences(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """
    Draws differences of scores with their intervals, one under the other; those that are more than chance stand out.

    Args:
        lines (`Sequence[Mapping[str, Any]]`):
            What [`compare_all`] gives, one or more.
    """
    figure = Figure(figsize=(8, 1.4 + 0.4 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=0.8)
    for height, line in enumerate(reversed(lines)):
        colour = {"up": "tab:green", "down": "tab:red", "level": "0.45"}[line["verdict"]]
        axes.plot([line["low"], line["high"]], [height, height], color=colour, linewidth=2)
        axes.plot(line["difference"], height, "o", color=colour)
    labels = [f"{line['task']}: {line['b']} - {line['a']}" for line in reversed(lines)]
    axes.set_yticks(range(len(lines)), labels)
    axes.set(xlabel="difference of the scores, 95 % interval", ylim=(-0.7, len(lines) - 0.3))
    return figure
