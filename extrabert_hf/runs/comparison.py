"""Finished runs named on a command line -> their comparison as tables and as a figure."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.evaluation.bootstrap import PairedDifference, paired_bootstrap
from extrabert_hf.evaluation.formulas import pearson
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test
from extrabert_hf.pretrained.names import split_name
from extrabert_hf.runs.figures import plot_differences
from extrabert_hf.runs.scored import ScoredRun, TaskResults, check_same_rows, read_run
from extrabert_hf.runs.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown
from extrabert_hf.tasks import TaskSpec

SIGNIFICANT = 0.05


def compare(a: TaskResults, b: TaskResults) -> PairedDifference:
    """Bootstraps the difference of two settings' mean scores over the rows that both have answered."""
    check_same_rows(a.runs[0], b.runs[0])
    return paired_bootstrap(a.formula, a.predictions, b.predictions, a.labels)


def second_p(a: TaskResults, b: TaskResults) -> float | None:
    """Gives the p-value of McNemar's test for accuracies, of Williams' for correlations; `None` for several runs."""
    if len(a.runs) > 1 or len(b.runs) > 1:
        return None
    labels, (answers_a,), (answers_b,) = a.labels, a.predictions, b.predictions
    if a.task.is_regression:
        pairs = ((answers_a, labels), (answers_b, labels), (answers_a, answers_b))
        return williams_test(*(float(pearson(*pair)) for pair in pairs), rows=len(labels))[1]
    return mcnemar_test(answers_a == labels, answers_b == labels)


def verdict(difference: float, holm_p: float) -> str:
    """Says `"up"` or `"down"` of a difference whose corrected p-value is below 5 %, else `"level"`."""
    if holm_p >= SIGNIFICANT:
        return "level"
    return "up" if difference > 0 else "down"


def compare_all(sides: Mapping[str, Mapping[str, TaskResults]], against: str | None = None) -> list[dict[str, Any]]:
    """
    Compares each two settings on each task that both of them have, with Holm's correction over all comparisons.

    Args:
        sides (`Mapping[str, Mapping[str, TaskResults]]`):
            By the name of a setting its results by task; two or more settings.
        against (`str`, *optional*):
            The one setting that the others are compared with, in place of each with each.

    Returns:
        `list[dict]`: a line a comparison, with `task`, `metric`, `a`, `b`, `score_a`, `score_b`, `difference` (b minus
        a), `low`, `high`, `runs_a`, `runs_b`, `bootstrap_p`, `second_p`, `holm_p` (of `bootstrap_p`) and `verdict`.

    Raises:
        [`InputError`]: if settings have answered other rows, or have no task in common.
    """
    if len(sides) < 2:
        raise InputError(f"`sides` must be two settings or more, got {len(sides)}.")
    if against is not None and against not in sides:
        raise InputError(f"`against` must be one of {', '.join(map(repr, sides))}, got {against!r}.")
    pairs = combinations(sides, 2) if against is None else [(against, name) for name in sides if name != against]
    tasks_of_pairs = [(task, a, b) for a, b in pairs for task in sides[a] if task in sides[b]]
    if not tasks_of_pairs:
        told = "; ".join(f"{name}: {', '.join(results)}" for name, results in sides.items())
        raise InputError(f"`sides` must have a task in common, got {told}.")
    lines = [_line(task, a, b, sides[a][task], sides[b][task]) for task, a, b in tasks_of_pairs]
    for line, p_value in zip(lines, holm_adjusted([line["bootstrap_p"] for line in lines]).tolist(), strict=True):
        line |= {"holm_p": p_value, "verdict": verdict(line["difference"], p_value)}
    return lines


def _line(task: str, name_a: str, name_b: str, a: TaskResults, b: TaskResults) -> dict[str, Any]:
    found = compare(a, b)
    return {
        **{"task": task, "metric": a.task.metric, "a": name_a, "b": name_b, "score_a": a.mean, "score_b": b.mean},
        **{"difference": found.difference, "low": found.low, "high": found.high},
        **{"runs_a": found.runs_a, "runs_b": found.runs_b, "bootstrap_p": found.p_value, "second_p": second_p(a, b)},
    }


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
    refuse_file("output_dir", Path(folder))  # before the bootstrap
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
