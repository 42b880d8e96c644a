"""The manifest of an output folder: which of the files in a folder of the user this package wrote."""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from extrabert_hf.errors import InputError

logger = logging.getLogger(__name__)

PREFIX = ".extrabert"
"""Start of the names that only this package uses."""

STATE = f"{PREFIX}_hf"
"""Name of the folder in an output folder that holds the manifest and the lock."""

MANIFEST = "written"
"""Name of the manifest: one JSON string a line, the path of a file relative to the output folder. A name that ends in
a slash is a folder that is being written: all files in it are of this package."""


def manifest_names(folder: Path) -> set[str]:
    """Reads the manifest of a folder; returns no names without one. A line that was cut short is left out."""
    try:
        lines = (folder / STATE / MANIFEST).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {name for line in lines if (name := _name_in(line)) is not None}


def _name_in(line: str) -> str | None:
    try:
        name = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def record(folder: Path, names: Iterable[str]) -> None:
    """
    Appends names to the manifest of a folder. Several processes can record in one folder.

    Of a folder that other users share, such as /tmp, the manifest may be theirs. A warning then says that the files
    are not recorded.
    """
    new = sorted(set(names) - manifest_names(folder))
    if not new:
        return
    try:
        with _changed_manifest(folder) as manifest, manifest.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read() != b"\n":  # a line that was cut short
                file.write(b"\n")
            file.write("".join(json.dumps(name) + "\n" for name in new).encode())
    except PermissionError as error:
        names = f"{new[0]} and {len(new) - 1} more" if len(new) > 1 else new[0]
        reason = f"{error.filename} can't be written"
        logger.warning("%s: %s, so a later command will not replace %s", folder, reason, names)


def forget(folder: Path, names: Iterable[str]) -> None:
    """Removes names from the manifest of a folder."""
    names = set(names)
    if names & manifest_names(folder):
        with _changed_manifest(folder) as manifest:
            left = manifest_names(folder) - names
            path = manifest.with_suffix(".new")
            path.write_text("".join(json.dumps(name) + "\n" for name in sorted(left)), encoding="utf-8")
            path.replace(manifest)


@contextmanager
def _changed_manifest(folder: Path) -> Iterator[Path]:
    """Yields the manifest of a folder while no other process changes it."""
    (folder / STATE).mkdir(parents=True, exist_ok=True)
    with FileLock(folder / STATE / f"{MANIFEST}.lock"):
        yield folder / STATE / MANIFEST


def is_own(path: Path) -> bool:
    """Whether the manifest of a folder above a file names the file."""
    path = place_of(path)
    for folder in path.parents:
        names = manifest_names(folder)
        if names:
            name = path.relative_to(folder)
            if name.as_posix() in names or any(f"{parent.as_posix()}/" in names for parent in name.parents):
                return True
    return False


def check_own(argument: str, path: Path) -> None:
    """Raises [`InputError`] for a file with content, or a link, that no manifest names: it is not replaced."""
    is_used = path.is_symlink() or (path.is_file() and path.stat().st_size > 0)
    if is_used and not is_special(place_of(path)) and not is_own(path):
        raise InputError(
            f"`{argument}` would replace {path}, which this package did not write there: name another, or move the "
            "file."
        )


def remove_own(path: Path) -> None:
    """Removes a file, or the files in a folder, that a manifest names; then the folders that are empty."""
    if path.is_symlink() or not path.is_dir():
        if path.is_file() and is_own(path):
            path.unlink()
        return
    for entry in list(path.iterdir()):
        remove_own(entry)
    if not any(path.iterdir()):
        path.rmdir()


def real_path(path: Path) -> Path:
    """Returns the absolute path of the file that a path names, with symbolic links followed."""
    return Path(os.path.realpath(path))


def place_of(path: Path) -> Path:
    """Returns the absolute path of a file or of a link, with the links of its folder followed."""
    return real_path(path.parent) / path.name


def is_special(place: Path) -> bool:
    """Whether a path is a device, a pipe, or a name of an open file such as /dev/stdout."""
    return place.parts[1:2] in (("dev",), ("proc",)) or (place.exists() and not place.is_file())
