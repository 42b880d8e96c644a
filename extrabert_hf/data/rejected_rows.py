"""Rows as a reader yields them, rejected rows with the reason, and counts of further train rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extrabert_hf.errors import shorten


@dataclass(frozen=True)
class Unreadable:
    """
    A value that a file has but that cannot be read, such as a date in parquet that Python cannot represent.

    A row with such a value is rejected only if the column is used.

    Args:
        reason (`str`):
            Why the value cannot be read.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class RejectedRow:
    """
    A row that cannot be used, and the reason.

    Args:
        file (`str`):
            Name of the file or of the Hub data set's split.
        line (`int`):
            First line of the row in a text file; number of the row, from 1, in json, parquet and on the Hub.
        reason (`str`):
            The reason, such as `"empty sentence2"` or `"label is not in 0 to 4"`. It is the same for all rows with
            a defect of this kind.
        row (`dict[str, str]`):
            Content of the row by column name, each text cut to 200 characters. The only key of a row that cannot be
            parsed is `"text"`.
        value (`str`):
            The value that the reason is about, such as `"5"`; may be empty.
    """

    file: str
    line: int
    reason: str
    row: dict[str, str]
    value: str = ""

    @classmethod
    def of(cls, file: str, line: int, reason: str, row: str | Mapping[str, Any], value: str = "") -> "RejectedRow":
        """Makes a rejected row from a text, or from values by column name; long values are cut."""
        texts = {"text": row} if isinstance(row, str) else row
        return cls(file, line, reason, {name: shorten(_text(content)) for name, content in texts.items()}, value)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" + (f": {self.value}" if self.value else "")


@dataclass(frozen=True)
class ExtraRows:
    """
    The counts of a file of further train rows: `rows` is the sum of `added` and of the counts in `left_out`.

    Args:
        source (`str`):
            Name of the file.
        rows (`int`):
            Number of rows that can be read.
        added (`int`):
            Number of rows that are in the train split.
        left_out (`dict[str, int]`):
            Number of the other rows by reason.
    """

    source: str
    rows: int
    added: int
    left_out: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        line = f"{self.source}: {self.rows:,} rows, {f'{self.added:,}' if self.added else 'none'} added to train"
        return line + (f"; left out: {reasons}" if reasons else "")


def _text(content: Any) -> str:
    try:
        return str(content)
    except RecursionError:  # JSON can be nested deeper than Python prints
        return type(content).__name__


Row = dict[str, Any]
ReadRow = tuple[int, Row] | RejectedRow
Rows = Iterator[ReadRow]
