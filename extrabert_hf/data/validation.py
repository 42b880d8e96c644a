"""
Checks rows: finds a task's columns, and turns each row into a good row or a [`RejectedRow`].

A good row is a dictionary of `sentence1`, for pairs `sentence2`, `label` and `id`. The column names of the file do not
matter.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from extrabert_hf.data.labels import BadValueError
from extrabert_hf.data.rejected_rows import RejectedRow, Row, Rows, Unreadable
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
COLUMNS_SHOWN = 20
"""Number of column names that a message lists."""


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
    remembered, task = task, task.without_missing_columns(present)
    needed = {"sentence1": True, "sentence2": task.is_pair, "label": label_required, "id": task.id_column is not None}
    found = {
        role: _find_column(role, getattr(task, f"{role}_column"), present, source, required=is_needed)
        for role, is_needed in needed.items()
        if role != "sentence2" or task.is_pair
    }
    if missing := [role for role, name in found.items() if name is None and needed[role]]:
        roles = " and ".join(f"`{role}`" for role in missing)
        names = f"looked for {', '.join(WELL_KNOWN_NAMES[missing[0]])}; " if len(missing) == 1 else ""
        flags = " and ".join(f"`--{role}_column`" for role in missing)
        noun, them = ("columns", "them") if len(missing) > 1 else ("column", "it")
        advice = f"Name the {noun}"
        earlier = [getattr(remembered, f"{role}_column") for role in missing]
        if all(earlier):
            names_before = " and ".join(map(repr, earlier))
            advice = f"Rename the {noun} to {names_before} as in the train rows, or name {them}"
        raise InputError(
            f"{source} has no column for {roles}: {names}there are {_column_names(present)}. "
            f"{advice} with {flags}{_header_hint(source)}."
        )
    columns = Columns(**found)
    roles: dict[str, str] = {}
    for role, name in vars(columns).items():
        if name in roles:
            flags = f"`--{roles[name]}_column` and `--{role}_column`"
            raise InputError(f"{flags} must name two different columns of {source}, got {name!r} for both.")
        if name is not None:
            roles[name] = role
    return columns


def _find_column(role: str, named: str | None, present: Sequence[str], source: str, required: bool) -> str | None:
    if named is not None:
        if named in present:
            return named
        if required:
            there = f"{source} ({_column_names(present)})"
            raise InputError(f"`--{role}_column` must name a column of {there}, got {named!r}.")
        return None
    by_folded_name = {name.casefold(): name for name in reversed(present)}
    for candidate in WELL_KNOWN_NAMES[role]:
        if candidate in by_folded_name:
            return by_folded_name[candidate]
    return None


def _column_names(present: Sequence[str]) -> str:
    names = ", ".join(repr(name[:40]) for name in present[:COLUMNS_SHOWN] if name)
    return names + (f" and {len(present) - COLUMNS_SHOWN:,} others" if len(present) > COLUMNS_SHOWN else "")


def _header_hint(source: str) -> str:
    is_delimited = source.lower().endswith((".csv", ".tsv"))
    return "; the first line of the file must be the names of the columns" if is_delimited else ""


# Rows

REASONS_SHOWN = 4
"""Number of reasons for rejection that a notice lists."""


def valid_rows(rows: Rows, columns: Columns, file: str, read_label: Callable[[Any], Any] | None) -> Rows:
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
            Reads a label, such as [`label_text`]. With `None`, the good rows have no `label`.

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
            row_id = row.get(columns.id)
            values["id"] = row_id if row_id and type(row_id) is str and row_id.isascii() else _clean_id(row_id, line)
        except BadValueError as error:
            used = {name: row[name] for name in vars(columns).values() if row.get(name) is not None}
            yield RejectedRow.of(file, line, error.reason, used, error.value)
            continue
        yield line, values


def _clean_id(raw: Any, line: int) -> str:
    if raw is None or raw == "" or (isinstance(raw, float) and math.isnan(raw)):
        return str(line)
    if isinstance(raw, Unreadable | list | dict):
        raise BadValueError("id is not text or a number", type(raw).__name__)
    text = str(raw)
    if not text.isascii() and not _is_unicode(text):
        raise BadValueError("id is not valid Unicode")
    return text


def _clean_text(raw: Any, name: str) -> str:
    if raw is None:
        raise BadValueError(f"empty {name}")
    if not isinstance(raw, str):
        raise BadValueError(f"{name} is not text", type(raw).__name__)
    text = raw.strip()
    if not text:
        raise BadValueError(f"empty {name}")
    if not text.isascii() and not _is_unicode(text):
        raise BadValueError(f"{name} is not valid Unicode")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can contain as an escape
        return False
    return True


# Rejected rows

MAX_REJECTED_SHARE = 0.1
"""Share of the rows of a split, 0 to 1, that may be rejected unless the user allows another."""


def check_rejected_share(
    rejected: Sequence[RejectedRow],
    used: int,
    file: str,
    *,
    strict: bool,
    max_share: float | None,
    lost_labels: Mapping[str, int],
    advice: str,
) -> None:
    """
    Raises an [`InputError`] if all or too many rows of a split are rejected, or all rows of a label.

    Args:
        rejected (`Sequence[RejectedRow]`):
            The rejected rows.
        used (`int`):
            Number of rows that are used.
        file (`str`):
            Name of the file.
        strict (`bool`):
            Whether a single rejected row is an error.
        max_share (`float`, *optional*):
            Share of the rows, 0 to 1, that may be rejected. `None` allows `MAX_REJECTED_SHARE`, and no label may lose
            all of its rows.
        lost_labels (`Mapping[str, int]`):
            Number of rows by label, for the labels of which every row is rejected.
        advice (`str`):
            What to type, in sentences.
    """
    if not rejected:
        return
    total = used + len(rejected)
    if not used:
        often = Counter(row.reason for row in rejected).most_common(1)[0][0]
        first = next(row for row in rejected if row.reason == often)
        which = "the first" if len({row.reason for row in rejected}) == 1 else "most of them such as"
        message = f"{file} must have a row that can be used, got {total:,} bad, {which} {first}."
        raise InputError(f"{message} {advice}".rstrip())
    if strict:
        raise InputError(
            f"{file} must have good rows only, got {len(rejected):,} bad of {total:,}, the first {rejected[0]}."
        )
    share = len(rejected) / total
    is_label_lost = max_share is None and bool(lost_labels)
    if share <= (MAX_REJECTED_SHARE if max_share is None else max_share) and not is_label_lost:
        return
    lost = ""
    if lost_labels:
        shown = ", ".join(f"{label!r} ({count:,})" for label, count in list(lost_labels.items())[:REASONS_SHOWN])
        lost = f", among them every row with the label {shown}"
        lost += f" and {others:,} other labels" if (others := len(lost_labels) - REASONS_SHOWN) > 0 else ""
    raise InputError(
        f"{rejection_notice(rejected, total, file)}{lost}. {advice}{' ' if advice else ''}"
        f"`--max_rejected_share {math.ceil(100 * share) / 100:g}` leaves these rows out."
    )


def rejection_notice(rejected: Sequence[RejectedRow], total: int, file: str) -> str:
    """Returns one line with the number of rejected rows of a file and the most frequent reasons, with an example."""
    counts = Counter(row.reason for row in rejected).most_common()
    values = {row.reason: row.value for row in reversed(rejected)}
    shown = []
    for reason, count in counts[:REASONS_SHOWN]:
        text = reason.replace("label is", "labels are", 1) if count > 1 else reason
        shown.append(f"{count:,} {text}" + (f" (such as {values[reason]})" if values[reason] else ""))
    if len(counts) > REASONS_SHOWN:
        shown.append(f"{sum(count for _, count in counts[REASONS_SHOWN:]):,} for other reasons")
    return f"{len(rejected):,} of {total:,} rows of {file} rejected: {', '.join(shown)}"


def write_rejected_rows(path: str | Path, rejected: Iterable[RejectedRow], *, append: bool = False) -> None:
    """Writes rejected rows as jsonl: each line is an object of `file`, `line`, `reason` and `row`."""
    with Path(path).open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rejected)
