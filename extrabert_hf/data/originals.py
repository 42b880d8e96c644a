"""Rows with all columns and values that the user's file has: read for prediction, or copied into another file."""

import csv
import json
import logging
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

from extrabert_hf.data.loading import open_rows
from extrabert_hf.data.reading import ReadRow, RejectedRow, Rows
from extrabert_hf.data.sources import Source, file_source
from extrabert_hf.data.validation import Columns, valid_rows
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StreamedFile:
    """
    The rows of a file, read one by one for prediction; only a `.json` file is held in memory as a whole.

    Iterating returns `(line, row)` and [`RejectedRow`]s, where `row` is a dictionary with `sentence1`, for pairs
    `sentence2`, and `id`. The file can be read once.

    Args:
        present (`list[str]`):
            Names of the columns of the first rows.
        columns (`Columns`):
            Names of the task's columns.
        name (`str`):
            Name of the file in a rejected row.
        rows (iterator over [`ReadRow`]s):
            The rows as they are in the file.
    """

    present: list[str]
    columns: Columns
    name: str
    rows: Rows

    def __iter__(self) -> Rows:
        return (row for row, _ in self.with_originals())

    def with_originals(self) -> Iterator[tuple[ReadRow, ReadRow]]:
        """Returns pairs of the row as above and the row as it is in the file."""
        originals, to_check = tee(self.rows)
        return zip(valid_rows(to_check, self.columns, self.name, None), originals, strict=True)


def stream_sentences(task: TaskSpec, source: str | Path) -> StreamedFile:
    """
    Starts to read the sentences of a file.

    Args:
        task (`TaskSpec`):
            The task; its label column may be missing.
        source (`str` or `Path`):
            The file, or `"-"` for standard input; see [`read_rows`] for the formats.
    """
    file = file_source(task, source)
    present, columns, rows = open_rows(file, task, label_required=False)
    logger.info("columns of %s: %s", file.name, columns)
    return StreamedFile(present, columns, file.name, rows)


def cell_text(value: Any) -> str:
    """
    Returns a value of a row as the text of a table's cell.

    Example:
        >>> [cell_text(value) for value in ("a", None, True, 1.5, float("nan"), ["a", 1])]
        ['a', '', 'true', '1.5', '', '["a", 1]']
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (bool, list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def copy_rows(path: Path, source: Source, lines: Collection[int]) -> None:
    """
    Writes some rows of a source as csv: all columns, in the order of the source.

    Args:
        path (`Path`):
            The csv file to write.
        source ([`Source`]):
            The source.
        lines (`Collection[int]`):
            Lines of the rows, see [`RejectedRow`].

    Raises:
        [`InputError`]: if the source has no such rows any more.
    """
    wanted = set(lines)
    rows = [row for row in source.read() if not isinstance(row, RejectedRow) and row[0] in wanted]
    if len(rows) < len(wanted):
        raise InputError(f"{source.name} must not change during a run, but {len(wanted) - len(rows):,} rows are gone.")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, delimiter=_separator(names), lineterminator="\n")
        writer.writerow(names)
        writer.writerows([cell_text(row.get(name)) for name in names] for _, row in rows)


def _separator(names: Sequence[str]) -> str:
    """Returns the separator that a reader takes: the most frequent of comma, semicolon and tab in the header."""
    return max(",;\t", key="".join(names).count)
