"""
Checks rows: finds a task's columns, reads labels, and turns each row into a good row or a [`RejectedRow`].

A good row is a dictionary of `sentence1`, for pairs `sentence2`, `label` and `id`. The column names of the file do not
matter.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from extrabert_hf.data.reading import RejectedRow, Row, Rows, shorten
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

# Columns

WELL_KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "sentence1": ("sentence1", "sentence", "sentence_1", "question1", "text", "text1", "text_a", "premise", "review"),
    "sentence2": ("sentence2", "sentence_2", "question2", "text2", "text_b", "hypothesis"),
    "label": ("label", "labels", "sentiment", "is_duplicate", "similarity", "similarity_score", "score", "rating"),
    "id": ("id", "idx", "guid", "pair_id", "pairid"),
}
"""Column names in GLUE, SentEval, the CS224N course and the Hub's pair data sets, in order of preference."""


@dataclass(frozen=True)
class Columns:
    """
    The names of a task's columns in a file.

    Args:
        sentence1 (`str`):
            Column of the sentence, or of a pair's first sentence.
        sentence2 (`str`, *optional*):
            Column of a pair's second sentence; `None` for a task on one sentence.
        label (`str`, *optional*):
            Column of the label; `None` without labels.
        id (`str`, *optional*):
            Column of the row's id; `None` if the line of a row is its id.
    """

    sentence1: str
    sentence2: str | None = None
    label: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role} = {name!r}" for role, name in vars(self).items() if name is not None)


def find_columns(present: Sequence[str], task: TaskSpec, source: str, *, label_required: bool = True) -> Columns:
    """
    Finds a task's columns among the columns of a file.

    If the task names a column, the file must have this column; only a column name that the task remembers from
    training rows may be missing in the file. Otherwise the first of `WELL_KNOWN_NAMES` that the file has is used,
    ignoring case. The id may be missing, and a label that is not required may be missing, too.

    Args:
        present (`Sequence[str]`):
            The file's column names; an unnamed column (`""`) is ignored.
        task (`TaskSpec`):
            The task with its `sentence1_column`, `sentence2_column`, `label_column` and `id_column`.
        source (`str`):
            Name of the file in an error message.
        label_required (`bool`, *optional*, defaults to `True`):
            Whether a missing label column is an error.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> print(find_columns(["", "id", "question1", "question2", "Label"], PAPER_TASKS["para"], "rows.csv"))
        sentence1 = 'question1', sentence2 = 'question2', label = 'Label', id = 'id'
    """
    task = task.without_missing_columns(present)
    columns = Columns(
        sentence1=_find_column("sentence1", task.sentence1_column, present, source),
        sentence2=_find_column("sentence2", task.sentence2_column, present, source) if task.is_pair else None,
        label=_find_column("label", task.label_column, present, source, required=label_required),
        id=_find_column("id", task.id_column, present, source, required=task.id_column is not None),
    )
    roles: dict[str, str] = {}
    for role, name in vars(columns).items():
        if name in roles:
            flags = f"`--{roles[name]}_column` and `--{role}_column`"
            raise InputError(f"{flags} must name two different columns of {source}, got {name!r} for both.")
        if name is not None:
            roles[name] = role
    return columns


def _find_column(
    role: str, named: str | None, present: Sequence[str], source: str, required: bool = True
) -> str | None:
    names = ", ".join(repr(name[:40]) for name in present if name)
    if named is not None:
        if named in present:
            return named
        if required:
            raise InputError(f"`--{role}_column` must name a column of {source} ({names}), got {named!r}.")
        return None
    by_folded_name = {name.casefold(): name for name in reversed(present)}
    for candidate in WELL_KNOWN_NAMES[role]:
        if candidate in by_folded_name:
            return by_folded_name[candidate]
    if required:
        candidates = ", ".join(WELL_KNOWN_NAMES[role])
        raise InputError(
            f"{source} has no column for `{role}`: looked for {candidates}; there are {names}. "
            f"Name the column with `--{role}_column`."
        )
    return None


# Labels

Label = int | float
LabelReader = Callable[[Any], Label | None]
LabelUse = Literal["required", "optional", "ignored"]

HIDDEN_LABELS = ("", "none", "nan", "-1", "-1.0")
"""Values that mark a withheld label of a test row, unless the value is a label of the task. GLUE uses -1."""


class BadValueError(ValueError):
    """The value of a column cannot be used; the message is the reason for rejecting the row."""


def split_label_reader(task: TaskSpec, use: LabelUse) -> LabelReader | None:
    """
    Decides, before the rows of a split are checked, how all labels of the split are read.

    Args:
        task (`TaskSpec`):
            The task that the labels belong to.
        use (`str`):
            `"required"` rejects a row without a label, `"optional"` reads a withheld label as `None`, and `"ignored"`
            reads no labels.
    """
    if use == "ignored":
        return None
    read_label = label_reader(task)
    return read_label if use == "required" else partial(optional_label, read_label=read_label)


def label_reader(task: TaskSpec) -> Callable[[Any], Label]:
    """
    Returns the function that turns a label of a file into a class id (`int`) or a score (`float`).

    A class is written as its name or its id (`1`, `"1"`, `"1.0"`), a score as a number in `label_range`; any other
    value raises [`BadValueError`]. If the class names are numbers, such as stars from 1 to 5, a number is read as a
    name and not as an id.

    Args:
        task (`TaskSpec`):
            The task that the labels belong to.

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
    """Reads a label with `read_label`; returns `None` for a withheld label."""
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


# Rows

REASONS_SHOWN = 4
"""Number of reasons for rejection that a notice lists."""


def valid_rows(rows: Rows, columns: Columns, file: str, read_label: LabelReader | None) -> Rows:
    """
    Checks rows and renames the columns to `sentence1`, for pairs `sentence2`, `label` and `id`.

    Text is stripped and must not be empty. A row without an id gets its line as id. A row that is already rejected
    passes through unchanged.

    Args:
        rows (iterator over [`ReadRow`]s):
            The rows, see [`read_rows`].
        columns (`Columns`):
            Names of the task's columns in the rows.
        file (`str`):
            Name of the file in a rejected row.
        read_label (`Callable`, *optional*):
            Reads a label, see [`split_label_reader`]. With `None`, the good rows have no `label`.

    Returns:
        Iterator over [`ReadRow`]s, one for each of `rows`, in the same order.
    """
    texts = [("sentence1", columns.sentence1)]
    if columns.sentence2 is not None:
        texts.append(("sentence2", columns.sentence2))
    for numbered in rows:
        if isinstance(numbered, RejectedRow):
            yield numbered
            continue
        line, row = numbered
        try:
            values: Row = {name: _clean_text(row.get(column), name) for name, column in texts}
            if read_label is not None:
                values["label"] = read_label(row.get(columns.label))
        except BadValueError as error:
            used = {name: row[name] for name in vars(columns).values() if row.get(name) is not None}
            yield RejectedRow.of(file, line, str(error), used)
            continue
        row_id = row.get(columns.id)
        values["id"] = str(line) if row_id is None or row_id == "" else str(row_id)
        yield line, values


def _clean_text(raw: Any, name: str) -> str:
    if raw is None:
        raise BadValueError(f"empty {name}")
    if not isinstance(raw, str):
        raise BadValueError(f"{name} is not text")
    text = raw.strip()
    if not text:
        raise BadValueError(f"empty {name}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain as an escape
        raise BadValueError(f"{name} is not valid Unicode") from None
    return text


def rejection_notice(rejected: Sequence[RejectedRow], total: int, file: str) -> str:
    """Returns one line with the number of rejected rows of a file and the most frequent reasons."""
    reasons = Counter(row.reason for row in rejected).most_common()
    shown = [f"{count:,} {reason}" for reason, count in reasons[:REASONS_SHOWN]]
    if len(reasons) > REASONS_SHOWN:
        shown.append(f"{sum(count for _, count in reasons[REASONS_SHOWN:]):,} for other reasons")
    return f"{len(rejected):,} of {total:,} rows of {file} rejected ({', '.join(shown)})"


def write_rejected_rows(path: str | Path, rejected: Iterable[RejectedRow], *, append: bool = False) -> None:
    """Writes rejected rows as jsonl: each line is an object of `file`, `line`, `reason` and `row`."""
    with Path(path).open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rejected)
