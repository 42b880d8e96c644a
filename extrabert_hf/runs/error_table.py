"""The rows that runs predict with an error, the largest error first, as the cells of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from extrabert_hf.errors import shorten
from extrabert_hf.inference.explanation import Explanation, opacity
from extrabert_hf.inference.predictor import Predictions, worst_rows

ERRORS_SHOWN = 200
"""Number of rows in a task's table of errors."""

ID_LENGTH = 60
"""Number of characters of a row's id in the table; a longer id is cut."""

Token = tuple[str, str, float]
"""A token, its weight as text, and the opacity of its background."""


@dataclass(frozen=True)
class ReportedPredictions:
    """
    The predictions of one run for the dev rows of a task, as a report shows them.

    Args:
        predictions ([`Predictions`]):
            Predictions for labelled rows.
        explanations (`Mapping[int, Explanation]`):
            Explanations of the largest errors by the index of the row, see [`explain_worst_rows`].
    """

    predictions: Predictions
    explanations: Mapping[int, Explanation]

    @property
    def has_weights(self) -> bool:
        """Whether at least one explanation has token weights; the encoder's own pooler has no token weights."""
        return any(explanation.weights is not None for explanation in self.explanations.values())


@dataclass(frozen=True)
class ErrorRow:
    """
    One row of a table of errors, as text.

    Args:
        id (`str`):
            Id of the row.
        line (`int`):
            Line of the row in its file.
        size (`str`):
            The largest error of all runs.
        label (`str`):
            Class name or score.
        predictions (`list[str]`):
            Predicted class name or score of each run.
        words (`int`):
            Number of words of the longest sentence.
        texts (`tuple[str, ...]`):
            The sentences.
        tokens (`list[list[Token]]`):
            Tokens of each sentence with their weights; empty without an explanation.
        tokens_of (`str`, *optional*):
            Name of the run whose weights the tokens have, on a page of several runs.
    """

    id: str
    line: int
    size: str
    label: str
    predictions: list[str]
    words: int
    texts: tuple[str, ...]
    tokens: list[list[Token]]
    tokens_of: str | None


@dataclass(frozen=True)
class ErrorTable:
    """
    The rows with an error in at least one run, the largest error first.

    Args:
        wrong (`int`):
            Number of all rows with an error, including rows that the table does not show.
        size (`str`):
            Heading of the column of sizes: `"error"` for scores, `"confidence"` for classes.
        are_numbers (`bool`):
            Whether labels and predictions are scores.
        headings (`list[str]`):
            Heading of each run's column of predictions.
        rows (`list[ErrorRow]`):
            At most [`ERRORS_SHOWN`] rows.
    """

    wrong: int
    size: str
    are_numbers: bool
    headings: list[str]
    rows: list[ErrorRow]


def error_table(runs: Mapping[str, ReportedPredictions], *, names_runs: bool) -> ErrorTable:
    """
    Lists the rows that at least one run predicts with an error.

    Args:
        runs (`Mapping[str, ReportedPredictions]`):
            Predictions of one run or of several for the same rows, by the run's name.
        names_runs (`bool`):
            Whether to show the names of the runs.
    """
    is_regression = _first(runs).predictions.task.is_regression
    sizes = np.stack([run.predictions.errors for run in runs.values()]).max(axis=0)  # (N,)
    worst = worst_rows(sizes)
    return ErrorTable(
        wrong=len(worst),
        size="error" if is_regression else "confidence",
        are_numbers=is_regression,
        headings=[f"prediction of {name}" if names_runs else "prediction" for name in runs],
        rows=[_error_row(runs, row, sizes[row], names_runs) for row in worst[:ERRORS_SHOWN]],
    )


def _error_row(runs: Mapping[str, ReportedPredictions], row: int, size: float, names_runs: bool) -> ErrorRow:
    first = _first(runs).predictions
    tokens_of, tokens = _weighted_tokens(runs, row)
    return ErrorRow(
        id=shorten(first.ids[row], ID_LENGTH),
        line=first.lines[row],
        size=f"{size:.3f}",
        label=_value_cell(first, first.labels[row]),
        predictions=[_value_cell(run.predictions, run.predictions.values[row]) for run in runs.values()],
        words=int(first.words[row]),
        texts=first.sentences[row],
        tokens=tokens,
        tokens_of=tokens_of if names_runs else None,
    )


def _first(runs: Mapping[str, ReportedPredictions]) -> ReportedPredictions:
    return next(iter(runs.values()))


def _value_cell(predictions: Predictions, value: float) -> str:
    return f"{value:.2f}" if predictions.task.is_regression else predictions.task.class_names[int(value)]


def _weighted_tokens(runs: Mapping[str, ReportedPredictions], row: int) -> tuple[str | None, list[list[Token]]]:
    """Returns the name of the first run with token weights of a row, and the tokens of each sentence."""
    for name, run in runs.items():
        explanation = run.explanations.get(row)
        if explanation is not None and explanation.weights is not None:
            return name, list(map(_with_opacity, explanation.tokens, explanation.weights))
    return None, []


def _with_opacity(tokens: Sequence[str], weights: Sequence[float]) -> list[Token]:
    largest, pairs = max(weights), zip(tokens, weights, strict=True)
    return [(token, f"{weight:.3f}", opacity(weight, largest)) for token, weight in pairs]
