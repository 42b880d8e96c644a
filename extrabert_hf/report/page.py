"""A run's answers and scores -> `report.html`, one file that opens without a network."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from extrabert_hf.evaluation.coloured_text import opacity
from extrabert_hf.evaluation.figures import CURVES_CAPTION, plot_confusion, plot_curves, plot_scores
from extrabert_hf.evaluation.tables import number_cell
from extrabert_hf.report.answers import Answers
from extrabert_hf.report.figures import plot_by_label, plot_by_length, plot_reliability

REPORT_FILE = "report.html"
ERRORS_SHOWN = 200
"""Of each task, the worst."""


def write_report(
    path: Path,
    answers: Mapping[str, Answers],
    scores: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    subtitle: str,
    history: Sequence[Mapping[str, float]] = (),
    run_figures: Mapping[Path, str] | None = None,
) -> None:
    """
    Writes the report of a run.

    Args:
        path (`Path`):
            The page to write.
        answers (`Mapping[str, Answers]`):
            By task, the answers to its dev rows.
        scores (`Mapping[str, Mapping[str, Any]]`):
            By task, what [`score`] gives of them.
        title (`str`):
            What the page is called.
        subtitle (`str`):
            A line on what was trained, how and where.
        history (`Sequence[Mapping[str, float]]`, *optional*):
            The `log_history` of training.
        run_figures (`Mapping[Path, str]`, *optional*):
            More figures of the training, their captions by file; those that are not there are left out.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    template = files("extrabert_hf.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    more = {file: caption for file, caption in (run_figures or {}).items() if file.is_file()}
    figures = [_figure(file.read_bytes(), caption) for file, caption in more.items()]
    if any("loss" in entry for entry in history):
        metrics = {name: its.task.metric for name, its in answers.items()}
        figures.insert(0, _figure(plot_curves(history, metrics), CURVES_CAPTION))
    page = environment.from_string(template).render(
        title=title,
        subtitle=subtitle,
        tasks=[_task(name, its, scores[name]) for name, its in answers.items()],
        run_figures=figures,
    )
    path.write_text(page, encoding="utf-8")


def _task(name: str, answers: Answers, report: Mapping[str, Any]) -> dict[str, Any]:
    baseline = report["majority_baseline"] or {}
    scores = [
        {
            "metric": metric,
            "value": number_cell(value),
            "interval": f"[{', '.join(map(number_cell, report['intervals'][metric]))}]",
            "baseline": number_cell(baseline.get(metric)),
            "rows": f"{report['rows']:,}",
        }
        for metric, value in report["metrics"].items()
    ]
    return {
        "name": name,
        "is_regression": answers.task.is_regression,
        "scores": scores,
        "figures": [_figure(figure, caption) for figure, caption in _figures(name, answers)],
        "wrong": f"{len(answers.worst):,}",
        "errors": [_error(answers, row) for row in answers.worst[:ERRORS_SHOWN]],
    }


def _figures(name: str, answers: Answers) -> list[tuple[Figure, str]]:
    task, title = answers.task, f"{name}, {len(answers.labels):,} rows"
    if task.is_regression:
        first = (plot_scores(answers.labels, answers.predictions, task.label_range, title), "Predicted against label")
        return [first, (plot_by_length(answers), "Error by length"), (plot_by_label(answers), "Error by label")]
    return [
        (plot_confusion(answers.labels, answers.predictions, task.class_names, title), "What was taken for what"),
        (plot_reliability(answers), "How often answers of a confidence are right"),
        (plot_by_length(answers), "Right answers by length"),
        (plot_by_label(answers), "Right answers by label"),
    ]


def _error(answers: Answers, row: int) -> dict[str, Any]:
    task, label, prediction = answers.task, answers.labels[row], answers.predictions[row]
    told = (
        (f"{label:.2f}", f"{prediction:.2f}")
        if task.is_regression
        else (task.class_names[label], task.class_names[prediction])
    )
    explanation = answers.explanations.get(row)
    sentences = []
    for index, text in enumerate(answers.sentences[row]):
        weights = None
        if explanation is not None and explanation.weights is not None:
            strongest = max(explanation.weights[index])
            pairs = zip(explanation.tokens[index], explanation.weights[index], strict=True)
            weights = [(token, f"{weight:.3f}", opacity(weight, strongest)) for token, weight in pairs]
        sentences.append({"text": text, "weights": weights})
    return {
        "size": f"{answers.errors[row]:.3f}",
        "label": told[0],
        "answer": told[1],
        "words": int(answers.words[row]),
        "sentences": sentences,
    }


def _figure(figure: Figure | bytes, caption: str) -> dict[str, str]:
    if isinstance(figure, Figure):
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=110)
        figure = image.getvalue()
    return {"source": f"data:image/png;base64,{base64.b64encode(figure).decode()}", "caption": caption}
