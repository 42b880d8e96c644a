"""Files to rows: csv, tsv, json, jsonl, parquet, plain text and standard input, one `(line, row)` at a time."""

import csv
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from extrabert_hf.errors import InputError

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row]]
OnBadRow = Callable[[int, str, str | Mapping[str, Any]], None]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
STANDARD_INPUT = "-"
BATCH_SIZE = 1000  # rows of a parquet file or a Hub data set that are Python objects at a time
FIELD_LIMIT = 2**24  # characters of a csv field; the csv module's own limit, 2**17, is below a long document


@dataclass(frozen=True)
class RejectedRow:
    """
    A row that cannot be used, and why.

    Args:
        file (`str`):
            Name of the file or of the Hub data set's split.
        line (`int`):
            Line of a text file; number of the item, from 1, in json, parquet and on the Hub.
        reason (`str`):
            What is wrong, such as `"empty sentence2"`.
        row (`dict[str, str]`):
            What stands there, each text cut to 200 characters.
    """

    file: str
    line: int
    reason: str
    row: dict[str, str]


def shorten(text: str, length: int = 200) -> str:
    """Cuts a text to `length` characters, the last of them an ellipsis where something was cut."""
    return text if len(text) <= length else text[: length - 1] + "…"


def reject(
    file: str, rejected: list[RejectedRow] | None, line: int, reason: str, row: str | Mapping[str, Any]
) -> None:
    """Keeps a bad row in `rejected`, or raises an [`InputError`] where there is no such list."""
    if rejected is None:
        raise InputError(f"{file}:{line}: {reason}.")
    texts = {"text": row} if isinstance(row, str) else row
    rejected.append(RejectedRow(file, line, reason, {name: shorten(str(text)) for name, text in texts.items()}))


def read_rows(
    source: str | Path,
    rejected: list[RejectedRow] | None = None,
    text_columns: Sequence[str] = ("sentence1",),
) -> Rows:
    """
    Reads a file row by row; only a `.json` file is held in memory as a whole.

    The ending decides the format: `.tsv` is separated by tabs, `.csv` by the most frequent of tab, comma and semicolon
    in its header line, `.json` is a list of objects or `{"data": [...]}`, `.jsonl` one object a line, and `.txt` one
    row a line without a header, its columns separated by tabs. Blank lines count in `.txt` only.

    Args:
        source (`str` or `Path`):
            The file, or `"-"` for standard input, which is read as `.txt`.
        rejected (`list[RejectedRow]`, *optional*):
            Collects the rows that cannot be parsed. Without it the first of them is an error.
        text_columns (`Sequence[str]`, *optional*, defaults to `("sentence1",)`):
            Names of the columns of a `.txt` file.

    Returns:
        Iterator of `(line, row)`, the row a dictionary by column name.
    """
    if str(source) == STANDARD_INPUT:
        name = "standard input"
        return _parse(sys.stdin.buffer, name, ".txt", partial(reject, name, rejected), text_columns)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"A data file must exist, got {str(source)!r}: no such file.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"A data file must end in one of {', '.join(SUFFIXES)}, got {path.name!r}.")
    return _open(path, suffix, partial(reject, path.name, rejected), text_columns)


def peek_columns(rows: Rows) -> tuple[list[str], Rows]:
    """Looks at the first `BATCH_SIZE` rows: gives the names of all their columns, and all rows again."""
    head = list(islice(rows, BATCH_SIZE))
    return list(dict.fromkeys(name for _, row in head for name in row)), chain(head, rows)


def rows_of_batches(batches: Iterable[Mapping[str, Sequence[Any]]]) -> Rows:
    """Turns batches of columns, as parquet files and Hub data sets give them, into numbered rows."""
    numbers = count(1)
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            yield next(numbers), dict(zip(batch, values, strict=True))


def _open(path: Path, suffix: str, on_bad_row: OnBadRow, text_columns: Sequence[str]) -> Rows:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"A data file must be readable, got {str(path)!r}: {error.strerror}.") from error
    with file:
        yield from _parse(file, path.name, suffix, on_bad_row, text_columns)


def _parse(file: BinaryIO, name: str, suffix: str, on_bad_row: OnBadRow, text_columns: Sequence[str]) -> Rows:
    if suffix == ".parquet":
        return rows_of_batches(_parquet_batches(file, name))
    lines = _decode(file, name)
    if suffix == ".json":
        return _parse_json("".join(lines), name, on_bad_row)
    if suffix == ".jsonl":
        return _parse_jsonl(lines, on_bad_row)
    if suffix == ".txt":
        return _parse_text(lines, text_columns, on_bad_row)
    return _parse_csv(lines, name, "\t" if suffix == ".tsv" else None, on_bad_row)


def _decode(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} of line {number}"
            raise InputError(f"{name} must be UTF-8 text, got 0x{line[error.start]:02x} as {where}.") from error
        yield text.removeprefix("\ufeff") if number == 1 else text


def _parse_csv(lines: Iterator[str], name: str, separator: str | None, on_bad_row: OnBadRow) -> Rows:
    first = next(lines, "")
    separator = separator or max("\t,;", key=first.count)
    last: deque[str] = deque(maxlen=1)  # the line the parser took last, to show where it fails
    csv.field_size_limit(FIELD_LIMIT)
    reader = csv.reader(_remember(chain([first], lines), last), delimiter=separator, strict=True)
    header = _csv_header(reader, name)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not valid CSV{_until(line, reader.line_num)}: {error}".replace("\t", "\\t")
            on_bad_row(line, reason, last[0].rstrip("\r\n"))
            continue
        if reader.line_num > line and separator == "\t" and any("\t" in field and "\n" in field for field in fields):
            reason = f"a quoted field holds tabs and line ends{_until(line, reader.line_num)}: is a quote left open?"
            on_bad_row(line, reason, separator.join(fields))
        elif len(fields) == len(header):
            yield line, dict(zip(header, fields, strict=True))
        elif fields:
            on_bad_row(line, _field_count(fields, header), separator.join(fields))


def _remember(lines: Iterable[str], last: deque[str]) -> Iterator[str]:
    for line in lines:
        last.append(line)
        yield line


def _until(first: int, last: int) -> str:
    return f" until line {last}" if last > first else ""


def _field_count(fields: Sequence[str], columns: Sequence[str]) -> str:
    return f"{len(fields)} field{'s' if len(fields) > 1 else ''}, {len(columns)} expected"


def _csv_header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = [column.strip() for column in next(reader)]
    except csv.Error as error:
        raise InputError(f"{name} must start with a line of column names, got none: {error}.") from error
    if not any(header):
        raise InputError(f"{name} must start with a line of column names, got an empty one.")
    twice = next((column for column in header if column and header.count(column) > 1), None)
    if twice is not None:
        raise InputError(f"{name} must name each column once, got {twice!r} {header.count(twice)} times.")
    return header


def _parse_jsonl(lines: Iterable[str], on_bad_row: OnBadRow) -> Rows:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            on_bad_row(line, f"not valid JSON: {error.msg} at character {error.pos + 1}", text.rstrip())
            continue
        if isinstance(row, dict):
            yield line, row
        else:
            on_bad_row(line, "not a JSON object", text.rstrip())


def _parse_json(text: str, name: str, on_bad_row: OnBadRow) -> Rows:
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
            on_bad_row(number, "not a JSON object", str(row))


def _parse_text(lines: Iterable[str], columns: Sequence[str], on_bad_row: OnBadRow) -> Rows:
    for line, text in enumerate(lines, start=1):
        fields = text.rstrip("\r\n").split("\t")
        if len(fields) == len(columns):
            yield line, dict(zip(columns, fields, strict=True))
        else:
            on_bad_row(line, _field_count(fields, columns), text.rstrip("\r\n"))


def _parquet_batches(file: BinaryIO, name: str) -> Iterator[dict[str, list[Any]]]:
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH_SIZE):
            yield batch.to_pydict()
    except pa.ArrowInvalid as error:
        raise InputError(f"{name} must be a parquet file, got: {shorten(str(error))}") from error
