"""Answers and scores of one run or of several -> a page that opens without a network, its figures beside it."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from extrabert_hf.evaluation.scores import SplitScores
from extrabert_hf.inference.explanation import opacity
from extrabert_hf.runs.answers import EXPLAINED, Answers, worst_rows
from extrabert_hf.runs.comparison import CAPTION, Comparison, comparison_cells
from extrabert_hf.runs.figures import (
    CONFLICTS_CAPTION,
    CURVES_CAPTION,
    plot_by_label,
    plot_by_length,
    plot_conflicts,
    plot_confusion,
    plot_curves,
    plot_differences,
    plot_label_counts,
    plot_reliability,
    plot_scores,
)
from extrabert_hf.runs.gradient_conflicts import Conflict
from extrabert_hf.runs.tables import number_cell

ERRORS_SHOWN = 200
"""Of each task, the worst."""


def error_table(answers: Mapping[str, Answers], *, names_runs: bool) -> dict[str, Any]:
    """
    Gives the rows that some run got wrong, the worst first, with what each run answered.

    Args:
        answers (`Mapping[str, Answers]`):
            By run, one or more, to the same rows.
        names_runs (`bool`):
            Whether to say whose the answers and the colours are.
    """
    is_regression = next(iter(answers.values())).task.is_regression
    sizes = np.stack([its.errors for its in answers.values()]).max(axis=0)  # (N,)
    worst = worst_rows(sizes)
    return {
        "wrong": len(worst),
        "size": "error" if is_regression else "confidence",
        "are_numbers": is_regression,
        "answered": [f"answer of {name}" if names_runs else "answer" for name in answers],
        "rows": [_cells(answers, row, sizes[row], names_runs) for row in worst[:ERRORS_SHOWN]],
    }


def _cells(answers: Mapping[str, Answers], row: int, size: float, names_runs: bool) -> dict[str, Any]:
    first = next(iter(answers.values()))
    coloured_by, coloured = _explained(answers, row)
    return {
        "size": f"{size:.3f}",
        "label": _told(first, first.labels[row]),
        "answers": [_told(its, its.predictions[row]) for its in answers.values()],
        "words": int(first.words[row]),
        "texts": first.sentences[row],
        "coloured": coloured,
        "coloured_by": coloured_by if names_runs else None,
    }


def _told(answers: Answers, value: float) -> str:
    return f"{value:.2f}" if answers.task.is_regression else answers.task.class_names[int(value)]


def _explained(answers: Mapping[str, Answers], row: int) -> tuple[str | None, list[list[tuple[str, str, float]]]]:
    """Gives the first run that has token weights of a row, and each sentence's tokens, weights and their opacity."""
    for name, its in answers.items():
        explanation = its.explanations.get(row)
        if explanation is not None and explanation.weights is not None:
            return name, list(map(_coloured, explanation.tokens, explanation.weights))
    return None, []


def _coloured(tokens: Sequence[str], weights: Sequence[float]) -> list[tuple[str, str, float]]:
    strongest, pairs = max(weights), zip(tokens, weights, strict=True)
    return [(token, f"{weight:.3f}", opacity(weight, strongest)) for token, weight in pairs]


SAME_SCALE = {"scores", "by_length", "by_label", "label_counts"}
"""Figures whose axes are the same for all runs of a page."""


@dataclass(frozen=True)
class ReportedRun:
    """
    What a page says of a run.

    Args:
        name (`str`):
            What it is called.
        subtitle (`str`):
            A line on what was trained, how and where.
        answers (`Mapping[str, Answers]`):
            By task, the answers to its dev rows.
        scores (`Mapping[str, SplitScores]`):
            Scores of the dev rows by task.
        history (`Sequence[Mapping[str, float]]`, *optional*):
            The `log_history` of training.
        conflicts (`Sequence[Conflict]`, *optional*):
            How the tasks' gradients opposed each other.
    """

    name: str
    subtitle: str
    answers: Mapping[str, Answers]
    scores: Mapping[str, SplitScores]
    history: Sequence[Mapping[str, float]] = ()
    conflicts: Sequence[Conflict] = ()


def write_report(
    path: Path, runs: Sequence[ReportedRun], comparison: Sequence[Comparison] = (), *, title: str
) -> None:
    """
    Writes a page on one run, or on several side by side, and what it draws as PNG and SVG into `<page>_figures/`,
    in place of what an earlier page of this name drew.

    Args:
        path (`Path`):
            The page to write.
        runs (`Sequence[ReportedRun]`):
            One or more, with names that differ and can be part of a file's. A task that several have must have the
            same rows in all.
        comparison (`Sequence[Comparison]`, *optional*):
            Comparisons of several runs.
        title (`str`):
            What the page is called.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    template = files("extrabert_hf.runs").joinpath("page.html.jinja").read_text(encoding="utf-8")
    folder = path.with_name(f"{path.stem}_figures")
    for earlier in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        earlier.unlink()
    names = list(dict.fromkeys(name for run in runs for name in run.answers))
    compared = {line.task for line in comparison}
    page = environment.from_string(template).render(
        title=title,
        runs=runs,
        scores=[line for name in names for run in runs if name in run.answers for line in _scores(name, run)],
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
    path.write_text(page, encoding="utf-8")


def _scores(name: str, run: ReportedRun) -> Iterator[dict[str, str]]:
    report = run.scores[name]
    baseline = report.majority_baseline or {}
    for metric, value in report.metrics.items():
        yield {
            "task": name,
            "run": run.name,
            "metric": metric,
            "value": number_cell(value),
            "interval": f"[{', '.join(map(number_cell, report.intervals[metric]))}]",
            "baseline": number_cell(baseline.get(metric)),
            "rows": f"{report.rows:,}",
        }


def _task(name: str, runs: Sequence[ReportedRun], folder: Path) -> dict[str, Any]:
    answers = {run.name: run.answers[name] for run in runs if name in run.answers}
    by_kind: dict[str, list[tuple[str, Figure, str]]] = {}
    for run_name, its in answers.items():
        for kind, (figure, caption) in _answer_figures(name, its).items():
            by_kind.setdefault(kind, []).append((run_name, figure, caption))
    for kind in SAME_SCALE & by_kind.keys():
        _share_scale([figure for _, figure, _ in by_kind[kind]])
    figures = [
        [
            _figure(figure, caption, folder, f"{name}-{kind}", run_name if len(runs) > 1 else "")
            for run_name, figure, caption in its
        ]
        for kind, its in by_kind.items()
    ]
    return {
        "name": name,
        "figures": figures if len(answers) > 1 else [[figure for group in figures for figure in group]],
        "errors": error_table(answers, names_runs=len(runs) > 1),
        "explained": EXPLAINED,
        "without_weights": [run_name for run_name, its in answers.items() if not its.has_weights],
    }


def _share_scale(figures: Sequence[Figure]) -> None:
    """Draws the first axes of figures of one kind to one scale, for the eye to compare."""
    for direction in ("x", "y"):
        limits = [getattr(figure.axes[0], f"get_{direction}lim")() for figure in figures]
        for figure in figures:
            getattr(figure.axes[0], f"set_{direction}lim")(
                min(low for low, _ in limits), max(top for _, top in limits)
            )


def _answer_figures(name: str, answers: Answers) -> dict[str, tuple[Figure, str]]:
    task, title = answers.task, f"{name}, {len(answers.labels):,} rows"
    if task.is_regression:
        scores = plot_scores(answers.labels, answers.predictions, task.label_range, title)
        return {
            "scores": (scores, "Predicted against label, with the histogram of each"),
            "by_length": (plot_by_length(answers), "Error by length"),
            "by_label": (plot_by_label(answers), "Error by label"),
        }
    return {
        "confusion": (
            plot_confusion(answers.labels, answers.predictions, task.class_names, title),
            "What was taken for what",
        ),
        "reliability": (plot_reliability(answers), "How often answers of a confidence are right"),
        "label_counts": (plot_label_counts(answers), "How often each label is there, and how often it is answered"),
        "by_length": (plot_by_length(answers), "Right answers by length"),
        "by_label": (plot_by_label(answers), "Right answers by label"),
    }


def _training_figures(run: ReportedRun) -> dict[str, tuple[Figure, str]]:
    figures = {}
    if any("loss" in entry for entry in run.history):
        metrics = {name: its.task.metric for name, its in run.answers.items()}
        figures["training"] = plot_curves(run.history, metrics), CURVES_CAPTION
    if run.conflicts:
        figures["gradient_conflicts"] = plot_conflicts(run.conflicts), CONFLICTS_CAPTION
    return figures


def _figure(figure: Figure, caption: str, folder: Path, kind: str, run: str = "") -> dict[str, str]:
    """Draws a figure into the page, and as PNG and SVG into the folder; of several runs, `run` says whose."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    file = folder / (f"{run}-{kind}" if run else kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_name(f"{file.name}.png").write_bytes(image.getvalue())
    figure.savefig(file.with_name(f"{file.name}.svg"))
    caption = f"{run}: {caption}" if run else caption
    return {"source": f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}", "caption": caption}
