"""The parts of a file of predictions that is not complete: an interrupted call can be continued."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.files import atomic_path, write_text
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.manifest import PREFIX, is_own

JOB_FILE = "job.json"
"""Name of the file in `<output>.parts/` that describes which predictions the parts hold."""


class PredictionParts:
    """
    The parts of an unfinished file of predictions, in the folder `<output>.parts/`. Only one call at a time may use
    the folder.

    Args:
        output (`Path`):
            The file that the parts are joined to.
        job (`Mapping[str, Any]`):
            Everything that determines the predictions. Parts of another job are deleted.
    """

    def __init__(self, output: Path, job: Mapping[str, Any]) -> None:
        self.output = output
        self.job = json.dumps(job, indent=2) + "\n"
        self.folder = output.with_name(f"{output.name}.parts")

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Locks the folder in the main process.

        Raises:
            [`InputError`]: if another process has the lock, or if the folder has no job of an earlier call: the files
            in it are the user's.
        """
        refuse_file("output", self.folder)
        if self._files() and not self._has_job():
            raise InputError(
                f"`output` needs {self.folder} for unfinished parts, which has other files: name another output."
            )
        with hold_folder("output", self.folder):
            yield
        if self.folder.is_dir() and not self._files():
            shutil.rmtree(self.folder)

    def begin(self) -> int:
        """Keeps the parts of the same job, in the main process; returns the number of parts in the folder."""
        job = self.folder / JOB_FILE
        if job.is_file() and job.read_text(encoding="utf-8") == self.job:
            return len([path for path in self._parts() if path.suffix == ""])
        self._remove()
        write_text(job, self.job)
        return 0

    def check_shared(self) -> None:
        """Raises [`InputError`] if this process can't see the folder that the main process created."""
        if not (self.folder / JOB_FILE).is_file():
            raise InputError(f"`output` must be in a folder that all machines share, {self.folder} is not seen here.")

    def __contains__(self, index: int) -> bool:
        return self._path(index).is_file()

    def write(self, index: int, text: str) -> None:
        """Writes a part; the file gets its final name once it is complete."""
        with atomic_path(self._path(index)) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")

    def join(self, head: str, count: int, read: Callable[[str], None]) -> None:
        """
        Writes `head` and the first `count` parts to the output and deletes the folder, in the main process. `read` is
        called with the text of each part.
        """
        with atomic_path(self.output) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(head)
            for index in range(count):
                with self._path(index).open(encoding="utf-8", newline="") as part:
                    text = part.read()
                file.write(text)
                read(text)
        self._remove()

    def _files(self) -> list[Path]:
        """Returns the files in the folder without the manifest, the lock and temporary files of killed processes."""
        return [] if not self.folder.is_dir() else [p for p in self.folder.iterdir() if not p.name.startswith(PREFIX)]

    def _has_job(self) -> bool:
        job = self.folder / JOB_FILE
        return is_own(job) or (job.is_file() and '"rows_a_part"' in job.read_text(encoding="utf-8", errors="replace"))

    def _parts(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if re.fullmatch(r"\d{6,}(\.unfinished)?", path.name)]

    def _remove(self) -> None:
        """Removes the parts and the job; other files stay."""
        for path in (*self._parts(), self.folder / JOB_FILE):
            path.unlink(missing_ok=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}"
