"""Figures of answers beside those of every run: calibration, and scores by length and by label."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure

from extrabert_hf.evaluation.calibration import expected_calibration_error, reliability_bins
from extrabert_hf.report.answers import Answers

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
