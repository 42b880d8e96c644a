"""Compares finished runs that a command line names: paired tests, tables and a figure."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.evaluation.bootstrap import PairedDifference, paired_bootstrap, paired_difference, resample_setting
from extrabert_hf.evaluation.formulas import pearson
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test
from extrabert_hf.files import write_figure, write_text
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.pretrained.names import split_name
from extrabert_hf.runs.figures import plot_differences
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.scored import ScoredRun, TaskResults, check_same_rows, read_run
from extrabert_hf.runs.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)

SIGNIFICANT = 0.05
"""Significance level: a smaller p-value has the verdict `"up"` or `"down"`."""

Verdict = Literal["up", "down", "level"]


@dataclass(frozen=True)
class Comparison:
    """
    The scores of two settings on one task, compared over the same rows. The columns of `comparison.csv`.

    Args:
        task (`str`):
            Name of the task.
        metric (`str`):
            Name of the task's main metric.
        a, b (`str`):
            Names of the settings.
        score_a, score_b (`float`):
            Mean score of each setting over the runs with different seeds.
        difference (`float`):
            `score_b - score_a`.
        low, high (`float`):
            95 % interval of the difference, from a paired bootstrap over the rows.
        runs_a, runs_b (`int`):
            Number of runs of each setting.
        bootstrap_p (`float`):
            p-value of the paired bootstrap, 0 to 1.
        second_p (`float`, *optional*):
            p-value of McNemar's test for accuracies, of Williams' test for correlations; `None` for several runs.
        holm_p (`float`):
            `bootstrap_p` with Holm's correction for all comparisons.
        verdict (`str`):
            `"up"` or `"down"` if `holm_p` is below 0.05, else `"level"`.
    """

    task: str
    metric: str
    a: str
    b: str
    score_a: float
    score_b: float
    difference: float
    low: float
    high: float
    runs_a: int
    runs_b: int
    bootstrap_p: float
    second_p: float | None
    holm_p: float
    verdict: Verdict


def compare(a: TaskResults, b: TaskResults) -> PairedDifference:
    """Computes the difference of the mean scores of two settings with a paired bootstrap over the same rows."""
    check_same_rows(a.runs[0], b.runs[0])
    return paired_bootstrap(a.formula, a.predictions, b.predictions, a.labels)


def second_p(a: TaskResults, b: TaskResults) -> float | None:
    """Returns the p-value of McNemar's test for accuracies, of Williams' for correlations; `None` for several runs."""
    if len(a.runs) > 1 or len(b.runs) > 1:
        return None
    labels, (predictions_a,), (predictions_b,) = a.labels, a.predictions, b.predictions
    if a.task.is_regression:
        pairs = ((predictions_a, labels), (predictions_b, labels), (predictions_a, predictions_b))
        return williams_test(*(float(pearson(*pair)) for pair in pairs), rows=len(labels))[1]
    return mcnemar_test(predictions_a == labels, predictions_b == labels)


def verdict(difference: float, holm_p: float) -> Verdict:
    """Returns `"up"` or `"down"` for a difference with a corrected p-value below 5 %, else `"level"`."""
    if holm_p >= SIGNIFICANT:
        return "level"
    return "up" if difference > 0 else "down"


def compare_all(sides: Mapping[str, Mapping[str, TaskResults]], against: str | None = None) -> list[Comparison]:
    """
    Compares every two settings on each task that both have, with Holm's correction for all comparisons.

    Args:
        sides (`Mapping[str, Mapping[str, TaskResults]]`):
            Results by setting and task, of two settings or more.
        against (`str`, *optional*):
            A setting to compare all other settings with. By default every two settings are compared.

    Raises:
        [`InputError`]: if the rows of two settings differ, or two settings have no task in common.
    """
    if len(sides) < 2:
        raise InputError(f"`sides` must be two settings or more, got {len(sides)}.")
    if against is not None and against not in sides:
        raise InputError(f"`against` must be one of {', '.join(map(repr, sides))}, got {against!r}.")
    pairs = combinations(sides, 2) if against is None else [(against, name) for name in sides if name != against]
    compared = [(task, a, b) for a, b in pairs for task in sides[a] if task in sides[b]]
    if not compared:
        found = "; ".join(f"{name}: {', '.join(results)}" for name, results in sides.items())
        raise InputError(f"`sides` must have a task in common, got {found}.")
    for task, a, b in compared:
        check_same_rows(sides[a][task].runs[0], sides[b][task].runs[0])
    named = {(task, name): sides[name][task] for task, *names in compared for name in names}
    settings = {key: resample_setting(each.formula, each.predictions, each.labels) for key, each in named.items()}
    differences = [paired_difference(settings[task, a], settings[task, b]) for task, a, b in compared]
    corrected = holm_adjusted([found.p_value for found in differences]).tolist()
    return [
        Comparison(
            task=task,
            metric=sides[a][task].task.metric,
            a=a,
            b=b,
            score_a=sides[a][task].mean,
            score_b=sides[b][task].mean,
            difference=found.difference,
            low=found.low,
            high=found.high,
            runs_a=found.runs_a,
            runs_b=found.runs_b,
            bootstrap_p=found.p_value,
            second_p=second_p(sides[a][task], sides[b][task]),
            holm_p=holm_p,
            verdict=verdict(found.difference, holm_p),
        )
        for (task, a, b), found, holm_p in zip(compared, differences, corrected, strict=True)
    ]


CAPTION = (
    "The score of b minus the score of a over the same dev rows. The 95 % interval and p are from a paired bootstrap "
    "over these rows and ignore the variation between seeds. There is no interval if all samples of the rows have the "
    "same difference. Up, down: Holm-corrected p below .05."
)
SIDE = "FOLDER, or NAME=FOLDER,FOLDER,... for several seeds of one setting"


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


def write_comparison(lines: Sequence[Comparison], folder: str | Path) -> str:
    """
    Writes `comparison.md`, `.csv`, `.tex` and `.png` into a folder; returns the Markdown.

    Args:
        lines (`Sequence[Comparison]`):
            One comparison or more.
        folder (`str` or `Path`):
            The folder to write. A missing folder is created.
    """
    folder = Path(folder)
    table = comparison_cells(lines), CAPTION, [f"Number of comparisons in Holm's correction: {len(lines)}."]
    markdown = to_markdown(*table)
    texts = {"md": markdown, "csv": to_csv([asdict(line) for line in lines]), "tex": to_latex(*table)}
    with hold_folder("output_dir", folder):
        for name, text in texts.items():
            write_text(folder / f"comparison.{name}", text)
        write_figure(folder / "comparison.png", plot_differences(lines), dpi=150)
    logger.info("comparison.md, .csv, .tex and .png are in %s", folder)
    return markdown


def comparison_cells(lines: Sequence[Comparison]) -> list[dict[str, str]]:
    """Formats each comparison as a row of a table: a dictionary from column heading to text."""
    return [
        {
            "task": f"{line.task} ({line.metric})",
            "a": f"{line.a}{_runs(line.runs_a)}",
            "b": f"{line.b}{_runs(line.runs_b)}",
            "score a": number_cell(line.score_a),
            "score b": number_cell(line.score_b),
            "b - a": score_cell(line.difference, None, line.low, line.high, sign="+"),
            "p": p_cell(line.bootstrap_p),
            "McNemar, Williams p": p_cell(line.second_p),
            "Holm p": p_cell(line.holm_p),
            "verdict": line.verdict,
        }
        for line in lines
    ]


def compare_runs(
    words: Sequence[str], folder: str | Path, *, task: str | None = None, against: str | None = None
) -> str:
    """Reads runs, compares them and writes the tables, see [`read_sides`], [`compare_all`], [`write_comparison`]."""
    refuse_file("output_dir", Path(folder))  # before the bootstrap, which takes long
    return write_comparison(compare_all(read_sides(words, task), against), folder)


def _runs(number: int) -> str:
    return f" ({number} runs)" if number > 1 else ""


def _read_folder(path: Path, task: str | None) -> list[tuple[TaskSpec, ScoredRun]]:
    folder = RunFolder(path)
    if not folder.is_finished:
        raise InputError(f"`runs` must be folders of finished runs, but {path} has no {folder.METRICS}: {SIDE}.")
    metrics = folder.read_metrics()
    if task is not None and task not in metrics.tasks:
        raise InputError(f"`task` must be one of {list(metrics.tasks)}, the tasks of {path}, got {task!r}.")
    specs = [entry.task for name, entry in metrics.tasks.items() if task in (None, name)]
    return [(spec, read_run(folder, spec, metrics.seed or 0)) for spec in specs]
