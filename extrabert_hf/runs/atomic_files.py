"""Atomic writing: a file holds its earlier content or the new one, also after a kill."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """
    Yields a temporary path, and moves the file written there to `path` once it is whole and on the disk.

    A reader of `path` sees the earlier file or the new one, never a part. If the block raises, the earlier file stays.

    Args:
        path (`Path`):
            The file to write. A missing folder is made.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "scores.txt"
        >>> with atomic_path(path) as temporary:
        ...     _ = temporary.write_text("0.5")
        >>> path.read_text()
        '0.5'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text, see [`atomic_path`]. A lone surrogate, which UTF-8 does not have, becomes an escape."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, see [`atomic_path`]. JSON has no NaN and no infinity: they become `null`."""
    write_text(path, json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_figure(path: Path, figure: "Figure", dpi: int | Literal["figure"] = "figure") -> None:
    """Writes a figure in the format of the suffix, such as `.png` or `.svg`, see [`atomic_path`]."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=dpi)
