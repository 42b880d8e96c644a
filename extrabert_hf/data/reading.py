"""
Reads files into rows: csv, tsv, json, jsonl, parquet, plain text and standard input.

A reader is an iterator over [`ReadRow`]s, in the order of the file. It yields `(line, row)` for a row that can be
parsed, and a [`RejectedRow`] for any other row.
"""

import csv
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from extrabert_hf.errors import InputError, one_line

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
STANDARD_INPUT = "-"
BATCH_SIZE = 1000
"""Rows of a parquet file or of a Hub data set that are converted to Python objects at once."""
FIELD_LIMIT = 2**24
"""Maximum length of a csv field in characters. The default of the csv module, 2**17, is less than a long document."""


def shorten(text: str, length: int = 200) -> str:
    """Cuts a text to `length` characters; a text that is cut ends with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


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
            The reason, such as `"empty sentence2"`.
        row (`dict[str, str]`):
            Content of the row by column name, each text cut to 200 characters. The only key of a row that cannot be
            parsed is `"text"`.
    """

    file: str
    line: int
    reason: str
    row: dict[str, str]

    @classmethod
    def of(cls, file: str, line: int, reason: str, row: str | Mapping[str, Any]) -> "RejectedRow":
        """Makes a rejected row from a text, or from values by column name; long values are cut."""
        texts = {"text": row} if isinstance(row, str) else row
        return cls(file, line, reason, {name: shorten(str(text)) for name, text in texts.items()})

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


Row = dict[str, Any]
ReadRow = tuple[int, Row] | RejectedRow
Rows = Iterator[ReadRow]


def read_rows(source: str | Path, text_columns: Sequence[str] = ("sentence1",)) -> Rows:
    """
    Reads a file row by row; only a `.json` file is held in memory as a whole.

    The suffix decides the format. The separator of `.tsv` is the tab, the separator of `.csv` is the most frequent of
    tab, comma and semicolon in the header line. `.json` is a list of objects or `{"data": [...]}`, `.jsonl` has one
    object per line. `.txt` has one row per line and no header; tabs separate the columns. A blank line counts as a row
    only in `.txt`.

    Args:
        source (`str` or `Path`):
            The file, or `"-"` for standard input, which is read as `.txt`.
        text_columns (`Sequence[str]`, *optional*, defaults to `("sentence1",)`):
            Names of the columns of a `.txt` file.

    Returns:
        Iterator over `(line, row)` and [`RejectedRow`]s, where `row` is a dictionary by column name.

    Raises:
        [`InputError`]: if the file as a whole cannot be read, such as a file that is not UTF-8.
    """
    if str(source) == STANDARD_INPUT:
        return _parse(sys.stdin.buffer, "standard input", ".txt", text_columns)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"A data file must exist, got {str(source)!r}: no such file.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"A data file must end in one of {', '.join(SUFFIXES)}, got {path.name!r}.")
    return _open(path, suffix, text_columns)


def peek_columns(rows: Rows) -> tuple[list[str], Rows]:
    """Looks at the first `BATCH_SIZE` good rows: returns the names of all their columns, and all rows again."""
    head: list[ReadRow] = []
    names: dict[str, None] = {}
    good = 0
    for row in rows:
        head.append(row)
        if not isinstance(row, RejectedRow):
            names.update(dict.fromkeys(row[1]))
            good += 1
            if good == BATCH_SIZE:
                break
    return list(names), chain(head, rows)


def rows_of_batches(batches: Iterable[Mapping[str, Sequence[Any]]]) -> Rows:
    """Turns batches of columns, the form of parquet files and Hub data sets, into numbered rows."""
    numbers = count(1)
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            yield next(numbers), dict(zip(batch, values, strict=True))


def _open(path: Path, suffix: str, text_columns: Sequence[str]) -> Rows:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"A data file must be readable, got {str(path)!r}: {error.strerror}.") from error
    with file:
        yield from _parse(file, path.name, suffix, text_columns)


def _parse(file: BinaryIO, name: str, suffix: str, text_columns: Sequence[str]) -> Rows:
    if suffix == ".parquet":
        return rows_of_batches(_parquet_batches(file, name))
    lines = _decode(file, name)
    if suffix == ".json":
        return _parse_json("".join(lines), name)
    if suffix == ".jsonl":
        return _parse_jsonl(lines, name)
    if suffix == ".txt":
        return _parse_text(lines, name, text_columns)
    return _parse_csv(lines, name, "\t" if suffix == ".tsv" else None)


def _decode(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} of line {number}"
            raise InputError(f"{name} must be UTF-8 text, got 0x{line[error.start]:02x} as {where}.") from error
        yield text.removeprefix("\ufeff") if number == 1 else text


def _parse_csv(lines: Iterator[str], name: str, separator: str | None) -> Rows:
    first = next(lines, "")
    separator = separator or max("\t,;", key=first.count)
    latest: deque[str] = deque(maxlen=1)
    csv.field_size_limit(FIELD_LIMIT)
    records = csv.reader(_remember(chain([first], lines), latest), delimiter=separator, strict=True)
    header = _csv_header(records, name)
    while True:
        line = records.line_num + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not valid CSV{_until(line, records.line_num)}: {error}".replace("\t", "\\t")
            yield RejectedRow.of(name, line, reason, latest[0].rstrip("\r\n"))
            continue
        if records.line_num > line and separator == "\t" and any("\t" in field and "\n" in field for field in fields):
            until = _until(line, records.line_num)
            reason = f"a quoted field holds tabs and line ends{until}: is a quote left open?"
            yield RejectedRow.of(name, line, reason, separator.join(fields))
        elif len(fields) == len(header):
            yield line, dict(zip(header, fields, strict=True))
        elif fields:
            yield RejectedRow.of(name, line, _field_count(fields, header), separator.join(fields))


def _csv_header(records: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = [column.strip() for column in next(records)]
    except csv.Error as error:
        raise InputError(f"{name} must start with a line of column names, got none: {error}.") from error
    if not any(header):
        raise InputError(f"{name} must start with a line of column names, got an empty one.")
    twice = next((column for column in header if column and header.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name} must name each column once, got {twice!r} {header.count(twice)} times.")
    return header


def _remember(lines: Iterable[str], latest: deque[str]) -> Iterator[str]:
    """Keeps the line that the csv parser read last in `latest`, for the report of a parse error."""
    for line in lines:
        latest.append(line)
        yield line


def _until(first: int, last: int) -> str:
    return f" until line {last}" if last > first else ""


def _field_count(fields: Sequence[str], columns: Sequence[str]) -> str:
    return f"{len(fields)} field{'s' if len(fields) > 1 else ''}, {len(columns)} expected"


def _parse_text(lines: Iterable[str], name: str, columns: Sequence[str]) -> Rows:
    for line, text in enumerate(lines, start=1):
        fields = text.rstrip("\r\n").split("\t")
        if len(fields) == len(columns):
            yield line, dict(zip(columns, fields, strict=True))
        else:
            yield RejectedRow.of(name, line, _field_count(fields, columns), text.rstrip("\r\n"))


def _parse_jsonl(lines: Iterable[str], name: str) -> Rows:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            reason = f"not valid JSON: {error.msg} at character {error.pos + 1}"
            yield RejectedRow.of(name, line, reason, text.rstrip())
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            yield RejectedRow.of(name, line, "not a JSON object", text.rstrip())


def _parse_json(text: str, name: str) -> Rows:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        hint = " (a file with one object a line must end in .jsonl)" if error.msg == "Extra data" else ""
        where = f"line {error.lineno}, character {error.colno}"
        raise InputError(f"{name} must be valid JSON, got '{error.msg}' at {where}{hint}.") from error
    if isinstance(items, dict):
        items = items.get("data")
    if not isinstance(items, list):
        raise InputError(f'{name} must be a list of objects or {{"data": [...]}}, got neither.')
    for number, row in enumerate(items, start=1):
        if isinstance(row, dict):
            yield number, row
        else:
            yield RejectedRow.of(name, number, "not a JSON object", str(row))


def _parquet_batches(file: BinaryIO, name: str) -> Iterator[dict[str, list[Any]]]:
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH_SIZE):
            yield batch.to_pydict()
    except pa.ArrowInvalid as error:
        raise InputError(f"{name} must be a parquet file, got: {shorten(one_line(error))}") from error
