"""Figures of answers beside those of every run: calibration, and scores by length and by label."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from extrabert_hf.inference.calibration import expected_calibration_error, reliability_bins
from extrabert_hf.runs.answers import Answers
from extrabert_hf.runs.gradient_conflicts import Conflict

if TYPE_CHECKING:  # comparison.py draws with this module
    from extrabert_hf.runs.comparison import Comparison

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
            The `log_history` of training.
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


def plot_differences(lines: Sequence["Comparison"]) -> Figure:
    """
    Draws differences of scores with their intervals, one under the other; those that are more than chance stand out.

    Args:
        lines (`Sequence[Comparison]`):
            One comparison or more.
    """
    figure = Figure(figsize=(8, 1.4 + 0.4 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=0.8)
    for height, line in enumerate(reversed(lines)):
        colour = {"up": "tab:green", "down": "tab:red", "level": "0.45"}[line.verdict]
        axes.plot([line.low, line.high], [height, height], color=colour, linewidth=2)
        axes.plot(line.difference, height, "o", color=colour)
    labels = [f"{line.task}: {line.b} - {line.a}" for line in reversed(lines)]
    axes.set_yticks(range(len(lines)), labels)
    axes.set(xlabel="difference of the scores, 95 % interval", ylim=(-0.7, len(lines) - 0.3))
    return figure


LENGTH_GROUPS = 5


def plot_reliability(answers: Answers) -> Figure:
    """Draws how often answers of a confidence are right; on the line they are as often as they say."""
    correct = answers.predictions == answers.labels
    bins = reliability_bins(answers.confidences, correct)
    error = expected_calibration_error(answers.confidences, correct)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    sure, right, rows = zip(*bins, strict=True)
    axes.plot(sure, right, marker="o")
    axes.set(ylabel="share of right answers", ylim=(0, 1), title=f"Calibration: ECE {error:.3f}")
    counts.bar(sure, rows, width=0.07, color="0.6")
    counts.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    return figure


def plot_label_counts(answers: Answers) -> Figure:
    """Draws how many rows have each label, and how many are answered with it."""
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(answers.task.class_names))
    for shift, colour, name, ids in (
        (-0.2, "0.6", "label", answers.labels),
        (0.2, "tab:blue", "answer", answers.predictions),
    ):
        axes.bar(places + shift, np.bincount(ids, minlength=len(places)), width=0.4, color=colour, label=name)
    axes.set_xticks(places, answers.task.class_names)
    axes.set(ylabel="rows")
    axes.legend(frameon=False)
    return figure


def plot_by_length(answers: Answers) -> Figure:
    """Draws the score of rows of like length, in groups of equally many rows, with its standard error."""
    order = np.argsort(answers.words, kind="stable")
    groups = [group for group in np.array_split(order, LENGTH_GROUPS) if len(group)]
    labels = [f"{answers.words[g].min()} - {answers.words[g].max()}" for g in groups]
    return _bars(
        [answers.errors[g] if answers.task.is_regression else _right(answers, g) for g in groups],
        labels,
        answers,
        "words of the longer sentence" if answers.task.is_pair else "words",
    )


def plot_by_label(answers: Answers) -> Figure:
    """Draws the score of the rows of each class, or of each fifth of the range of scores."""
    if answers.task.is_regression:
        edges = np.linspace(*answers.task.label_range, 6)
        places = np.clip(np.digitize(answers.labels, edges) - 1, 0, 4)
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    else:
        places, names = answers.labels, list(answers.task.class_names)
    groups = [np.flatnonzero(places == place) for place in range(len(names))]
    kept = [(group, name) for group, name in zip(groups, names, strict=True) if len(group)]
    values = [answers.errors[g] if answers.task.is_regression else _right(answers, g) for g, _ in kept]
    return _bars(values, [name for _, name in kept], answers, "label")


def _right(answers: Answers, rows: np.ndarray) -> np.ndarray:
    return (answers.predictions[rows] == answers.labels[rows]).astype(float)


def _bars(values: Sequence[np.ndarray], names: Sequence[str], answers: Answers, title: str) -> Figure:
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    means = [group.mean() for group in values]
    errors = [group.std() / np.sqrt(len(group)) for group in values]
    axes.bar(range(len(values)), means, yerr=errors, color="tab:blue", alpha=0.75, capsize=3)
    ticks = [f"{name}\n{len(group):,} rows" for name, group in zip(names, values, strict=True)]
    axes.set_xticks(range(len(values)), ticks)
    what = "mean absolute error" if answers.task.is_regression else "share of right answers"
    axes.set(xlabel=title, ylabel=what, ylim=(0, None if answers.task.is_regression else 1))
    return figure
