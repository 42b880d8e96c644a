"""Finds labels that are probably slips: classes of a single row, and a rare score that makes the range larger."""

import shlex
from collections import Counter
from collections.abc import Mapping

from extrabert_hf.data.labels import Label, usual_range
from extrabert_hf.errors import shorten
from extrabert_hf.tasks import TaskSpec

RARE = 0.01
"""Share of the rows up to which a score at the end of the range is probably a slip."""
CLASSES_SHOWN = 10


def find_slips(counts: Mapping[str | None, int], used: Mapping[str, Label], task: TaskSpec, file: str) -> list[str]:
    """
    Returns warnings about labels that are probably slips, one line each.

    Args:
        counts (`Mapping[str, int]`):
            Number of rows by label of the train rows.
        used (`Mapping[str, int | float]`):
            By label that can be read, the class id or the score.
        task (`TaskSpec`):
            The task.
        file (`str`):
            Name of the file in messages.
    """
    rows: Counter[Label] = Counter()
    for label, value in used.items():
        rows[value] += counts[label]
    return _stray_scores(rows, task, file) if task.is_regression else _classes_of_one_row(rows, task, file)


def counted_rows(number: int) -> str:
    """
    Returns a number of rows as words.

    Example:
        >>> counted_rows(1), counted_rows(1200)
        ('1 row', '1,200 rows')
    """
    return f"{number:,} row{'s' * (number != 1)}"


def _classes_of_one_row(rows: Mapping[Label, int], task: TaskSpec, file: str) -> list[str]:
    single = {index for index, count in rows.items() if count == 1}
    others = [name for index, name in enumerate(task.class_names) if index in rows and index not in single]
    if not single or len(others) < max(2, len(single)):  # a file of few rows for its classes
        return []
    names = [repr(shorten(name, 40)) for index, name in enumerate(task.class_names) if index in single]
    flag = f"`--class_names {shlex.join(others)}`"
    choice = flag if flag.isprintable() and len(flag) <= 300 else "`--class_names` with the other classes"
    shown = f"{', '.join(names[:CLASSES_SHOWN])}{', ...' * (len(names) > CLASSES_SHOWN)}"
    return [f"{file} has a single row of {shown}: correct the labels, or leave these rows out with {choice}"]


def _stray_scores(rows: Mapping[Label, int], task: TaskSpec, file: str) -> list[str]:
    """Warns about a rare whole number. Scores with fractions are rare at the ends of their range, too."""
    found = usual_range(min(rows), max(rows))
    if found != task.label_range or not all(float(score).is_integer() for score in rows):
        return []
    for position, end, flag in ((1, max(rows), "--label_max"), (0, min(rows), "--label_min")):
        rest = [score for score in rows if score != end]
        if len(rest) < 2 or rows[end] > RARE * sum(rows.values()):
            continue
        value = usual_range(min(rest), max(rest))[position]
        if value != found[position]:
            count = counted_rows(rows[end])
            return [f"{file} has {count} with the score {end:g}: `{flag} {value:g}` leaves such rows out"]
    return []
