"""Figures of runs: predictions against labels, calibration, training curves, gradient conflicts and differences."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from extrabert_hf.inference.calibration import expected_calibration_error, reliability_bins
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.gradient_conflicts import Conflict

if TYPE_CHECKING:  # comparison.py draws with this module
    from extrabert_hf.runs.comparison import Comparison

WINDOWS = 40
"""Maximum number of points of a curve of [`plot_conflicts`]; each point is the mean of equally many steps."""
LENGTH_GROUPS = 5
"""Number of bars of [`plot_by_length`]."""
SCORE_GROUPS = 5
"""Number of bars of [`plot_by_label`] for scores."""

CURVES_CAPTION = "Training loss and dev score"
CONFLICTS_CAPTION = "Cosine similarity of the tasks' encoder gradients"
CONFUSION_CAPTION = "Confusion matrix"
SCORES_CAPTION = "Predicted and actual scores"
RELIABILITY_CAPTION = "Reliability diagram"
LABEL_COUNTS_CAPTION = "Label distribution"


def plot_conflicts(rows: Sequence[Conflict]) -> Figure:
    """
    Draws the cosine similarity of the gradients of every two tasks, and how often it is negative.

    Args:
        rows (`Sequence[Conflict]`):
            One or more rows, see [`read_conflicts`].
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
    cosine_axes.set(ylabel="mean cosine similarity", title="Gradients of the encoder")
    share_axes.set(xlabel="optimizer step", ylabel="conflicting steps, %", ylim=(0, 100))
    cosine_axes.legend(frameon=False)
    return figure


def plot_confusion(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """
    Draws a confusion matrix: each cell has the number of rows, and the share of all rows with that label.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Class ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Predicted class ids.
        class_names (`Sequence[str]`):
            Names in the order of the ids.
        title (`str`):
            Title of the figure.
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
    figure.colorbar(image, label="share of the rows with the label", shrink=0.8)
    return figure


def plot_scores(labels: np.ndarray, predictions: np.ndarray, label_range: Sequence[float], title: str) -> Figure:
    """
    Draws predicted against actual scores, with the line of perfect predictions and a histogram of each.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Actual scores.
        predictions (`np.ndarray` of shape `(N,)`):
            Predicted scores.
        label_range (`Sequence[float]`):
            Smallest and largest label.
        title (`str`):
            Title of the figure.
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
    Draws the training loss and, below the loss, the dev score of each evaluation.

    Args:
        history (`Sequence[Mapping[str, float]]`):
            The `log_history` of training.
        metrics (`Mapping[str, str]`):
            Name of the metric to draw for each task, by the task's name. The key in the history is `eval_<metric>` for
            one task, `eval_<task>_<metric>` for several.
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
    score_axes.set(xlabel="optimizer step", ylabel="dev score")
    if score_axes.lines:
        score_axes.legend(frameon=False)
    return figure


def plot_differences(lines: Sequence["Comparison"]) -> Figure:
    """
    Draws differences of scores with intervals, one per line; significant differences are coloured.

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


def plot_reliability(predictions: Predictions) -> Figure:
    """Draws the accuracy of predictions by confidence; a calibrated model is on the diagonal."""
    correct = predictions.values == predictions.labels
    bins = reliability_bins(predictions.confidences, correct)
    error = expected_calibration_error(predictions.confidences, correct)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    confidences = [each.confidence for each in bins]
    axes.plot(confidences, [each.accuracy for each in bins], marker="o")
    axes.set(ylabel="accuracy", ylim=(0, 1), title=f"Expected calibration error {error:.3f}")
    counts.bar(confidences, [each.rows for each in bins], width=0.07, color="0.6")
    counts.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    return figure


def plot_label_counts(predictions: Predictions) -> Figure:
    """Draws the number of rows with each label, and the number of rows with each prediction."""
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    positions = np.arange(len(predictions.task.class_names))
    for shift, colour, name, ids in (
        (-0.2, "0.6", "label", predictions.labels),
        (0.2, "tab:blue", "prediction", predictions.values),
    ):
        counts = np.bincount(ids, minlength=len(positions))
        axes.bar(positions + shift, counts, width=0.4, color=colour, label=name)
    axes.set_xticks(positions, predictions.task.class_names)
    axes.set(ylabel="rows")
    axes.legend(frameon=False)
    return figure


def by_length_caption(predictions: Predictions) -> str:
    """Returns the caption of [`plot_by_length`]."""
    return f"{_measure(predictions).capitalize()} by sentence length"


def plot_by_length(predictions: Predictions) -> Figure:
    """Draws the accuracy or the mean absolute error, with its standard error, in groups of rows of similar length."""
    words = predictions.words
    order = np.argsort(words, kind="stable")
    groups = [group for group in np.array_split(order, LENGTH_GROUPS) if len(group)]
    names = [f"{words[group].min()} - {words[group].max()}" for group in groups]
    return _bars(predictions, groups, names, "words of the longer sentence" if predictions.task.is_pair else "words")


def by_label_caption(predictions: Predictions) -> str:
    """Returns the caption of [`plot_by_label`]."""
    return f"{_measure(predictions).capitalize()} by label"


def plot_by_label(predictions: Predictions) -> Figure:
    """Draws the accuracy for each class, or the mean absolute error for each fifth of the range of scores."""
    task, labels = predictions.task, predictions.labels
    if task.is_regression:
        edges = np.linspace(*task.label_range, SCORE_GROUPS + 1)
        group_of = np.clip(np.digitize(labels, edges) - 1, 0, SCORE_GROUPS - 1)
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    else:
        group_of, names = labels, list(task.class_names)
    groups = {name: np.flatnonzero(group_of == index) for index, name in enumerate(names)}
    groups = {name: rows for name, rows in groups.items() if len(rows)}
    return _bars(predictions, list(groups.values()), list(groups), "label")


def _measure(predictions: Predictions) -> str:
    return "mean absolute error" if predictions.task.is_regression else "accuracy"


def _bars(predictions: Predictions, groups: Sequence[np.ndarray], names: Sequence[str], xlabel: str) -> Figure:
    """Draws the mean and the standard error of [`_measure`] in each group of row indices."""
    is_regression = predictions.task.is_regression
    of_rows = predictions.errors if is_regression else (predictions.values == predictions.labels).astype(float)  # (N,)
    values = [of_rows[group] for group in groups]
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    means = [group.mean() for group in values]
    standard_errors = [group.std() / np.sqrt(len(group)) for group in values]
    axes.bar(range(len(values)), means, yerr=standard_errors, color="tab:blue", alpha=0.75, capsize=3)
    ticks = [f"{name}\n{len(group):,} rows" for name, group in zip(names, values, strict=True)]
    axes.set_xticks(range(len(values)), ticks)
    axes.set(xlabel=xlabel, ylabel=_measure(predictions), ylim=(0, None if is_regression else 1))
    return figure
