"""Finished runs named on a command line -> their comparison as tables and as a figure."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.comparison import compare_all
from extrabert_hf.evaluation.figures import plot_differences
from extrabert_hf.evaluation.scored_runs import ScoredRun, TaskResults, read_run
from extrabert_hf.evaluation.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown
from extrabert_hf.tasks import TaskSpec

CAPTION = (
    "The score of b minus that of a over the same dev rows, with the 95 % interval and p of a paired bootstrap over "
    "these rows, to which the spread of seeds adds nothing. Up, down: Holm-corrected p below .05."
)
SIDE = "FOLDER, or NAME=FOLDER,FOLDER,... for several seeds of one setting"


def read_sides(words: Sequence[str], task: str | None = None) -> dict[str, dict[str, TaskResults]]:
    """
    Reads the runs that a command line names.

    Args:
        words (`Sequence[str]`):
            Each a folder, or `NAME=FOLDER,FOLDER,...` for runs of one setting with several seeds.
        task (`str`, *optional*):
            The task to compare; by default all.

    Returns:
        `dict[str, dict[str, TaskResults]]`: by the name of a side its results by task.

    Raises:
        [`InputError`]: if a folder holds no finished run, or two sides have one name.
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
    Reads `FOLDER` or `NAME=FOLDER,FOLDER,...` of each side; a folder that is there may have a `=` or a comma.

    Returns:
        `dict[str, list[Path]]`: by name; without one a side is called by the last part of its path that differs.

    Raises:
        [`InputError`]: if two sides have one name, a name or a folder is empty, or a folder stands twice in a side.
    """
    split = [split_name(word) for word in words]
    unnamed = iter(_distinct_names([Path(where).resolve() for name, where in split if name is None]))
    sides: dict[str, list[Path]] = {}
    for word, (name, where) in zip(words, split, strict=True):
        name = next(unnamed) if name is None else name
        folders = [where] if Path(where).is_dir() else where.split(",")
        if not name or not all(folders):
            raise InputError(f"`runs` must be {SIDE}, got {word!r}.")
        if len(set(map(os.path.realpath, folders))) < len(folders):
            raise InputError(f"`runs` must be folders that differ, got one twice in {word!r}.")
        if name in sides:
            raise InputError(f"`runs` must have names that differ, got {name!r} twice: {SIDE}.")
        sides[name] = [Path(folder) for folder in folders]
    return sides


def split_name(word: str) -> tuple[str | None, str]:
    """Reads `NAME=WHERE`, or `WHERE` without a name; a folder that is there may have a `=`."""
    name, is_named, where = word.partition("=")
    return (name, where) if is_named and not Path(word).is_dir() else (None, word)


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    parts = [folder.parts for folder in folders]
    while len(set(parts)) == len(parts) > 1 and min(map(len, parts)) > 1 and len({its[-1] for its in parts}) == 1:
        parts = [its[:-1] for its in parts]
    return [its[-1] for its in parts]


def write_comparison(lines: Sequence[Mapping[str, Any]], folder: str | Path) -> str:
    """
    Writes `comparison.md`, `.csv`, `.tex` and `.png` into a folder; gives the Markdown.

    Args:
        lines (`Sequence[Mapping[str, Any]]`):
            What [`compare_all`] gives.
        folder (`str` or `Path`):
            Where to write.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = comparison_cells(lines), CAPTION, [f"Holm's correction is over all of these, {len(lines)} in number."]
    markdown = to_markdown(*table)
    for name, text in {"md": markdown, "csv": to_csv(list(lines)), "tex": to_latex(*table)}.items():
        (folder / f"comparison.{name}").write_text(text, encoding="utf-8")
    plot_differences(lines).savefig(folder / "comparison.png", dpi=150)
    return markdown


def comparison_cells(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Gives what [`compare_all`] does as the text of a table's cells by column heading."""
    return [
        {
            "task": f"{line['task']} ({line['metric']})",
            "a": f"{line['a']}" + _seeds(line["runs_a"]),
            "b": f"{line['b']}" + _seeds(line["runs_b"]),
            "score a": number_cell(line["score_a"]),
            "score b": number_cell(line["score_b"]),
            "b - a": score_cell(line["difference"], None, line["low"], line["high"], sign="+"),
            "p": p_cell(line["bootstrap_p"]),
            "McNemar, Williams p": p_cell(line["second_p"]),
            "Holm p": p_cell(line["holm_p"]),
            "verdict": line["verdict"],
        }
        for line in lines
    ]


def compare_runs(
    words: Sequence[str], folder: str | Path, *, task: str | None = None, against: str | None = None
) -> str:
    """Reads, compares and writes; arguments as for [`read_sides`], [`compare_all`] and [`write_comparison`]."""
    if Path(folder).exists() and not Path(folder).is_dir():  # before the bootstrap
        raise InputError(f"`output_dir` must be a folder, got the file {str(folder)!r}.")
    return write_comparison(compare_all(read_sides(words, task), against), folder)


def _seeds(runs: int) -> str:
    return f" ({runs} runs)" if runs > 1 else ""


def _read_folder(folder: Path, task: str | None) -> list[tuple[TaskSpec, ScoredRun]]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise InputError(f"`runs` must be folders of finished runs, {folder} has no metrics.json: {SIDE}.")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if task is not None and task not in metrics["tasks"]:
        raise InputError(f"`task` must be one of {list(metrics['tasks'])}, those of {folder}, got {task!r}.")
    specs = [TaskSpec.from_dict(entry["task"]) for name, entry in metrics["tasks"].items() if task in (None, name)]
    seed = metrics.get("arguments", {}).get("seed", 0)
    return [(spec, read_run(folder, spec, seed)) for spec in specs]
