"""Figures of runs: scores, calibration, training curves, gradient conflicts, differences. Each has a limited size."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from extrabert_hf.evaluation.bootstrap import wilson_interval
from extrabert_hf.evaluation.selective import MIN_ANSWERED, REPORTED_ACCURACY, curve_text, point_text, risk_coverage
from extrabert_hf.inference.calibration import expected_calibration_error, reliability_bins
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.class_figures import class_names_in_figure, name_ticks, shown_classes
from extrabert_hf.runs.figure_text import figure_text
from extrabert_hf.runs.gradient_conflicts import Conflict

if TYPE_CHECKING:  # comparison.py draws with this module
    from extrabert_hf.runs.comparison import Comparison

WINDOWS = 40
"""Maximum number of points of a curve of [`plot_conflicts`]; each point is the mean of equally many steps."""
LENGTH_GROUPS = 5
"""Number of bars of [`plot_by_length`]."""
SCORE_GROUPS = 5
"""Number of bars of [`plot_by_label`] for scores."""
MOST_POINTS = 20_000
"""Maximum number of rows in the scatter plot of [`plot_scores`]; of more rows, it shows a random sample."""
MOST_MARKERS = 200
"""Maximum number of evaluations that a curve marks with a point."""
MOST_CURVES = 12
"""Maximum number of curves with an entry in the legend."""
MOST_THRESHOLDS = 1_000
"""Maximum number of points of the curve of [`plot_risk_coverage`]."""
MOST_DIFFERENCES = 60
"""Maximum number of lines of [`plot_differences`]: those with the smallest p-values."""

INTERVAL = "95 % interval"
INTERVALS_NOTE = (
    "Intervals: percentile bootstrap over the rows; Wilson's interval for an accuracy of 0 or 1; no interval for "
    "another score that is the same for all samples of the rows. Error bars: Wilson's 95 % interval of an accuracy; "
    "Student's t for a mean absolute error, none for a single row."
)
CURVES_CAPTION = "Training loss and dev score"
CONFLICTS_CAPTION = "Cosine similarity of the tasks' encoder gradients"
SCORES_CAPTION = "Predicted and actual scores"
RELIABILITY_CAPTION = "Reliability diagram"
RISK_COVERAGE_CAPTION = "Risk-coverage curve"


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
    named = sorted(pairs, key=lambda pair: np.mean([cosine for _, cosine in pairs[pair]]))[:MOST_CURVES]
    for pair, points in pairs.items():
        name = figure_text(pair, 60) if pair in named else None
        windows = np.array_split(np.array(points), min(len(points), WINDOWS))  # each (steps, 2)
        steps = [window[:, 0].mean() for window in windows]
        cosine_axes.plot(steps, [window[:, 1].mean() for window in windows], label=name)
        share_axes.plot(steps, [100 * (window[:, 1] < 0).mean() for window in windows])
    cosine_axes.axhline(0, color="0.6", linewidth=0.8)
    cosine_axes.set(ylabel="mean cosine similarity", title="Gradients of the encoder")
    share_axes.set(xlabel="optimizer step", ylabel="conflicting steps, %", ylim=(0, 100))
    _legend(cosine_axes, len(pairs), "with the lowest means")
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
    drawn = np.random.default_rng(0).permutation(len(labels))[:MOST_POINTS]
    is_many = len(labels) > 2000  # an SVG has one shape for each point
    axes.scatter(labels[drawn], predictions[drawn], s=12, alpha=0.35, edgecolors="none", rasterized=is_many)
    axes.set(xlabel="label", ylabel="predicted")
    bins = np.linspace(low, high, 26)
    above.hist(labels, bins=bins, color="0.6")
    beside.hist(predictions, bins=bins, orientation="horizontal", color="0.6")
    for histogram in (above, beside):
        histogram.axis("off")
    sample = f", {MOST_POINTS:,} of them drawn" if len(labels) > MOST_POINTS else ""
    above.set_title(figure_text(f"{title}{sample}", 80))
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
            marker = "o" if len(points) <= MOST_MARKERS else None
            name = figure_text(metric.removeprefix("eval_"), 40) if len(score_axes.lines) < MOST_CURVES else None
            score_axes.plot(*zip(*points, strict=True), marker=marker, label=name)
    score_axes.set(xlabel="optimizer step", ylabel="dev score")
    _legend(score_axes, len(score_axes.lines), "in the order of the tasks")
    return figure


def plot_differences(lines: Sequence["Comparison"]) -> Figure:
    """
    Draws differences of scores with intervals, one per line; a significantly better score is green, a worse one red.

    Args:
        lines (`Sequence[Comparison]`):
            One comparison or more. The figure has at most [`MOST_DIFFERENCES`] lines.
    """
    total = len(lines)
    if total > MOST_DIFFERENCES:
        smallest = sorted(lines, key=lambda line: (line.bootstrap_p, -abs(line.difference)))[:MOST_DIFFERENCES]
        lines = [line for line in lines if line in smallest]
    figure = Figure(figsize=(8, 1.4 + 0.4 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=0.8)
    for height, line in enumerate(reversed(lines)):
        better = "down" if line.lower_is_better else "up"
        colour = "0.45" if line.verdict == "level" else "tab:green" if line.verdict == better else "tab:red"
        axes.plot([line.low, line.high], [height, height], color=colour, linewidth=2)
        axes.plot(line.difference, height, "o", color=colour)
    labels = [
        f"{figure_text(line.title, 60)}: {figure_text(line.b)} - {figure_text(line.a)}" for line in reversed(lines)
    ]
    axes.set_yticks(range(len(lines)), labels)
    axes.set(xlabel="difference of the scores, 95 % interval", ylim=(-0.7, len(lines) - 0.3))
    if total > len(lines):
        axes.set_title(f"The {len(lines)} of {total:,} comparisons with the smallest p")
    return figure


def plot_reliability(predictions: Predictions) -> Figure:
    """Draws the accuracy of predictions by confidence with 95 % intervals; a calibrated model is on the diagonal."""
    correct = predictions.values == predictions.labels
    bins = reliability_bins(predictions.confidences, correct)
    error = expected_calibration_error(predictions.confidences, correct)
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    confidences = [each.confidence for each in bins]
    accuracies = np.array([each.accuracy for each in bins])
    intervals = [wilson_interval(round(each.accuracy * each.rows), each.rows) for each in bins]
    axes.errorbar(confidences, accuracies, yerr=_lengths(accuracies, intervals), marker="o", elinewidth=1, capsize=2)
    axes.set(ylabel=f"accuracy, {INTERVAL}", ylim=(0, 1), title=f"Expected calibration error {error:.3f}")
    counts.bar(confidences, [each.rows for each in bins], width=0.07, color="0.6")
    counts.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    return figure


def risk_coverage_caption(predictions: Predictions) -> str:
    """Returns the caption of [`plot_risk_coverage`], with the share of the rows that has [`REPORTED_ACCURACY`]."""
    curve = risk_coverage(predictions.confidences, predictions.values == predictions.labels)
    return f"{RISK_COVERAGE_CAPTION}: {point_text(curve, REPORTED_ACCURACY)}"


def plot_risk_coverage(predictions: Predictions) -> Figure:
    """
    Draws the error rate of the most confident rows by their share, from [`MIN_ANSWERED`] rows on, and the curve of the
    same predictions if all wrong ones were the least confident.
    """
    curve = risk_coverage(predictions.confidences, predictions.values == predictions.labels)
    first = min(MIN_ANSWERED, curve.rows)
    drawn = np.flatnonzero(curve.answered >= first)  # (D,)
    drawn = drawn[np.unique(np.linspace(0, len(drawn) - 1, MOST_THRESHOLDS).round().astype(int))]
    best = np.unique(np.linspace(first, curve.rows, MOST_THRESHOLDS).round().astype(int))  # numbers of rows
    figure = Figure(figsize=(5.5, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(curve.risks[-1], color="0.6", linewidth=0.8, linestyle="--", label="all rows")
    axes.plot(best / curve.rows, curve.best_risks[best - 1], color="0.6", linewidth=0.8, label="best order")
    marker = "o" if len(drawn) == 1 else None
    axes.plot(curve.coverages[drawn], curve.risks[drawn], marker=marker, label="this model")
    axes.set(xlabel="share of rows that are answered", ylabel="error rate of these rows", title=curve_text(curve))
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False, fontsize="small")
    return figure


def by_length_caption(predictions: Predictions) -> str:
    """Returns the caption of [`plot_by_length`]."""
    return f"{_measure(predictions).capitalize()} by sentence length"


def plot_by_length(predictions: Predictions) -> Figure:
    """Draws the accuracy or the mean absolute error, with its 95 % interval, in groups of rows of similar length."""
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
        ids = np.arange(SCORE_GROUPS)
    else:
        group_of, ids = labels, shown_classes(labels, predictions.values, len(task.class_names))
        names = class_names_in_figure(task.class_names, ids)
    rows = [np.flatnonzero(group_of == index) for index in ids]
    groups = [(name, of_name) for name, of_name in zip(names, rows, strict=True) if len(of_name)]
    return _bars(predictions, [rows for _, rows in groups], [name for name, _ in groups], "label")


def _measure(predictions: Predictions) -> str:
    return "mean absolute error" if predictions.task.is_regression else "accuracy"


def _bars(predictions: Predictions, groups: Sequence[np.ndarray], names: Sequence[str], xlabel: str) -> Figure:
    """Draws the mean and the 95 % interval of [`_measure`] in each group of row indices."""
    is_regression = predictions.task.is_regression
    of_rows = predictions.errors if is_regression else (predictions.values == predictions.labels).astype(float)  # (N,)
    values = [of_rows[group] for group in groups]
    figure = Figure(figsize=(max(6.5, 0.34 * len(groups)), 3.6), layout="constrained")
    axes = figure.subplots()
    means = np.array([group.mean() for group in values])
    intervals = [
        mean_error_interval(group) if is_regression else wilson_interval(group.sum(), len(group)) for group in values
    ]
    axes.bar(range(len(values)), means, yerr=_lengths(means, intervals), color="tab:blue", alpha=0.75, capsize=3)
    name_ticks(axes, [f"{name}\n{len(group):,} rows" for name, group in zip(names, values, strict=True)])
    axes.set(xlabel=xlabel, ylabel=f"{_measure(predictions)}, {INTERVAL}", ylim=(0, None if is_regression else 1))
    return figure


def mean_error_interval(errors: np.ndarray) -> tuple[float, float]:
    """
    Interval of a mean absolute error from Student's t distribution, not below 0.

    Args:
        errors (`np.ndarray` of shape `(N,)`):
            Absolute errors of the rows.

    Returns:
        `tuple[float, float]`: the bounds; NaN, which a figure does not draw, for a single row and for equal errors.
    """
    mean, spread = errors.mean(), errors.std(ddof=1) if len(errors) > 1 else 0.0
    if not spread:
        return np.nan, np.nan
    low, high = stats.t.interval(0.95, len(errors) - 1, mean, spread / np.sqrt(len(errors)))
    return max(float(low), 0.0), float(high)


def _lengths(means: np.ndarray, intervals: Sequence[tuple[float, float]]) -> np.ndarray:
    """Lengths `(2, K)` of the error bars below and above `(K,)` means."""
    low, high = np.array(intervals).T
    return np.maximum([means - low, high - means], 0.0)  # rounding


def _legend(axes: Axes, curves: int, which: str) -> None:
    """Draws the legend of the curves with a name. Of more than [`MOST_CURVES`] curves, `which` describes the named."""
    if axes.get_legend_handles_labels()[0]:
        title = f"{MOST_CURVES} of {curves:,}, {which}" if curves > MOST_CURVES else None
        axes.legend(frameon=False, fontsize="small", title=title, title_fontsize="small")
