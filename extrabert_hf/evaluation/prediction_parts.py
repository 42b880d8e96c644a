"""Predictions of a file part after part: several processes share it, and one that broke off is taken up again."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError

JOB_FILE = "job.json"


class PredictionParts:
    """
    The parts of a file of predictions, in `<output>.parts/` until all are there; of one call at a time.

    Args:
        output (`Path`):
            The file that they become.
        job (`Mapping[str, Any]`):
            What makes the same predictions: parts of another job are thrown away.
    """

    def __init__(self, output: Path, job: Mapping[str, Any]) -> None:
        self.output = output
        self.job = json.dumps(job, indent=2) + "\n"
        self.folder = output.with_name(f"{output.name}.parts")

    def begin(self) -> int:
        """Makes the folder, or keeps that of the same job; gives how many parts are there. For one process to call."""
        job = self.folder / JOB_FILE
        if job.is_file() and job.read_text(encoding="utf-8") == self.job:
            return len([path for path in self.folder.iterdir() if path.name.isdecimal()])
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        job.write_text(self.job, encoding="utf-8")
        return 0

    def check_shared(self) -> None:
        """Raises [`InputError`] where the folder that another process has made is not seen."""
        if not (self.folder / JOB_FILE).is_file():
            raise InputError(f"`output` must be in a folder that all machines share, {self.folder} is not seen here.")

    def __contains__(self, index: int) -> bool:
        return self._path(index).is_file()

    def write(self, index: int, text: str) -> None:
        """Leaves a part, whole or not at all."""
        unfinished = self._path(index).with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8", newline="")
        unfinished.replace(self._path(index))

    def join(self, head: str, count: int) -> None:
        """Writes `head` and the first `count` parts to the output, takes the folder away. For one process to call."""
        unfinished = self.output.with_name(f"{self.output.name}.part")
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            file.write(head)
            for index in range(count):
                with self._path(index).open(encoding="utf-8", newline="") as part:
                    shutil.copyfileobj(part, file)
        unfinished.replace(self.output)
        shutil.rmtree(self.folder)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06}"
