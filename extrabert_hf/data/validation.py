"""Rows as they came -> rows that can be trained on: the task's columns, clean text, a label of the task, an id."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from extrabert_hf.data.reading import RejectedRow, Rows, reject, shorten
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

WELL_KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "sentence1": ("sentence1", "sentence", "sentence_1", "question1", "text", "text1", "text_a", "premise", "review"),
    "sentence2": ("sentence2", "sentence_2", "question2", "text2", "text_b", "hypothesis"),
    "label": ("label", "labels", "sentiment", "is_duplicate", "similarity", "similarity_score", "score", "rating"),
    "id": ("id", "idx", "guid", "pair_id", "pairid"),
}
"""What GLUE, SentEval, the CS224N course and the Hub's pair data sets say; the first one present is taken."""


@dataclass(frozen=True)
class Columns:
    """
    The names under which a file holds the canonical columns.

    Args:
        sentence1 (`str`):
            Column of the sentence, or of a pair's first sentence.
        sentence2 (`str`, *optional*):
            Column of a pair's second sentence; `None` for a task on one sentence.
        label (`str`, *optional*):
            Column of the label; `None` where there is none.
        id (`str`, *optional*):
            Column of the row's id; `None` where rows are known by their number.
    """

    sentence1: str
    sentence2: str | None = None
    label: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{role} = {name!r}" for role, name in vars(self).items() if name is not None)


def find_columns(present: Sequence[str], task: TaskSpec, source: str, *, label_required: bool = True) -> Columns:
    """
    Finds a task's columns among those of a file.

    A column the task names must be there, spelt the same, unless the task only remembers it. Otherwise the first of
    `WELL_KNOWN_NAMES` that is there is taken, upper and lower case alike. Only the label, where it is not required,
    and the id may be missing.

    Args:
        present (`Sequence[str]`):
            The file's column names; unnamed ones (`""`) are passed over.
        task (`TaskSpec`):
            The task whose `sentence1_column`, `sentence2_column`, `label_column` and `id_column` are looked for.
        source (`str`):
            What an error calls the file.
        label_required (`bool`, *optional*, defaults to `True`):
            Whether a missing label column is an error.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> print(find_columns(["", "id", "question1", "question2", "Label"], PAPER_TASKS["para"], "rows.csv"))
        sentence1 = 'question1', sentence2 = 'question2', label = 'Label', id = 'id'
    """
    task = task.without_missing_columns(present)
    columns = Columns(
        sentence1=_find("sentence1", task.sentence1_column, present, source),
        sentence2=_find("sentence2", task.sentence2_column, present, source) if task.is_pair else None,
        label=_find("label", task.label_column, present, source, required=label_required),
        id=_find("id", task.id_column, present, source, required=task.id_column is not None),
    )
    taken: dict[str, str] = {}
    for role, name in vars(columns).items():
        if name in taken:
            flags = f"`--{taken[name]}_column` and `--{role}_column`"
            raise InputError(f"{flags} must name two different columns of {source}, got {name!r} for both.")
        if name is not None:
            taken[name] = role
    return columns


def _find(role: str, named: str | None, present: Sequence[str], source: str, required: bool = True) -> str | None:
    there = ", ".join(repr(name[:40]) for name in present if name)
    if named is not None:
        if named in present:
            return named
        if required:
            raise InputError(f"`--{role}_column` must name a column of {source} ({there}), got {named!r}.")
        return None
    by_folded_name = {name.casefold(): name for name in reversed(present)}
    for candidate in WELL_KNOWN_NAMES[role]:
        if candidate in by_folded_name:
            return by_folded_name[candidate]
    if required:
        candidates = ", ".join(WELL_KNOWN_NAMES[role])
        raise InputError(
            f"{source} has no column for `{role}`: looked for {candidates}; there are {there}. "
            f"Name the column with `--{role}_column`."
        )
    return None


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


LabelUse = Literal["required", "optional", "ignored"]

REASONS_SHOWN = 4  # reasons for rejection that a notice spells out


def valid_rows(
    rows: Rows,
    columns: Columns,
    task: TaskSpec,
    file: str,
    rejected: list[RejectedRow] | None,
    labels: LabelUse = "required",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Gives the good rows under their canonical names: `sentence1`, `sentence2` of a pair, `label`, `id`.

    Text is stripped and must not be empty, a label must be one of the task's (see [`label_reader`]), and a row without
    an id gets its line for one.

    Args:
        rows (iterator of `(line, row)`):
            The rows as [`read_rows`] gives them.
        columns (`Columns`):
            Which of their columns hold what.
        task (`TaskSpec`):
            The task the labels belong to.
        file (`str`):
            What a rejected row calls the file.
        rejected (`list[RejectedRow]`, *optional*):
            Collects the bad rows; `None` makes the first of them an error.
        labels (`str`, *optional*, defaults to `"required"`):
            `"required"` rejects a row without a label, `"optional"` gives it the label `None`, `"ignored"` reads none.
    """
    texts = [("sentence1", columns.sentence1)]
    if columns.sentence2 is not None:
        texts.append(("sentence2", columns.sentence2))
    read_label = label_reader(task)
    for line, row in rows:
        try:
            values: dict[str, Any] = {name: _clean(row.get(column), name) for name, column in texts}
            if labels == "required":
                values["label"] = read_label(row.get(columns.label))
            elif labels == "optional":
                values["label"] = optional_label(row.get(columns.label), read_label)
        except BadValueError as error:
            shown = {name: row[name] for name in vars(columns).values() if row.get(name) is not None}
            reject(file, rejected, line, str(error), shown)
            continue
        row_id = row.get(columns.id)
        values["id"] = str(line) if row_id is None or row_id == "" else str(row_id)
        yield line, values


def rejection_notice(rejected: Sequence[RejectedRow], total: int, file: str) -> str:
    """Says in one line how many of a file's rows were rejected and why, the commonest reason first."""
    reasons = Counter(row.reason for row in rejected).most_common()
    shown = [f"{count:,} {reason}" for reason, count in reasons[:REASONS_SHOWN]]
    if len(reasons) > REASONS_SHOWN:
        shown.append(f"{sum(count for _, count in reasons[REASONS_SHOWN:]):,} for other reasons")
    return f"{len(rejected):,} of {total:,} rows of {file} rejected ({', '.join(shown)})"


def write_rejected_rows(path: str | Path, rejected: Sequence[RejectedRow], *, append: bool = False) -> None:
    """Writes rejected rows as jsonl: a line is an object of `file`, `line`, `reason` and `row`."""
    with Path(path).open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rejected)


def _clean(raw: Any, name: str) -> str:
    if not isinstance(raw, str | None):
        raise BadValueError(f"{name} is not text")
    text = (raw or "").strip()
    if not text:
        raise BadValueError(f"empty {name}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise BadValueError(f"{name} is not valid Unicode") from None
    return text
