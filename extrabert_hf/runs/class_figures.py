"""Figures and a table of predicted classes. A figure shows at most [`MOST_CLASSES`] classes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from extrabert_hf.errors import printable
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.figure_text import figure_text, is_drawn_whole

CONFUSION_CAPTION, LABEL_COUNTS_CAPTION = "Confusion matrix", "Label distribution"

MOST_CLASSES = 30
"""Maximum number of classes in a figure: those with the most wrong predictions."""
MOST_LINES = 1000
"""Maximum number of lines of [`class_table`]."""
WIDE_CELLS = 10
"""Maximum number of classes of a confusion matrix with counts and shares in its cells."""


def shown_classes(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """
    Returns the classes that a figure shows, in the order of their ids.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Class ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Predicted class ids.
        classes (`int`):
            Number of classes of the task.

    Returns:
        `np.ndarray` of shape `(min(classes, MOST_CLASSES),)`: class ids. If there are more classes, they are those
        with the most wrong predictions: as the label or as the prediction.
    """
    if classes <= MOST_CLASSES:
        return np.arange(classes)
    wrong = labels != predictions
    errors = sum(np.bincount(ids[wrong].astype(int), minlength=classes) for ids in (labels, predictions))
    return np.sort(np.argsort(-errors, kind="stable")[:MOST_CLASSES])


def classes_caption(caption: str, classes: int) -> str:
    """Returns the caption of a figure of classes, which names the choice of [`shown_classes`]."""
    if classes <= MOST_CLASSES:
        return caption
    return f"{caption} of the {MOST_CLASSES} classes with the most errors, of {classes:,} classes"


def class_names_in_figure(names: Sequence[str], ids: np.ndarray) -> list[str]:
    """Returns the text of each class in a figure; it starts with `#` and the id if the name cannot be drawn whole."""
    return [f"{'' if is_drawn_whole(names[id_]) else f'#{id_} '}{figure_text(names[id_])}" for id_ in ids]


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Writes names below the bars of a figure; many or long names are rotated, and the figure gets higher."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    if len(names) <= 6 and longest <= 14:
        axes.set_xticks(range(len(names)), names)
        return
    names = [name.replace("\n", ", ") for name in names]
    axes.set_xticks(range(len(names)), names, rotation=55, ha="right", rotation_mode="anchor")
    axes.figure.set_figheight(axes.figure.get_figheight() + 0.07 * max(map(len, names)))


def plot_confusion(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """
    Draws a confusion matrix: each cell has the number of rows, and the share of all rows with that label.

    Args:
        labels (`np.ndarray` of shape `(N,)`):
            Class ids.
        predictions (`np.ndarray` of shape `(N,)`):
            Predicted class ids.
        class_names (`Sequence[str]`):
            Names in the order of the ids; [`shown_classes`] chooses the classes of the figure.
        title (`str`):
            Title of the figure.
    """
    labels, predictions = labels.astype(int), predictions.astype(int)
    ids = shown_classes(labels, predictions, len(class_names))  # (K,)
    position = np.full(len(class_names), -1)
    position[ids] = np.arange(len(ids))
    shown = (position[labels] >= 0) & (position[predictions] >= 0)  # (N,)
    counts = np.zeros((len(ids), len(ids)), dtype=int)
    np.add.at(counts, (position[labels[shown]], position[predictions[shown]]), 1)
    rows = np.bincount(labels, minlength=len(class_names))[ids]  # (K,)
    shares = counts / np.maximum(rows, 1)[:, None]
    is_wide = len(ids) <= WIDE_CELLS
    cell = 0.85 if is_wide else 0.4  # inches
    figure = Figure(figsize=(2.2 + 1.06 * cell * len(ids), 1.6 + 0.94 * cell * len(ids)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if is_wide or count:
            colour = "white" if shares[row, column] > 0.6 else "0.15"
            text, size = (f"{count:,}\n{shares[row, column]:.0%}", None) if is_wide else (f"{count:,}", 7)
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    names = class_names_in_figure(class_names, ids)
    axes.set_xticks(range(len(ids)), names, rotation=30 if is_wide else 60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(ids)), names)
    axes.set(xlabel="predicted", ylabel="label", title=figure_text(title, 80))
    figure.colorbar(image, label="share of the rows with the label", shrink=0.8)
    return figure


def plot_label_counts(predictions: Predictions) -> Figure:
    """Draws the number of rows with each label, and the number of rows with each prediction."""
    names = predictions.task.class_names
    ids = shown_classes(predictions.labels, predictions.values, len(names))
    figure = Figure(figsize=(max(6.5, 0.34 * len(ids)), 3.6), layout="constrained")
    axes = figure.subplots()
    for shift, colour, name, of_rows in (
        (-0.2, "0.6", "label", predictions.labels),
        (0.2, "tab:blue", "prediction", predictions.values),
    ):
        counts = np.bincount(of_rows, minlength=len(names))[ids]
        axes.bar(np.arange(len(ids)) + shift, counts, width=0.4, color=colour, label=name)
    name_ticks(axes, class_names_in_figure(names, ids))
    axes.set(ylabel="rows")
    axes.legend(frameon=False)
    return figure


class ClassLine(NamedTuple):
    """
    One class of a run in [`class_table`].

    Args:
        run (`str`):
            Name of the run.
        id (`int`):
            Class id.
        name (`str`):
            Name of the class, at most 200 characters.
        rows (`int`):
            Number of rows with the label.
        predicted (`int`):
            Number of rows with the prediction.
        correct (`int`):
            Number of rows with both.
        confused_with (`str`):
            The most frequent wrong prediction for the label and its number of rows; empty without a wrong prediction.
    """

    run: str
    id: int
    name: str
    rows: int
    predicted: int
    correct: int
    confused_with: str


def class_table(runs: Mapping[str, Predictions]) -> list[ClassLine]:
    """
    Lists the classes of a task: those with the most errors first, at most [`MOST_LINES`] lines.

    Args:
        runs (`Mapping[str, Predictions]`):
            Predictions for labelled rows by the name of the run.

    Returns:
        `list[ClassLine]`: empty if the figures show all classes with their whole names.
    """
    names = next(iter(runs.values())).task.class_names
    if len(names) <= MOST_CLASSES and all(map(is_drawn_whole, names)):
        return []
    lines = [line for run, predictions in runs.items() for line in _lines(run, predictions)]
    return sorted(lines, key=lambda line: line.correct - line.rows)[:MOST_LINES]


def _lines(run: str, predictions: Predictions) -> list[ClassLine]:
    names, labels, values = predictions.task.class_names, predictions.labels, predictions.values
    rows, predicted, correct = (
        np.bincount(ids, minlength=len(names)).tolist() for ids in (labels, values, labels[labels == values])
    )
    wrong = labels != values
    pairs, counts = np.unique(np.stack([labels[wrong], values[wrong]]), axis=1, return_counts=True)  # (2, P), (P,)
    most: dict[int, tuple[int, int]] = {}  # label -> prediction, rows
    for label, value, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        if count > most.get(label, (0, 0))[1]:
            most[label] = value, count
    shown = [printable(name, 200) for name in names]
    return [
        ClassLine(
            run=run,
            id=id_,
            name=shown[id_],
            rows=rows[id_],
            predicted=predicted[id_],
            correct=correct[id_],
            confused_with=f"{shown[most[id_][0]]} ({most[id_][1]:,})" if id_ in most else "",
        )
        for id_ in range(len(names))
    ]
