"""Files in the folders of a user: each is written whole, recorded, and only files of this package are replaced."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from extrabert_hf.errors import file_system_errno, need_place_for_file
from extrabert_hf.manifest import (
    PREFIX,
    STATE,
    check_own,
    forget,
    is_special,
    manifest_names,
    place_of,
    real_path,
    record,
)

if TYPE_CHECKING:  # slow to import
    from matplotlib.figure import Figure

LAST = ("modules.json", "config.json", "metrics.json")
"""Files without which a folder holds no model or no finished run. They are removed first and moved last."""


_recorded: dict[Path, str] = {}
"""The output folders whose files this process records, as real paths, with the argument that names each."""


@contextmanager
def recorded(folder: Path, argument: str = "output") -> Iterator[None]:
    """
    Records in the manifest of a folder each file that [`atomic_path`] and [`atomic_folder`] write below the folder.

    Inside the `with` block, a file that exists and that no manifest names is not replaced: the writer raises
    [`InputError`]. At the end, names of files that no longer exist leave the manifest.

    Args:
        folder (`Path`):
            The output folder of a command.
        argument (`str`, defaults to `"output"`):
            The argument that names the folder or a file in it, for errors.
    """
    root = real_path(folder)
    if root in _recorded:
        yield
        return
    _recorded[root] = argument
    try:
        yield
    finally:
        del _recorded[root]
        forget(root, [name for name in manifest_names(root) if not (root / name).exists()])


@contextmanager
def own_file(argument: str, path: Path | None) -> Iterator[None]:
    """
    Records the one file that a command writes, see [`recorded`].

    Args:
        argument (`str`):
            The argument that names the file.
        path (`Path`, *optional*):
            The file; nothing happens without one.

    Raises:
        [`InputError`]: before the `with` block, if the folder cannot be made, or if the file is one of the user.
    """
    if path is None:
        yield
        return
    need_place_for_file(argument, path)
    check_own(argument, path)
    with recorded(path.parent, argument):
        yield


@contextmanager
def recorded_folder(folder: Path) -> Iterator[None]:
    """Records the files that other libraries write into a new folder inside the `with` block, such as a checkpoint."""
    folder = real_path(folder)
    root = _root_of(folder)
    names = [] if root is None else [f"{folder.relative_to(root).as_posix()}/"]
    if root is not None:
        record(root, names)
    with _named(folder):
        yield
    files = [path for path in folder.rglob("*") if path.is_file()]
    if files:
        _give_modes(files, folder)
    if root is not None:
        record(root, [path.relative_to(root).as_posix() for path in files])
        forget(root, names)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """
    Yields a temporary path, and moves the file written there to `path` once it is whole and on the disk.

    A reader of `path` sees the earlier file or the new one, never a part. If the block raises, the earlier file stays.
    A symbolic link stays a link: the file that it names is replaced. A device or a pipe is written directly.

    Args:
        path (`Path`):
            The file to write. A missing folder is made.

    Raises:
        [`InputError`]: if the file is in a folder of [`recorded`], exists, and was not written by this package.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "scores.txt"
        >>> with atomic_path(path) as temporary:
        ...     _ = temporary.write_text("0.5")
        >>> path.read_text()
        '0.5'
    """
    place, path = place_of(path), real_path(path)
    if is_special(place):
        yield path
        return
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _claim([place])
        temporary = path.with_name(_temporary_name())
        temporary.touch()
        mode = (path if path.is_file() else temporary).stat().st_mode
        temporary.unlink()
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
            _record_all([place])  # another process that ended meanwhile has removed the name, which had no file
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """
    Yields a temporary folder, and moves the files written there to `folder` once all are whole and on the disk.

    Other files of `folder` stay. The files of [`LAST`], without which nothing loads the folder, are moved last, so a
    folder that was left half way does not look finished. The files get the mode of the process's umask.

    Args:
        folder (`Path`):
            The folder to write to. It is made if it is missing.

    Raises:
        [`InputError`]: as [`atomic_path`].
    """
    folder = real_path(folder)
    temporary = folder / _temporary_name()
    with _named(folder):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            paths = [path for path in temporary.rglob("*") if path.is_file()]
            paths.sort(key=lambda path: (LAST.index(path.name) if path.name in LAST else -1, path))
            targets = [folder / path.relative_to(temporary) for path in paths]
            _claim(targets)
            _give_modes(paths, temporary)
            for path in paths:
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            for target in targets:
                if target.parent == folder and target.name in LAST:
                    target.unlink(missing_ok=True)
            for path, target in zip(paths, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
            _record_all(targets)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left in a folder and in its direct subfolders."""
    for pattern in (f"{_PREFIX}*{_SUFFIX}", f"*/{_PREFIX}*{_SUFFIX}"):
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


_PREFIX, _SUFFIX = f"{PREFIX}-", ".part"


def _temporary_name() -> str:
    return f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"


def _root_of(path: Path) -> Path | None:
    return max((root for root in _recorded if root in path.parents), key=lambda root: len(root.parts), default=None)


def _claim(paths: Iterable[Path]) -> None:
    """Refuses files of the user in a folder of [`recorded`]; records all others before they are written."""
    paths = list(paths)
    for path in paths:
        root = _root_of(path)
        if root is not None and STATE not in path.relative_to(root).parts:
            check_own(_recorded[root], path)
    _record_all(paths)


def _record_all(paths: Iterable[Path]) -> None:
    """Records files in their folders of [`recorded`]."""
    names: dict[Path, list[str]] = {}
    for path in paths:
        root = _root_of(path)
        if root is not None and STATE not in path.relative_to(root).parts:
            names.setdefault(root, []).append(path.relative_to(root).as_posix())
    for root, of_root in names.items():
        record(root, of_root)


def _give_modes(paths: Iterable[Path], sample: Path) -> None:
    """Sets the modes that the umask gives to new files; safetensors writes files that only the owner can read."""
    mode = sample.stat().st_mode & 0o666
    for path in paths:
        path.chmod(mode)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raises errors of the file system that name no file, such as that of a full disk, with the path."""
    try:
        yield
    except Exception as error:
        number = file_system_errno(error)
        if number is None or (isinstance(error, OSError) and error.filename is not None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def write_text(path: Path, text: str) -> None:
    """Writes a text, see [`atomic_path`]. A lone surrogate, which UTF-8 does not have, becomes an escape."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes a value as indented JSON, see [`atomic_path`]. JSON has no NaN and no infinity: they become `null`."""
    write_text(path, json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n")


def write_figure(path: Path, figure: "Figure", dpi: int | Literal["figure"] = "figure") -> None:
    """Writes a figure in the format of the suffix, such as `.png` or `.svg`, see [`atomic_path`]."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix("."), dpi=dpi)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
