"""
Reads a label: turns it into a class id or a score.

A label has one reading in every format: 1, "1", 1.0 and "1.0" are the same label, and so are true and "true".
"""

import math
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any

from extrabert_hf.errors import shorten
from extrabert_hf.tasks import DECIMAL_COMMA, THOUSANDS, TaskSpec, as_number, class_number, fold_name

Label = int | float
TRUTH_WORDS = {"false": 0, "no": 0, "f": 0, "n": 0, "true": 1, "yes": 1, "t": 1, "y": 1}
"""Labels that both classes of a task may have whose first class is the negation of the second."""

USUAL_ENDS = (1, 2, 3, 4, 5, 7, 10, 20, 50, 100, 1000)
"""Ends of usual ranges of scores."""


class BadValueError(ValueError):
    """
    The value of a column cannot be used.

    Args:
        reason (`str`):
            The reason for rejecting the row, the same for all values of this kind.
        value (`str`, *optional*):
            The value that came.
    """

    def __init__(self, reason: str, value: str = "") -> None:
        super().__init__(reason)
        self.reason, self.value = reason, value

    def __str__(self) -> str:
        return f"{self.reason}: {self.value}" if self.value else self.reason


def label_text(raw: Any) -> str | None:
    """
    Returns a label as text, the same for every format of a file; `None` for a row without a label.

    Example:
        >>> label_text(1), label_text(1.0), label_text(" 1 "), label_text(True), label_text(float("nan"))
        ('1', '1', '1', 'true', None)
    """
    if isinstance(raw, str):
        return raw.strip() or None
    if raw is None or (isinstance(raw, float | Decimal) and math.isnan(raw)):
        return None
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 1e15:
        return str(int(raw))
    if isinstance(raw, int | float | Decimal):
        return str(raw)
    raise BadValueError("label is not text or a number", type(raw).__name__)


def label_reader(task: TaskSpec, labels: Collection[str | None] = ()) -> Callable[[Any], Label]:
    """
    Returns the function that turns a label of a file into a class id (`int`) or a score (`float`).

    A class is written as its name or its id (`1`, `"1"`, `"1.0"`), a score as a number in `label_range`; any other
    value raises [`BadValueError`]. A name that is exactly the label has precedence over a name in another case, with
    other spaces or in another Unicode form, and a name over an id: if a class name is a number, such as in stars from
    1 to 5, numbers are names and never ids.

    Args:
        task (`TaskSpec`):
            The task that the labels belong to.
        labels (`Collection[str]`, *optional*):
            All labels of the split: they decide how scores are written, see [`score_numbers`]. For two classes of
            which one negates the other, such as "not paraphrase" and "paraphrase", a label and its
            negation ("duplicate" and "not_duplicate") or the words true and false, yes and no are read, too.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> read_label = label_reader(PAPER_TASKS["sst"])
        >>> read_label("3.0"), read_label("very positive")
        (3, 4)
    """
    as_score = score_numbers(labels) if task.is_regression else class_number
    read = _score_reader(task) if task.is_regression else _class_reader(task.class_names, labels)

    def read_label(raw: Any) -> Label:
        text = label_text(raw)
        if text is None:
            raise BadValueError("no label")
        return read(text, as_score(text))

    return read_label


def score_numbers(labels: Collection[str | None]) -> Callable[[str], float | None]:
    """
    Returns the function that reads the scores of a split, which are all written in one way.

    `2,5` is 2.5 if no number of the split has a decimal point, and `85 %` is 85 if every number has a percent sign.
    `1,234` is no number if each comma of the split can separate thousands.

    Example:
        >>> score_numbers(["0,125", "2,5", "n.a."])("0,125"), score_numbers(["1,234", "9"])("1,234")
        (0.125, None)
        >>> score_numbers(["85 %", "7%"])("85 %"), score_numbers(["85 %", "0.9"])("85 %")
        (85.0, None)
    """
    texts = [label.strip("\ufeff\u200b ") for label in labels if label]
    plain = [text for text in texts if not text.endswith("%")]
    has_percent = len(plain) < len(texts) and all(as_number(text.replace(",", ".")) is None for text in plain)
    numbers = [text.removesuffix("%").rstrip() for text in texts] if has_percent else texts
    commas = [text for text in numbers if DECIMAL_COMMA.fullmatch(text)]
    has_point = any("." in text and as_number(text) is not None for text in numbers)
    has_comma = not has_point and not all(map(THOUSANDS.fullmatch, commas))

    def read(text: str) -> float | None:
        text = text.strip("\ufeff\u200b ")
        text = text.removesuffix("%") if has_percent else text
        return as_number(text.replace(",", ".") if has_comma else text)

    return read


def usual_range(least: float, most: float) -> tuple[float, float]:
    """
    Returns the usual range of scores from `least` to `most`.

    Example:
        >>> usual_range(0.2, 4.8), usual_range(1, 5), usual_range(0.1, 0.9), usual_range(-0.5, 0.5)
        ((0, 5), (1, 5), (0, 1), (-1, 1))
    """
    high = next((end for end in USUAL_ENDS if most <= end), math.ceil(most))
    low = 1 if least == 1 and high in (5, 7, 10) else 0
    if least < 0:
        low = -next((end for end in USUAL_ENDS if -least <= end), math.ceil(-least))
    return low, high


def _score_reader(task: TaskSpec) -> Callable[[str, float | None], float]:
    low, high = task.label_range

    def read(text: str, number: float | None) -> float:
        if number is None:
            raise BadValueError("label is not a number", shorten(repr(text), 40))
        if not low <= number <= high:
            raise BadValueError(f"label is not in {low:g} to {high:g}", shorten(text, 40))
        return number

    return read


def _class_reader(names: tuple[str, ...], labels: Collection[str | None]) -> Callable[[str, float | None], int]:
    exact = {name: index for index, name in enumerate(names)}
    folded = {fold_name(name): index for index, name in enumerate(names)}
    by_words = {words_of(name): index for index, name in enumerate(names)}
    if len(by_words) < len(names):
        by_words = {}
    by_number = {number: index for index, name in enumerate(names) if (number := class_number(name)) is not None}
    by_number = by_number or {float(index): index for index in range(len(names))}
    of_two_classes = _words_of_two_classes(names, labels)

    def read(text: str, number: float | None) -> int:
        for key, classes in ((text, exact), (fold_name(text), folded), (words_of(text), by_words | of_two_classes)):
            if key in classes:
                return classes[key]
        if number in by_number:
            return by_number[number]
        if number is None:
            raise BadValueError("label is not a number or a class name", shorten(repr(text), 40))
        if math.isfinite(number) and not number.is_integer():
            raise BadValueError("label is not a whole number", shorten(text, 40))
        low, high = min(by_number), max(by_number)
        is_between = low < number < high  # such as 2, if the classes are 0, 1 and 3
        reason = "label is not a class of the task" if is_between else f"label is not in {low:g} to {high:g}"
        raise BadValueError(reason, shorten(text, 40))

    return read


def words_of(name: str) -> str:
    """Returns the words of a label in lower case: "very negative" for "Very_Negative"."""
    if class_number(name) is not None:
        return name  # the sign of a number is no hyphen
    return " ".join(fold_name(name).replace("_", " ").replace("-", " ").split())


def without_negation(name: str) -> str | None:
    """Returns "duplicate" for "not_duplicate"; `None` for a name without a negation."""
    first, _, rest = words_of(name).partition(" ")
    return rest if rest and first in ("not", "non", "no") else None


def _words_of_two_classes(names: tuple[str, ...], labels: Collection[str | None]) -> dict[str, int]:
    if len(names) != 2 or without_negation(names[0]) != words_of(names[1]):
        return {}
    found = {words_of(label) for label in labels if label}
    pairs = [(label, positive) for label in found if (positive := without_negation(label)) in found]
    own = dict.fromkeys(pairs[0]) if len(pairs) == 1 else {}
    return TRUTH_WORDS | {label: index for index, label in enumerate(own)}
