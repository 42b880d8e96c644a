"""The finished runs of a row of Table 1: each task's predictions over the seeds."""

import re
from dataclasses import dataclass
from pathlib import Path

from extrabert_hf.errors import InputError
from extrabert_hf.paper.rows import PaperRow
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.scored import TaskResults, read_run
from extrabert_hf.tasks import PAPER_TASKS


@dataclass(frozen=True, eq=False)
class RowResults:
    """
    The finished runs of a row of the table.

    Args:
        row ([`PaperRow`]):
            The row.
        tasks (`dict[str, TaskResults]`):
            Results of each task that has a finished run.
        unfinished (`tuple[str, ...]`):
            Folders of the runs that are missing or not finished, relative to the root.
    """

    row: PaperRow
    tasks: dict[str, TaskResults]
    unfinished: tuple[str, ...]


def run_folder(root: Path, row: PaperRow, seed: int, task: str) -> Path:
    """Returns the folder of the run that scores `task`: one per seed and, for separate training, per task."""
    folder = root / row.name / f"seed-{seed}"
    return folder / task if row.training == "separate" else folder


def row_results(root: str | Path, row: PaperRow) -> RowResults:
    """
    Reads all finished runs of a row, see [`RunFolder.is_finished`].

    Args:
        root (`str` or `Path`):
            Folder of all runs, with the layout of [`run_folder`].
        row ([`PaperRow`]):
            The row.

    Raises:
        [`InputError`]: if a file of a finished run is broken, or two runs have scored different rows.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"`root` must be a folder of runs, got {str(root)!r}: no such folder.")
    seeds = _seeds(root / row.name)
    tasks, unfinished = {}, []
    for name, task in PAPER_TASKS.items():
        folders = {seed: RunFolder(run_folder(root, row, seed, name)) for seed in seeds}
        finished = {seed: folder for seed, folder in folders.items() if folder.is_finished}
        if finished:
            tasks[name] = TaskResults(task, tuple(read_run(folder, task, seed) for seed, folder in finished.items()))
        unfinished += [folders[seed].path.relative_to(root).as_posix() for seed in seeds if seed not in finished]
    return RowResults(row, tasks, tuple(dict.fromkeys(unfinished)))  # the tasks of a multitask run share a folder


def _seeds(folder: Path) -> list[int]:
    seeds = []
    for path in folder.glob("seed-*"):
        number = re.fullmatch("seed-(0|[1-9][0-9]*)", path.name)
        if number is None:
            raise InputError(f"A run's folder must be named seed-<number>, got {str(path)!r}.")
        seeds.append(int(number[1]))
    return sorted(seeds)
