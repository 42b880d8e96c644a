"""
Reads files into rows: csv, tsv, json, jsonl, parquet, plain text, trees and standard input.

A reader is an iterator over [`ReadRow`]s, in the order of the file. It yields `(line, row)` for a row that can be
parsed, and a [`RejectedRow`] for any other row.
"""

import codecs
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from extrabert_hf.data.delimited import parse_csv, parse_text, refuse_repeated_columns
from extrabert_hf.data.rejected_rows import ReadRow, RejectedRow, Row, Rows, Unreadable
from extrabert_hf.data.trees import LINES_PEEKED, are_trees, parse_phrases, parse_sentences
from extrabert_hf.errors import InputError, one_line, shorten

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
STANDARD_INPUT = "-"
BATCH_SIZE = 1000
"""Rows of a parquet file or of a Hub data set that are converted to Python objects at once."""
MOST_CELLS_PEEKED = 1_000_000
"""Values of a file that are held in memory while its column names are collected."""


def read_rows(source: str | Path, text_columns: Sequence[str] = ("sentence1",)) -> Rows:
    """
    Reads a file row by row; only a `.json` file is held in memory as a whole.

    The suffix decides the format. The separator of `.tsv` is the tab, the separator of `.csv` is the most frequent of
    tab, comma and semicolon in the header line. `.json` is a list of objects or `{"data": [...]}`, `.jsonl` has one
    object per line. `.txt` has one row per line and no header; tabs separate the columns. A blank line counts as a row
    only in `.txt`. If most of the first lines of a `.txt` are trees, the rows are their sentences with labels, see
    [`parse_sentences`].

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
        is_sheet = suffix in SPREADSHEETS
        hint = " Save the sheet as 'CSV UTF-8' in the spreadsheet program." if is_sheet else ""
        raise InputError(f"A data file must end in one of {', '.join(SUFFIXES)}, got {path.name!r}.{hint}")
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
            if good == BATCH_SIZE or good * len(names) > MOST_CELLS_PEEKED:
                break
    return list(names), chain(head, rows)


def rows_of_batches(batches: Iterable[Mapping[str, Sequence[Any]]]) -> Rows:
    """Turns batches of columns, the form of parquet files and Hub data sets, into numbered rows."""
    numbers = count(1)
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            yield next(numbers), dict(zip(batch, values, strict=True))


def has_trees(path: Path) -> bool:
    """Returns whether a file is one of trees, see [`are_trees`]."""
    if path.suffix.lower() != ".txt":
        return False
    with path.open("rb") as file:
        return are_trees(islice(_text_lines(file, path.name), LINES_PEEKED))


def read_phrases(path: Path, min_words: int) -> Rows:
    """Reads the phrases of a file of trees, see [`parse_phrases`]."""
    with path.open("rb") as file:
        yield from parse_phrases(_text_lines(file, path.name), min_words)


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
    lines = _text_lines(file, name)
    if suffix == ".json":
        return _parse_json("".join(lines), name)
    if suffix == ".jsonl":
        return _parse_jsonl(lines, name)
    if suffix == ".txt":
        return _parse_txt(lines, name, text_columns)
    return parse_csv(lines, name, "\t" if suffix == ".tsv" else None)


# Text


def _parse_txt(lines: Iterator[str], name: str, text_columns: Sequence[str]) -> Rows:
    head = list(islice(lines, LINES_PEEKED))
    lines = chain(head, lines)
    yield from parse_sentences(lines, name) if are_trees(head) else parse_text(lines, name, text_columns)


def _text_lines(file: BinaryIO, name: str) -> Iterator[str]:
    r"""Decodes UTF-8, or UTF-16 with a byte order mark, into lines. Lines end in `\n`, or all in `\r`."""
    file = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    start = file.peek()
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _wrapped_lines(file, name, "utf-16", newline="\n")
    if start.count(b"\0") > len(start) / 4:
        raise InputError(f"{name} must be UTF-8 text, got bytes of value 0 as in UTF-16. Save it as UTF-8.")
    if b"\r" in start and b"\n" not in start:
        return _wrapped_lines(file, name, "utf-8-sig", newline=None)
    return _decode(file, name)


def _wrapped_lines(file: BinaryIO, name: str, encoding: str, newline: str | None) -> Iterator[str]:
    text = io.TextIOWrapper(file, encoding, newline=newline)
    try:
        yield from text
    except UnicodeError as error:
        raise InputError(f"{name} must be {encoding.upper()} text, got: {one_line(error)}.") from error
    finally:
        text.detach()  # whoever opened the file closes it


def _decode(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            where = f"byte {error.start + 1} of line {number}"
            raise InputError(
                f"{name} must be UTF-8 text, got 0x{line[error.start]:02x} as {where}. "
                "Save it as 'CSV UTF-8' in the spreadsheet program, or convert it, such as with "
                f"`iconv -f WINDOWS-1252 -t UTF-8 {name} > utf8-{name}`."
            ) from error
        yield text.removeprefix("\ufeff") if number == 1 else text


# JSON


def _parse_jsonl(lines: Iterable[str], name: str) -> Rows:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            row = _load_json(text.lstrip("\ufeff"))
        except (ValueError, RecursionError) as error:
            yield RejectedRow.of(name, line, "not valid JSON", text.rstrip(), _json_problem(error))
            continue
        yield _checked_object(row, name, line, text.rstrip())


def _parse_json(text: str, name: str) -> Rows:
    try:
        items = _load_json(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError):
            raise InputError(f"{name} must be valid JSON, got {_json_problem(error)}.") from error
        hint = " (a file with one object a line must end in .jsonl)" if error.msg == "Extra data" else ""
        where = f"line {error.lineno}, character {error.colno}"
        raise InputError(f"{name} must be valid JSON, got '{error.msg}' at {where}{hint}.") from error
    if isinstance(items, dict):
        items = items.get("data")
    if not isinstance(items, list):
        raise InputError(f'{name} must be a list of objects or {{"data": [...]}}, got neither.')
    for number, row in enumerate(items, start=1):
        yield _checked_object(row, name, number, row)


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_json_object)


def _json_object(pairs: list[tuple[str, Any]]) -> Row | Unreadable:
    row = dict(pairs)
    return row if len(row) == len(pairs) else Unreadable("a JSON object with a key twice")


def _checked_object(row: Any, name: str, line: int, text: Any) -> ReadRow:
    if isinstance(row, dict):
        return line, row
    reason = row.reason if isinstance(row, Unreadable) else "not a JSON object"
    return RejectedRow.of(name, line, reason, text if isinstance(text, str) else shorten(str(text)))


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
    return "lists or objects nested too deep" if isinstance(error, RecursionError) else "an integer that is too long"


# Parquet


def _parquet_batches(file: BinaryIO, name: str) -> Iterator[dict[str, list[Any]]]:
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        names = parquet.schema_arrow.names
        refuse_repeated_columns(names, name)
        rows = 0
        for batch in parquet.iter_batches(batch_size=BATCH_SIZE):
            rows += batch.num_rows
            yield dict(zip(names, map(_python_values, batch.columns), strict=True))
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{name} must be a parquet file, got: {shorten(one_line(error))}") from error
    if rows != parquet.metadata.num_rows:
        raise InputError(f"{name} must have the {parquet.metadata.num_rows:,} rows of its footer, got {rows:,}.")


def _python_values(column: pa.Array) -> list[Any]:
    """Converts a column to Python values; a value that Python cannot represent becomes [`Unreadable`]."""
    try:
        values = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):
        return [_python_value(value) for value in column]
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None if value is None else _decoded(value) for value in values]
    return values


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return Unreadable(shorten(one_line(error)))


def _decoded(value: bytes) -> str | Unreadable:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        return Unreadable(one_line(error))
