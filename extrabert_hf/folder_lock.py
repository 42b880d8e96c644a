"""One command at a time writes to an output folder: a lock that ends with its process."""

import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from extrabert_hf.errors import InputError, need_folder
from extrabert_hf.files import recorded, remove_leftovers, write_json
from extrabert_hf.manifest import STATE, real_path

logger = logging.getLogger(__name__)

LOCK, HOLDER = "lock", "holder.json"
"""Names of the lock and of the file that describes the process with the lock, in [`STATE`]."""

_held: set[Path] = set()


@contextmanager
def hold_folder(argument: str, folder: Path) -> Iterator[None]:
    """
    Locks an output folder, makes it if it is missing, and records the files written to it, see [`recorded`].

    The operating system releases the lock when the process ends, however it ends. Of the processes that a launcher
    started only the first one locks the folder. A process that has the lock may call this again.

    Args:
        argument (`str`):
            The argument that names the folder.
        folder (`Path`):
            The folder.

    Raises:
        [`InputError`]: if the folder cannot be made, or if another process has the lock.
    """
    root = real_path(folder)
    if root in _held or os.environ.get("RANK", "0") != "0":
        yield
        return
    need_folder(argument, root)
    need_folder(argument, root / STATE)
    lock = FileLock(root / STATE / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"`{argument}` {folder} is in use by {_holder(root)}: wait, or name another folder."
        ) from None
    except NotImplementedError:
        logger.warning("%s: this file system has no locks, so two runs at a time are not refused", folder)
    _held.add(root)
    try:
        write_json(
            root / STATE / HOLDER,
            {"pid": os.getpid(), "host": platform.node(), "since": datetime.now().isoformat(" ", "seconds")},
        )
        remove_leftovers(root)
        with recorded(root, argument):
            yield
    finally:
        (root / STATE / HOLDER).unlink(missing_ok=True)
        _held.remove(root)
        lock.release()


def _holder(root: Path) -> str:
    """Describes the process that has the lock. Its file may not be written yet."""
    try:
        holder = json.loads((root / STATE / HOLDER).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
