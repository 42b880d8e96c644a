"""The columns of predictions in a table: their names, and their cells for each row."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.tasks import TaskSpec

DIGITS = 4
"""Decimal places of a probability."""


def prediction_columns(task: TaskSpec) -> list[str]:
    """
    Returns the names of a task's columns, all different.

    For classes: `predicted_class` (the name), `class_id`, and one probability `p_CLASS` for each class. A blank of a
    class name becomes `_`, unless two names would then be equal. For scores: `predicted_score`.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> prediction_columns(PAPER_TASKS["para"]), prediction_columns(PAPER_TASKS["sts"])
        (['predicted_class', 'class_id', 'p_not_paraphrase', 'p_paraphrase'], ['predicted_score'])
    """
    if task.is_regression:
        return ["predicted_score"]
    names = [name.replace(" ", "_") for name in task.class_names]
    if len(set(names)) < len(names):
        names = list(task.class_names)
    return ["predicted_class", "class_id", *(f"p_{name}" for name in names)]


def prediction_cells(predictions: Predictions) -> Iterator[tuple[Any, ...]]:
    """Returns the cells of [`prediction_columns`] for each row; probabilities are rounded."""
    if predictions.probabilities is None:
        return ((score,) for score in predictions.values.tolist())
    probabilities = predictions.probabilities.round(DIGITS).tolist()
    cells = zip(predictions.names, predictions.values.tolist(), probabilities, strict=True)
    return ((name, class_id, *of_row) for name, class_id, of_row in cells)


def free_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """
    Returns `names`; a name that is taken, or that comes twice, gets the first free number.

    Example:
        >>> free_names(["class_id", "p_a"], taken=["text", "class_id"])
        ['class_id_2', 'p_a']
    """
    used, free = {*taken}, []
    counts = Counter(names)
    for name in names:
        number, candidate = 1, name
        while candidate in used or (number > 1 and candidate in counts):
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        free.append(candidate)
    return free
