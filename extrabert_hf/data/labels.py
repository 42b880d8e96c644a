"""Labels as they came -> class ids and scores."""

import math
from collections.abc import Callable
from typing import Any

from extrabert_hf.data.reading import shorten
from extrabert_hf.tasks import TaskSpec

Label = int | float

HIDDEN_LABELS = ("", "none", "nan", "-1", "-1.0")
"""How a test row says that its label is withheld, where this is no label of the task; -1 is GLUE's."""


class BadValueError(ValueError):
    """A row's value is not what its column holds; the message is the reason for the row's rejection."""


def label_reader(task: TaskSpec) -> Callable[[Any], Label]:
    """
    Makes the function that turns a label as it came into a class id (`int`) or a score (`float`).

    A class is given by its name or its id however written (`1`, `"1"`, `"1.0"`), a score by a number of `label_range`;
    anything else raises [`BadValueError`]. Classes whose names are numbers, such as stars from 1 to 5, are known by
    these numbers, not by their ids.

    Args:
        task (`TaskSpec`):
            The task the labels belong to.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> read_label = label_reader(PAPER_TASKS["sst"])
        >>> read_label("3.0"), read_label("very positive")
        (3, 4)
    """
    if task.is_regression:
        return lambda raw: _score(raw, *task.label_range)
    by_name = {name.casefold(): index for index, name in enumerate(task.class_names)}
    by_number = _numbers_of_classes(task.class_names)
    return lambda raw: _class_id(raw, by_name, by_number)


def optional_label(raw: Any, read_label: Callable[[Any], Label]) -> Label | None:
    """Reads a label that may be withheld: `None` where it is."""
    try:
        return read_label(raw)
    except BadValueError:
        if str(raw).strip().lower() in HIDDEN_LABELS:
            return None
        raise


def _numbers_of_classes(names: tuple[str, ...]) -> dict[float, int]:
    try:
        return {float(name): index for index, name in enumerate(names)}
    except ValueError:
        return {float(index): index for index in range(len(names))}


def _class_id(raw: Any, by_name: dict[str, int], by_number: dict[float, int]) -> int:
    if isinstance(raw, str) and (name := raw.strip().casefold()) in by_name:
        return by_name[name]
    number = _number(raw, or_one_of=" or a class name")
    if number not in by_number:
        if number.is_integer():
            raise BadValueError(f"label {number:g} is not in {min(by_number):g} to {max(by_number):g}")
        raise BadValueError(f"label {number:g} is not a whole number")
    return by_number[number]


def _score(raw: Any, low: float, high: float) -> float:
    number = _number(raw)
    if not low <= number <= high:
        raise BadValueError(f"label {number:g} is not in {low:g} to {high:g}")
    return number


def _number(raw: Any, or_one_of: str = "") -> float:
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        raise BadValueError("no label")
    try:
        number = float(raw)
    except (TypeError, ValueError):
        raise BadValueError(f"label {shorten(repr(raw), 40)} is not a number{or_one_of}") from None
    if math.isnan(number):
        raise BadValueError("label is NaN")
    return number
