"""Text for a terminal or a log file: columns that never touch, and progress bars."""

import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

GAP = "  "
"""The text between two columns."""

PATIENCE = 1.0
"""In a terminal, a bar that does not stay appears only after this number of seconds."""
LONG = 10.0
"""In a log file, such a bar writes its first line only after this number of seconds."""
LATER = 1.5
"""Factor between the times of two lines if the total is unknown: an hour of work writes about 15 lines."""


def display_width(text: str) -> int:
    """
    Returns the number of terminal cells that a text takes: two for a wide character, none for a combining one.

    Example:
        >>> display_width("abc"), display_width("日本"), display_width("e\u0301")
        (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(char) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(char) in "FW")
        for char in text
    )


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Adds blanks to a text up to a [`display_width`], at its end or, with `right`, at its start."""
    blanks = " " * (width - display_width(text))
    return blanks + text if right else text + blanks


def in_columns(rows: Iterable[Sequence[str]], *, right: Sequence[bool] = (), least: Sequence[int] = ()) -> list[str]:
    """
    Sets rows of cells in columns with two blanks or more between them.

    Args:
        rows (iterable of `Sequence[str]`):
            Rows with the same number of cells.
        right (`Sequence[bool]`, *optional*):
            By column, whether its cells end at the right; the others start at the left.
        least (`Sequence[int]`, *optional*):
            By column, the smallest width in cells of the terminal.

    Example:
        >>> in_columns([["task", "rows"], ["日本", "1,000"]], right=[False, True])
        ['task   rows', '日本  1,000']
    """
    rows = list(rows)
    columns = range(max(map(len, rows), default=0))
    right = [*right, *[False] * len(columns)]
    widths = [max(display_width(row[column]) for row in rows) for column in columns]
    widths = [max(width, *least[column : column + 1], 0) for column, width in enumerate(widths)]
    return [
        GAP.join(pad(cell, widths[column], right=right[column]) for column, cell in enumerate(row)).rstrip()
        for row in rows
    ]


def markdown_rows(rows: Iterable[Sequence[str]]) -> list[str]:
    """
    Returns the lines of a Markdown table, the first row as its header, with cells of one width in each column.

    Example:
        >>> markdown_rows([["task", "rows"], ["sst", "90"]])
        ['| task | rows |', '| ---- | ---- |', '| sst  | 90   |']
    """
    header, *body = rows
    columns = list(zip(header, *body, strict=True))
    widths = [max(3, *map(display_width, column)) for column in columns]
    lines = [header, ["-" * width for width in widths], *body]
    return [f"| {' | '.join(map(pad, line, widths))} |" for line in lines]


class LineProgress:
    """
    The progress of a loop as lines of a log, one for each tenth of the work: for outputs that are no terminal.

    It has the methods of a `tqdm` bar that this package uses.

    Args:
        total (`int`, *optional*):
            Number of steps. Without it a line is written after [`LONG`] seconds, and each further line after
            [`LATER`] times the time of the line before.
        desc, units (`str`):
            What is done, and the plural of a step's name, such as `"rows"`.
        initial (`int`):
            Number of steps that were done before.
        leave (`bool`):
            Whether the work is the main one. Otherwise nothing is written in the first [`LONG`] seconds.
        file (`TextIO`):
            The output.
    """

    disable = False

    def __init__(self, total: int | None, desc: str, units: str, initial: int, leave: bool, file: TextIO) -> None:
        self.total, self.desc, self.units, self.n, self.file = total, desc, units, initial, file
        self.postfix = ""
        self.start = time.monotonic()
        self.tenth = self._tenth()
        self.quiet = 0.0 if leave and total else LONG  # seconds without a line

    def _tenth(self) -> int:
        return 10 * self.n // self.total if self.total else 0

    def update(self, n: int = 1) -> None:
        """Counts steps; writes a line if another tenth is done."""
        self.n += n
        tenth, elapsed = self._tenth(), time.monotonic() - self.start
        if elapsed < self.quiet or (self.total and tenth <= self.tenth):
            return
        self.tenth = tenth
        done = f"{self.n:,}"
        if self.total:
            done = f"{100 * self.n / self.total:3.0f} %, {self.n:,} of {self.total:,}"
        else:
            self.quiet = LATER * elapsed
        tail = f", {self.postfix}" if self.postfix else ""
        self.file.write(f"{self.desc} {done} {self.units}, {tqdm.format_interval(elapsed)}{tail}\n")
        self.file.flush()

    def set_description(self, desc: str, refresh: bool = True) -> None:
        """Does nothing: a log has one name for the work."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Sets the values at the end of the next line."""
        self.postfix = text

    def refresh(self) -> None:
        """Does nothing: only a new tenth writes a line."""

    def close(self) -> None:
        """Does nothing."""

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress_bar(
    total: int | None = None,
    *,
    desc: str,
    units: str,
    initial: int = 0,
    leave: bool = False,
    disable: bool = False,
    file: TextIO | None = None,
) -> Any:
    """
    Makes a progress bar on stderr: a `tqdm` in a terminal, a [`LineProgress`] elsewhere.

    Args:
        total (`int`, *optional*):
            Number of steps, if known.
        desc (`str`):
            What is done.
        units (`str`):
            Plural of a step's name, such as `"rows"`.
        initial (`int`, defaults to 0):
            Number of steps that were done before.
        leave (`bool`, defaults to `False`):
            Whether the bar stays once it is done. Otherwise it appears only after [`PATIENCE`] seconds.
        disable (`bool`, defaults to `False`):
            Whether to show nothing.
        file (`TextIO`, *optional*):
            Another output.
    """
    file = file or sys.stderr
    if disable or file.isatty():
        return tqdm(
            total=total,
            desc=desc,
            unit=f" {units}",
            initial=initial,
            leave=leave,
            delay=0 if leave else PATIENCE,
            disable=disable,
            file=file,
            dynamic_ncols=True,
        )
    return LineProgress(total, desc, units, initial, leave, file)


def with_progress(items: Sequence[T], *, desc: str, units: str, disable: bool = False) -> Iterator[T]:
    """Yields items under a [`progress_bar`] that disappears."""
    with progress_bar(len(items), desc=desc, units=units, disable=disable) as bar:
        for item in items:
            yield item
            bar.update()
