"""The sides of a comparison: which finished runs the words of a command line name, and their results."""

import os
from collections.abc import Sequence
from pathlib import Path

from extrabert_hf.errors import InputError
from extrabert_hf.pretrained.names import split_name
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.scored import ScoredRun, TaskResults, read_run
from extrabert_hf.tasks import TaskSpec

SIDE = "FOLDER, or NAME=FOLDER,FOLDER,... for several seeds of one setting"
"""The form of a word that names a side."""


def read_sides(words: Sequence[str], task: str | None = None) -> dict[str, dict[str, TaskResults]]:
    """
    Reads the finished runs that a command line names.

    Args:
        words (`Sequence[str]`):
            One side per word, see [`split_sides`].
        task (`str`, *optional*):
            The task to compare; all tasks by default.

    Returns:
        `dict[str, dict[str, TaskResults]]`: results by side and task.

    Raises:
        [`InputError`]: if a folder has no finished run, or two sides have the same name.
    """
    sides = {}
    for name, folders in split_sides(words).items():
        by_task: dict[str, list[tuple[TaskSpec, ScoredRun]]] = {}
        for folder in folders:
            for spec, run in _read_folder(folder, task):
                by_task.setdefault(spec.name, []).append((spec, run))
        sides[name] = {
            task_name: TaskResults(runs[0][0], tuple(run for _, run in runs)) for task_name, runs in by_task.items()
        }
    return sides


def split_sides(words: Sequence[str]) -> dict[str, list[Path]]:
    """
    Splits each `FOLDER` or `NAME=FOLDER,FOLDER,...` into a name and folders.

    The name of an existing folder may contain `=` or a comma.

    Returns:
        `dict[str, list[Path]]`: folders by the name of the side. The default name is the last part of the path in
        which the unnamed sides differ.

    Raises:
        [`InputError`]: if two sides have the same name, a name or a folder is empty, or a side has a folder twice.
    """
    split = [split_name(word) for word in words]
    unnamed = iter(_distinct_names([Path(text).resolve() for name, text in split if name is None]))
    sides: dict[str, list[Path]] = {}
    for word, (name, text) in zip(words, split, strict=True):
        name = next(unnamed) if name is None else name
        folders = [text] if Path(text).is_dir() else text.split(",")
        if not name or not all(folders):
            raise InputError(f"`runs` must be {SIDE}, got {word!r}.")
        if len(set(map(os.path.realpath, folders))) < len(folders):
            raise InputError(f"`runs` must be folders that differ, got one twice in {word!r}.")
        if name in sides:
            raise InputError(f"`runs` must have names that differ, got {name!r} twice: {SIDE}.")
        sides[name] = [Path(folder) for folder in folders]
    return sides


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    parts = [folder.parts for folder in folders]
    while len(set(parts)) == len(parts) > 1 and min(map(len, parts)) > 1 and len({path[-1] for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    return [path[-1] for path in parts]


def _read_folder(path: Path, task: str | None) -> list[tuple[TaskSpec, ScoredRun]]:
    folder = RunFolder(path)
    if not folder.is_finished:
        raise InputError(f"`runs` must be folders of finished runs, but {path} has no {folder.METRICS}: {SIDE}.")
    metrics = folder.read_metrics()
    if task is not None and task not in metrics.tasks:
        raise InputError(f"`task` must be one of {list(metrics.tasks)}, the tasks of {path}, got {task!r}.")
    specs = [entry.task for name, entry in metrics.tasks.items() if task in (None, name)]
    return [(spec, read_run(folder, spec, metrics.seed or 0)) for spec in specs]
