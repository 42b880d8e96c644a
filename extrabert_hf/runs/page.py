"""The report of one run or of several: an HTML page without external resources, and the figures beside it."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from extrabert_hf.evaluation.scores import SplitScores, interval_text
from extrabert_hf.files import recorded, write_figure, write_text
from extrabert_hf.inference.explanation import COLOURS, EXPLAINED
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.manifest import remove_own
from extrabert_hf.runs.class_figures import (
    CONFUSION_CAPTION,
    LABEL_COUNTS_CAPTION,
    class_table,
    classes_caption,
    plot_confusion,
    plot_label_counts,
)
from extrabert_hf.runs.comparison import CAPTION, Comparison, comparison_cells
from extrabert_hf.runs.error_table import ReportedPredictions, error_table
from extrabert_hf.runs.figures import (
    CONFLICTS_CAPTION,
    CURVES_CAPTION,
    INTERVALS_NOTE,
    RELIABILITY_CAPTION,
    SCORES_CAPTION,
    by_label_caption,
    by_length_caption,
    plot_by_label,
    plot_by_length,
    plot_conflicts,
    plot_curves,
    plot_differences,
    plot_reliability,
    plot_risk_coverage,
    plot_scores,
    risk_coverage_caption,
)
from extrabert_hf.runs.gradient_conflicts import Conflict
from extrabert_hf.runs.tables import number_cell

MOST_CHARACTERS = 2000
"""Maximum number of characters of a text in the page; a longer text is cut."""
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, characters that change the direction of a text, and lone surrogates."""
SAME_SCALE = {"scores", "by_length", "by_label", "label_counts", "risk_coverage"}
"""Kinds of figures with the same axes for all runs of a page."""


@dataclass(frozen=True)
class TaskData:
    """
    The rows of a task, as a report shows them.

    Args:
        task (`str`):
            Name of the task.
        names (`str`):
            Names of the files or of the data set, without folders.
        rows (`Mapping[str, int]`):
            Number of used rows by split.
        rejected (`int`):
            Number of rows that are not used.
    """

    task: str
    names: str
    rows: Mapping[str, int]
    rejected: int


@dataclass(frozen=True)
class ReportedRun:
    """
    One run of a report.

    Args:
        name (`str`):
            Name of the run.
        subtitle (`str`):
            A line that describes the model and its training.
        tasks (`Mapping[str, ReportedPredictions]`):
            Predictions for the dev rows by task.
        scores (`Mapping[str, SplitScores]`):
            Scores of the dev rows by task.
        history (`Sequence[Mapping[str, float]]`, *optional*):
            The `log_history` of training.
        conflicts (`Sequence[Conflict]`, *optional*):
            Cosines of the tasks' gradients, for a multitask run.
        data (`Sequence[TaskData]`, *optional*):
            The rows of each task.
        rejected (`Sequence[tuple[str, str, int]]`, *optional*):
            File, reason and number of the rows that are not used, the most frequent first.
        warnings (`Sequence[str]`, *optional*):
            What a reader must know before the scores, one sentence each.
    """

    name: str
    subtitle: str
    tasks: Mapping[str, ReportedPredictions]
    scores: Mapping[str, SplitScores]
    history: Sequence[Mapping[str, float]] = ()
    conflicts: Sequence[Conflict] = ()
    data: Sequence[TaskData] = ()
    rejected: Sequence[tuple[str, str, int]] = ()
    warnings: Sequence[str] = ()


def write_report(
    path: Path, runs: Sequence[ReportedRun], comparison: Sequence[Comparison] = (), *, title: str
) -> None:
    """
    Writes a page on one run, or on several runs side by side. The figures are written as PNG and SVG into the folder
    `<page>_figures/`; the figures of an earlier page of the same name are deleted.

    Args:
        path (`Path`):
            The page to write.
        runs (`Sequence[ReportedRun]`):
            One or more runs with different names that are valid in file names. Runs with the same task must have the
            same rows.
        comparison (`Sequence[Comparison]`, *optional*):
            Comparisons of several runs.
        title (`str`):
            Title of the page.
    """
    with recorded(path.parent):
        _write_report(path, runs, comparison, title)


def _write_report(path: Path, runs: Sequence[ReportedRun], comparison: Sequence[Comparison], title: str) -> None:
    folder = path.with_name(f"{path.stem}_figures")
    for earlier in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        remove_own(earlier)
    names = list(dict.fromkeys(name for run in runs for name in run.tasks))
    compared = {line.task for line in comparison}
    page = page_template("page.html.jinja").render(
        title=title,
        intervals_note=INTERVALS_NOTE,
        runs=runs,
        scores=[line for name in names for run in runs if name in run.tasks for line in _scores(name, run)],
        comparison=comparison_cells(comparison),
        comparison_caption=CAPTION,
        not_compared=[name for name in names if name not in compared],
        comparison_figure=_figure(plot_differences(comparison), "", folder, "differences") if comparison else None,
        tasks=[_task(name, runs, folder) for name in names],
        training_figures=[
            _figure(figure, caption, folder, kind, run.name if len(runs) > 1 else "")
            for run in runs
            for kind, (figure, caption) in _training_figures(run).items()
        ],
    )
    write_text(path, page)


def page_template(name: str) -> Template:
    """Loads a template of this folder: a text is escaped and cut by [`page_text`], an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("extrabert_hf", "runs"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
        finalize=page_text,
    )
    return environment.get_template(name, globals={"colours": Markup(COLOURS)})


def page_text(value: Any) -> Any:
    r"""
    Returns a value of the page: a text at most [`MOST_CHARACTERS`] long, with [`HIDDEN`] characters as escapes.

    The template escapes the result for HTML. `Markup`, the HTML of this package, stays as it is.

    Example:
        >>> page_text("left \u202e right")
        'left \\u202e right'
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if len(value) > MOST_CHARACTERS:
        value = f"{value[:MOST_CHARACTERS]}… ({len(value):,} characters)"
    return HIDDEN.sub(lambda found: repr(found[0])[1:-1], value)


def _scores(name: str, run: ReportedRun) -> Iterator[dict[str, str]]:
    report = run.scores[name]
    baseline = report.majority_baseline or {}
    for metric, value in report.metrics.items():
        yield {
            "task": name,
            "run": run.name,
            "metric": metric,
            "value": number_cell(value),
            "interval": interval_text(*report.intervals[metric], number_cell),
            "baseline": number_cell(baseline.get(metric)),
            "rows": f"{report.rows:,}",
        }


def _task(name: str, runs: Sequence[ReportedRun], folder: Path) -> dict[str, Any]:
    """Returns what the template shows for a task, and draws the task's figures."""
    of_runs = {run.name: run.tasks[name] for run in runs if name in run.tasks}
    spec = next(iter(of_runs.values())).predictions.task
    by_kind: dict[str, list[tuple[str, Figure, str]]] = {}
    for run_name, run in of_runs.items():
        for kind, (figure, caption) in _prediction_figures(name, run.predictions).items():
            by_kind.setdefault(kind, []).append((run_name, figure, caption))
    for kind in SAME_SCALE & by_kind.keys():
        _share_scale([figure for _, figure, _ in by_kind[kind]])
    figures = [
        [
            _figure(figure, caption, folder, f"{name}-{kind}", run_name if len(runs) > 1 else "")
            for run_name, figure, caption in of_kind
        ]
        for kind, of_kind in by_kind.items()
    ]
    return {
        "name": name,
        "figures": figures if len(of_runs) > 1 else [[figure for group in figures for figure in group]],
        "classes": [] if spec.is_regression else class_table({name: run.predictions for name, run in of_runs.items()}),
        "errors": error_table(of_runs, names_runs=len(runs) > 1),
        "explained": EXPLAINED,
        "without_weights": [run_name for run_name, run in of_runs.items() if not run.has_weights],
    }


def _share_scale(figures: Sequence[Figure]) -> None:
    """Sets the first axes of all figures to the same limits."""
    for direction in ("x", "y"):
        limits = [getattr(figure.axes[0], f"get_{direction}lim")() for figure in figures]
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        for figure in figures:
            getattr(figure.axes[0], f"set_{direction}lim")(low, high)


def _prediction_figures(name: str, predictions: Predictions) -> dict[str, tuple[Figure, str]]:
    """Draws the predictions of a task; returns figure and caption by kind."""
    task, title = predictions.task, f"{name}, {len(predictions.labels):,} rows"
    by_length = plot_by_length(predictions), by_length_caption(predictions)
    by_label = plot_by_label(predictions), by_label_caption(predictions)
    if task.is_regression:
        scores = plot_scores(predictions.labels, predictions.values, task.label_range, title)
        return {"scores": (scores, SCORES_CAPTION), "by_length": by_length, "by_label": by_label}
    classes = len(task.class_names)
    confusion = plot_confusion(predictions.labels, predictions.values, task.class_names, title)
    return {
        "confusion": (confusion, classes_caption(CONFUSION_CAPTION, classes)),
        "reliability": (plot_reliability(predictions), RELIABILITY_CAPTION),
        "risk_coverage": (plot_risk_coverage(predictions), risk_coverage_caption(predictions)),
        "label_counts": (plot_label_counts(predictions), classes_caption(LABEL_COUNTS_CAPTION, classes)),
        "by_length": by_length,
        "by_label": (by_label[0], classes_caption(by_label[1], classes)),
    }


def _training_figures(run: ReportedRun) -> dict[str, tuple[Figure, str]]:
    figures = {}
    if any("loss" in entry for entry in run.history):
        metrics = {name: task.predictions.task.metric for name, task in run.tasks.items()}
        figures["training"] = plot_curves(run.history, metrics), CURVES_CAPTION
    if run.conflicts:
        figures["gradient_conflicts"] = plot_conflicts(run.conflicts), CONFLICTS_CAPTION
    return figures


def _figure(figure: Figure, caption: str, folder: Path, kind: str, run: str = "") -> dict[str, str]:
    """Writes a figure as PNG and SVG and returns it for the page; `run` is the name to show."""
    name = f"{run}-{kind}" if run else kind
    write_figure(folder / f"{name}.png", figure, dpi=110)
    write_figure(folder / f"{name}.svg", figure)
    image = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
    return {"source": Markup(f"data:image/png;base64,{image}"), "caption": f"{run}: {caption}" if run else caption}
