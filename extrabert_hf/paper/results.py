"""Finished runs of a row of the table, found in their folders: each task's answers over the seeds."""

import re
from dataclasses import dataclass
from pathlib import Path

from extrabert_hf.errors import InputError
from extrabert_hf.paper.rows import PaperRow
from extrabert_hf.runs.scored import TaskResults, read_run
from extrabert_hf.tasks import PAPER_TASKS


@dataclass(frozen=True, eq=False)
class RowResults:
    """
    What has been run of one row of the table.

    Args:
        row ([`PaperRow`]):
            The row.
        tasks (`dict[str, TaskResults]`):
            Results by task; a task without a finished run is not in it.
        unfinished (`tuple[str, ...]`):
            Folders, relative to the root, of runs that a seed lacks.
    """

    row: PaperRow
    tasks: dict[str, TaskResults]
    unfinished: tuple[str, ...]


def run_folder(root: Path, row: PaperRow, seed: int, task: str) -> Path:
    """Folder of the run that scores `task`: one per seed for a multitask row, one per seed and task for a separate."""
    folder = root / row.name / f"seed-{seed}"
    return folder / task if row.training == "separate" else folder


def row_results(root: str | Path, row: PaperRow) -> RowResults:
    """
    Gathers all finished runs of a row; a run is finished once its `metrics.json` is there.

    Args:
        root (`str` or `Path`):
            Folder of all runs, laid out as [`run_folder`] says.
        row ([`PaperRow`]):
            The row.

    Raises:
        [`InputError`]: if a finished run's files can't be used, or two runs have scored different rows.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"`root` must be a folder of runs, got {str(root)!r}: no such folder.")
    seeds = _seeds(root / row.name)
    tasks, unfinished = {}, []
    for name, task in PAPER_TASKS.items():
        folders = {seed: run_folder(root, row, seed, name) for seed in seeds}
        finished = {seed: folder for seed, folder in folders.items() if (folder / "metrics.json").is_file()}
        if finished:
            tasks[name] = TaskResults(task, tuple(read_run(folder, task, seed) for seed, folder in finished.items()))
        unfinished += [folders[seed].relative_to(root).as_posix() for seed in seeds if seed not in finished]
    return RowResults(row, tasks, tuple(dict.fromkeys(unfinished)))  # a multitask folder stands there once, not thrice


def _seeds(folder: Path) -> list[int]:
    seeds = []
    for path in folder.glob("seed-*"):
        number = re.fullmatch("seed-(0|[1-9][0-9]*)", path.name)
        if number is None:
            raise InputError(f"A run's folder must be named seed-<number>, got {str(path)!r}.")
        seeds.append(int(number[1]))
    return sorted(seeds)
