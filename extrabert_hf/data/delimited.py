"""
Parses csv, tsv and plain text.

A quote that is left open makes a csv parser read the following lines into one field. Such lines are found and read
again one by one, so that only the row with the quote is lost.
"""

import csv
import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from extrabert_hf.data.rejected_rows import ReadRow, RejectedRow, Rows
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import as_number

FIELD_LIMIT = 2**24
"""Maximum length of a csv field in characters. The default of the csv module, 2**17, is less than a long document."""
MOST_LINES_OF_ONE_COLUMN = 100
"""Maximum number of lines of a quoted field in a file of one column, in which every line looks like a row."""
MOST_LINES_OF_HEADER = 20
RECENT_ROWS = 200
"""Number of rows from which the form of a row is learned."""
MOST_RECENT_FIELDS = 20_000
FEW_VALUES = 3
"""Number of rows for each different value, from which a column has few values."""


def parse_csv(lines: Iterator[str], name: str, separator: str | None) -> Rows:
    """
    Parses the lines of a csv file.

    Args:
        lines (iterator over `str`s):
            The lines, with their ends. The first may be `sep=;`, as Excel writes it.
        name (`str`):
            Name of the file in messages.
        separator (`str`, *optional*):
            The separator; `None` takes the most frequent of tab, comma and semicolon in the header line.
    """
    first, line = next(lines, ""), 1
    if excel := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):
        separator, first, line = excel[1], next(lines, ""), 2
    separator = separator or max("\t,;", key=first.count)
    record: list[str] = []  # the lines of the record that is parsed
    again: list[str] = []
    feed = _feed(chain([first], lines), record, again)
    csv.field_size_limit(FIELD_LIMIT)
    records = csv.reader(feed, delimiter=separator, strict=True)
    header = _csv_header(records, record, name)
    row_of = partial(_row_of, name=name, header=header)
    width, shape = len(header), _RowShape(len(header), separator)
    recent = shape.recent
    while True:
        line += len(record)
        record.clear()
        error = None
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as caught:
            fields, error = [], str(caught).replace("\t", "\\t")
        if error is None and (len(record) == 1 or not shape.is_left_open(record, len(fields), line)):
            if len(record) > 1 and separator == "\t" and any("\t" in field and "\n" in field for field in fields):
                reason = "a quoted field holds tabs and line ends"
                yield RejectedRow.of(
                    name, line, reason, separator.join(fields), f"until line {line + len(record) - 1}"
                )
            elif len(fields) == width:
                recent.append(fields)
                yield line, dict(zip(header, fields, strict=True))
            elif fields:
                yield row_of(line, fields, separator)
            continue
        if len(record) > 1:
            reason, value = "a quote is left open", f"the quoted field ends on line {line + len(record) - 1}"
        else:
            reason, value = "not valid CSV", error or ""
        text = record[0].rstrip("\r\n")
        yield _unquoted_row(text, line, header, separator) or RejectedRow.of(name, line, reason, text, value)
        if len(record) > 1 and feed.gi_frame is not None:  # the last line may open a quote of its own
            again.append(record.pop())
        for number, text in enumerate(record[1:], start=line + 1):
            for row in _parse_line(text, number, row_of, separator):
                if not isinstance(row, RejectedRow) and len(row[1]) == width:
                    recent.append(list(row[1].values()))
                yield row


def parse_text(lines: Iterable[str], name: str, columns: Sequence[str]) -> Rows:
    """Parses plain text: one row per line, no header, tabs between the columns."""
    for line, text in enumerate(lines, start=1):
        fields = text.rstrip("\r\n").split("\t")
        if len(fields) == len(columns):
            yield line, dict(zip(columns, fields, strict=True))
        else:
            yield _wrong_width(name, line, fields, len(columns), "\t")


def refuse_repeated_columns(columns: Sequence[str], name: str) -> None:
    """Raises an [`InputError`] if a file has two columns of one name; columns without a name do not count."""
    for column, times in Counter(columns).items():
        if column and times > 1:
            raise InputError(f"{name} must name each column once, got {column!r} {times} times.")


def _feed(lines: Iterable[str], record: list[str], again: list[str]) -> Iterator[str]:
    """Gives lines to the csv parser, first those in `again`, and adds each to `record`."""
    for line in lines:
        record.append(line)
        yield line
        while again:
            record.append(again[-1])
            yield again.pop()


def _csv_header(records: Iterator[list[str]], record: Sequence[str], name: str) -> list[str]:
    try:
        header = [column.strip() for column in next(records)]
    except csv.Error as error:
        raise InputError(f"{name} must start with a line of column names, got none: {error}.") from error
    if not any(header):
        raise InputError(f"{name} must start with a line of column names, got an empty one.")
    if len(record) > MOST_LINES_OF_HEADER:
        raise InputError(
            f"{name} must start with a line of column names, got a quoted name of {len(record):,} lines: is a quote "
            "left open?"
        )
    for index in [index for index, column in enumerate(header) if not column][1:]:
        header[index] = f"unnamed_{index + 1}"  # so that the values of no column are lost
    refuse_repeated_columns(header, name)
    return header


def _row_of(line: int, fields: Sequence[str], separator: str, *, name: str, header: Sequence[str]) -> ReadRow:
    """Makes a row from fields; empty fields after the last column, from separators at the end, are left out."""
    if len(fields) >= len(header) and not any(fields[len(header) :]):
        return line, dict(zip(header, fields, strict=False))
    return _wrong_width(name, line, fields, len(header), separator)


def _wrong_width(name: str, line: int, fields: Sequence[str], width: int, separator: str) -> RejectedRow:
    return RejectedRow.of(name, line, f"not {width} field{'s'[: width > 1]}", separator.join(fields), str(len(fields)))


def _parse_line(text: str, line: int, row_of: partial, separator: str) -> Rows:
    """Parses one line by itself: no field continues in the next line."""
    try:
        fields = next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        name, text = row_of.keywords["name"], text.rstrip("\r\n")
        yield _unquoted_row(text, line, row_of.keywords["header"], separator) or RejectedRow.of(
            name, line, "not valid CSV", text, str(error).replace("\t", "\\t")
        )
        return
    if fields:
        yield row_of(line, fields, separator)


def _unquoted_row(text: str, line: int, header: Sequence[str], separator: str) -> ReadRow | None:
    """Reads a line whose quotes do not match; in a tsv with the right number of tabs, its quotes are characters."""
    fields = text.split("\t")
    if separator != "\t" or len(fields) != len(header):
        return None
    return line, dict(zip(header, fields, strict=True))


class _RowShape:
    """
    The form of the rows of a file, learned from recent rows, to tell a row from a line of a text.

    A column of numbers, and a column of few values such as class names, anchors a row: a line of a text hardly has
    the same form there.

    Args:
        width (`int`):
            Number of columns.
        separator (`str`):
            The separator.
    """

    def __init__(self, width: int, separator: str) -> None:
        self.width, self.separator = width, separator
        self.recent: deque[Sequence[str]] = deque(maxlen=max(1, min(RECENT_ROWS, MOST_RECENT_FIELDS // width)))
        self._learned_at = -math.inf
        self._kinds: list[set[tuple[bool, bool]]] = []
        self._is_number: list[bool] = []
        self._values: list[set[str] | None] = []

    def is_left_open(self, lines: Sequence[str], fields: int, line: int) -> bool:
        """
        Returns whether a record of several lines is one row with an open quote, and the rows after it.

        Args:
            lines (`Sequence[str]`):
                The lines of the record.
            fields (`int`):
                Number of its fields.
            line (`int`):
                Number of its first line.
        """
        if self.width == 1:
            return len(lines) > MOST_LINES_OF_ONE_COLUMN
        self._learn(line, lines[0])
        inner = [text for text in lines[1:-1] if text.strip()]
        rows = sum(map(self._fits, inner))
        starts_as_row, ends_as_row = self._fits(lines[0]), self._fits(lines[-1])
        if fields != self.width:
            return starts_as_row or 2 * rows > len(inner)
        # a text of few lines looks like rows by chance if nothing anchors a row
        if starts_as_row and ends_as_row:
            is_anchored = any(self._is_number) or (self._has_values(lines[0]) and self._has_values(lines[-1]))
            if len(lines) > 3 or is_anchored or self.separator == "\t":
                return 2 * rows >= len(inner)
        return 2 * rows > len(inner) and rows >= 2

    def _learn(self, line: int, first: str) -> None:
        if line - self._learned_at < len(self.recent) / 2:
            return
        rows = list(self.recent) or [_fields_of_line(first, self.separator)]
        columns = [[field for field in column if field] for column in zip(*rows, strict=True)]
        self._learned_at = line if self.recent else -math.inf
        self._kinds = [set(map(_kind, column)) for column in columns]
        self._is_number = [
            len(column) == len(rows) and all(number for number, _ in map(_kind, column)) for column in columns
        ]
        self._values = [set(column) if FEW_VALUES * len(set(column)) <= len(column) else None for column in columns]

    def _fits(self, line: str) -> bool:
        if line.count(self.separator) < self.width - 1:
            return False
        fields = _fields_of_line(line, self.separator)
        if len(fields) != self.width or len(self._kinds) != self.width:
            return False
        columns = zip(fields, self._kinds, self._is_number, strict=True)
        return all(
            _kind(field) in kinds or not kinds if field else not is_number for field, kinds, is_number in columns
        )

    def _has_values(self, line: str) -> bool:
        pairs = list(zip(_fields_of_line(line, self.separator), self._values, strict=True))
        return any(self._values) and all(field in values for field, values in pairs if values)


def _fields_of_line(line: str, separator: str) -> list[str]:
    """Splits a line by itself; a line with a broken quote is split at every separator."""
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return [field.strip('"') for field in line.rstrip("\r\n").split(separator)]


def _kind(field: str) -> tuple[bool, bool]:
    return as_number(field) is not None, field[0].isspace()
