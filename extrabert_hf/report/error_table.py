"""The worst errors of one run or of several on the same rows, as cells of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from extrabert_hf.evaluation.coloured_text import opacity
from extrabert_hf.report.answers import Answers, worst_rows

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
