"""Compares finished runs: paired tests, tables and a figure."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.evaluation.bootstrap import (
    PairedDifference,
    ResampledSetting,
    paired_bootstrap,
    paired_difference,
    resample_setting,
)
from extrabert_hf.evaluation.equal_coverage import AURC, check_coverages, resample_selective
from extrabert_hf.evaluation.formulas import pearson
from extrabert_hf.evaluation.metrics import ERRORS
from extrabert_hf.evaluation.selective import MIN_ANSWERED
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test
from extrabert_hf.files import write_figure, write_text
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.runs.figures import plot_differences
from extrabert_hf.runs.scored import TaskResults, check_same_rows
from extrabert_hf.runs.sides import read_sides
from extrabert_hf.runs.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown

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
            Name of the task's main metric; `accuracy at coverage C` or `aurc` with `coverages`, see [`compare_all`].
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
            p-value of McNemar's test for accuracies, of Williams' test for correlations; `None` for several runs, and
            for the metrics of `coverages`.
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

    @property
    def title(self) -> str:
        """The task and the metric."""
        return f"{self.task} ({self.metric})"

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is an error."""
        return self.metric in (AURC, *ERRORS)


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


def compare_all(
    sides: Mapping[str, Mapping[str, TaskResults]], against: str | None = None, coverages: Sequence[float] = ()
) -> list[Comparison]:
    """
    Compares every two settings on each task that both have, with Holm's correction for all comparisons.

    Args:
        sides (`Mapping[str, Mapping[str, TaskResults]]`):
            Results by setting and task, of two settings or more.
        against (`str`, *optional*):
            A setting to compare all other settings with. By default every two settings are compared.
        coverages (`Sequence[float]`, *optional*):
            For classes, also compares the accuracies of the most confident rows of each setting, this share of all
            rows, above 0 to 1, and the areas under the risk-coverage curves, see [`resample_selective`].

    Raises:
        [`InputError`]: if the rows of two settings differ, two settings have no task in common, or no task of
            `coverages` has classes.
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
    for task, *names in compared:
        first, second = (sides[name][task] for name in names)
        check_same_rows(first.runs[0], second.runs[0])
        if first.task.metric != second.task.metric:
            metrics = f"{first.task.metric} and {second.task.metric}"
            raise InputError(f"`sides` must have the same metric of a task, got {metrics} for {task!r}.")
    named = {(task, name): sides[name][task] for task, *names in compared for name in names}
    if coverages:
        _check_tasks_with_coverages(named, coverages)
    settings = {key: _resample(each, coverages) for key, each in named.items()}
    tests = [(*each, metric) for each in compared for metric in settings[each[:2]]]
    differences = [
        paired_difference(settings[task, a][metric], settings[task, b][metric]) for task, a, b, metric in tests
    ]
    corrected = holm_adjusted([found.p_value for found in differences]).tolist()
    return [
        Comparison(
            task=task,
            metric=metric,
            a=a,
            b=b,
            score_a=settings[task, a][metric].score,
            score_b=settings[task, b][metric].score,
            difference=found.difference,
            low=found.low,
            high=found.high,
            runs_a=found.runs_a,
            runs_b=found.runs_b,
            bootstrap_p=found.p_value,
            second_p=second_p(sides[a][task], sides[b][task]) if metric == sides[a][task].task.metric else None,
            holm_p=holm_p,
            verdict=verdict(found.difference, holm_p),
        )
        for (task, a, b, metric), found, holm_p in zip(tests, differences, corrected, strict=True)
    ]


def _resample(results: TaskResults, coverages: Sequence[float]) -> dict[str, ResampledSetting]:
    """Scores a setting on resampled rows, by metric."""
    main = {results.task.metric: resample_setting(results.formula, results.predictions, results.labels)}
    if not coverages or results.task.is_regression:
        return main
    return main | resample_selective(results.confidences, results.predictions == results.labels, coverages)


def _check_tasks_with_coverages(named: Mapping[tuple[str, str], TaskResults], coverages: Sequence[float]) -> None:
    by_task = {task: results for (task, _), results in named.items()}
    scores = [task for task, results in by_task.items() if results.task.is_regression]
    if len(scores) == len(by_task):
        raise InputError(f"`coverage` is for classes, but {scores[0]!r} has scores without probabilities.")
    for task, results in by_task.items():
        rows = min(coverages) * len(results.labels)
        if task in scores:
            logger.info("%s has scores without probabilities: it is not compared at a coverage", task)
        elif rows < MIN_ANSWERED:
            logger.warning(
                "%s: coverage %g is %.3g rows; an accuracy of fewer than %d rows follows noise",
                *(task, min(coverages), rows, MIN_ANSWERED),
            )


CAPTION = (
    "The score of b minus the score of a over the same dev rows. The 95 % interval and p are from a paired bootstrap "
    "over these rows and ignore the variation between seeds. There is no interval if all samples of the rows have the "
    "same difference. Up, down: Holm-corrected p below .05."
)
COVERAGE_NOTE = (
    "accuracy at coverage C: the accuracy of the share C of the rows that a run is most confident of. Each run has "
    "its own most confident rows, selected again in each sample of the rows. aurc: area under the risk-coverage "
    "curve; lower is better."
)


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
    notes = [f"Number of comparisons in Holm's correction: {len(lines)}."]
    if any(line.metric == AURC for line in lines):
        notes.insert(0, COVERAGE_NOTE)
    table = comparison_cells(lines), CAPTION, notes
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
            "task": line.title,
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
    words: Sequence[str],
    folder: str | Path,
    *,
    task: str | None = None,
    against: str | None = None,
    coverages: Sequence[float] = (),
) -> str:
    """Reads runs, compares them and writes the tables, see [`read_sides`], [`compare_all`], [`write_comparison`]."""
    refuse_file("output_dir", Path(folder))  # before the bootstrap, which takes long
    check_coverages(coverages)
    return write_comparison(compare_all(read_sides(words, task), against, coverages), folder)


def _runs(number: int) -> str:
    return f" ({number} runs)" if number > 1 else ""
