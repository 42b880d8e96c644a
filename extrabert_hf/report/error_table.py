"""The worst errors of one run or of several on the same rows, as cells of a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from extrabert_hf.evaluation.coloured_text import opacity
from extrabert_hf.report.answers import Answers, worst_rows

ERRORS_SHOWN = 200
"""Of each task, the worst."""


def error_table(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """
    Gives the rows that some run got wrong, the worst first, with what each run answered.

    Args:
        answers (`Mapping[str, Answers]`):
            By run, one or more, to the same rows.
    """
    sizes = np.stack([its.errors for its in answers.values()]).max(axis=0)  # (N,)
    worst = worst_rows(sizes)
    return {
        "wrong": len(worst),
        "size": "error" if next(iter(answers.values())).task.is_regression else "confidence",
        "answered": [f"answer of {name}" if len(answers) > 1 else "answer" for name in answers],
        "rows": [_cells(answers, row, sizes[row]) for row in worst[:ERRORS_SHOWN]],
    }


def _cells(answers: Mapping[str, Answers], row: int, size: float) -> dict[str, Any]:
    first = next(iter(answers.values()))
    return {
        "size": f"{size:.3f}",
        "label": _told(first, first.labels[row]),
        "answers": [_told(its, its.predictions[row]) for its in answers.values()],
        "words": int(first.words[row]),
        "sentences": [
            {"text": text, "weights": _weights(answers, row, index)} for index, text in enumerate(first.sentences[row])
        ],
    }


def _told(answers: Answers, value: float) -> str:
    return f"{value:.2f}" if answers.task.is_regression else answers.task.class_names[int(value)]


def _weights(answers: Mapping[str, Answers], row: int, index: int) -> list[tuple[str, str, float]] | None:
    """Gives a sentence's tokens with their weight and colour in the first run that has explained the row."""
    for name, its in answers.items():
        explanation = its.explanations.get(row)
        if explanation is not None and explanation.weights is not None:
            weights, prefix = explanation.weights[index], f"{name}: " if len(answers) > 1 else ""
            pairs = zip(explanation.tokens[index], weights, strict=True)
            return [(token, f"{prefix}{weight:.3f}", opacity(weight, max(weights))) for token, weight in pairs]
    return None
