"""Table 1 of the paper with the scores of finished runs and a paired test of each step: Markdown, csv and LaTeX."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.evaluation.significance import holm_adjusted
from extrabert_hf.files import write_text
from extrabert_hf.paper.rows import TABLE1, PaperRow, RowResults, row_results
from extrabert_hf.runs.comparison import Verdict, compare, second_p, verdict
from extrabert_hf.runs.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown
from extrabert_hf.tasks import PAPER_TASKS

TABLES = ("table1.md", "table1.tex", "table1.csv", "table1-steps.csv")
"""Names of the files of the table."""

TASK_LABELS = {"sst": "SST", "para": "Para", "sts": "STS"}
OVERALL = {"2023": "mean", "2024": "cs224n_2024"}
"""Year of the course, and the name of its overall score in [`aggregate_scores`]."""

SCORES_CAPTION = (
    "Dev scores: SST and Para accuracy, STS Pearson r. Ours: mean over the seeds, ± standard deviation if a row has "
    "several seeds, and 95 % bootstrap interval over the dev rows. RR: round robin over the tasks; CS: cosine "
    "similarity; GS: gradient surgery; SFT: a model per task; DPA, MA: dot-product, multiplicative attention."
)
LADDER_CAPTION = (
    "The steps of the table: the score of a row minus the score of the row that it builds on, over the same dev rows. "
    "The 95 % interval and p are from a paired bootstrap over these rows and ignore the variation between seeds. Up, "
    "down: Holm-corrected p below .05."
)


@dataclass(frozen=True)
class TaskScore:
    """
    A task's score in a row of the table. All fields except `paper` are `None` without a finished run.

    Args:
        paper (`float`):
            Score of the paper.
        ours (`float`, *optional*):
            Mean score over the seeds.
        sd (`float`, *optional*):
            Standard deviation over the seeds; also `None` for one seed.
        low, high (`float`, *optional*):
            95 % bootstrap interval of `ours` over the dev rows.
        seeds (`int`, *optional*):
            Number of runs.
        majority (`float`, *optional*):
            Score of the most frequent training class; also `None` for a correlation.
    """

    paper: float
    ours: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    majority: float | None = None


@dataclass(frozen=True)
class TableRow:
    """
    A row of the table.

    Args:
        row ([`PaperRow`]):
            The row of the paper.
        tasks (`dict[str, TaskScore]`):
            Scores by task.
        overall_paper, overall_ours (`dict[str, float | None]`):
            Overall score by year of the course; `None` if a task has no score.
        unfinished (`tuple[str, ...]`):
            Folders of the runs that are missing or not finished.
    """

    row: PaperRow
    tasks: dict[str, TaskScore]
    overall_paper: dict[str, float | None]
    overall_ours: dict[str, float | None]
    unfinished: tuple[str, ...]

    def columns(self) -> dict[str, Any]:
        """Returns the columns of `table1.csv`: `sst_paper`, `sst_ours`, ... `overall_2023_paper`, ..."""
        line: dict[str, Any] = {"row": self.row.name, "label": self.row.label}
        for name, score in self.tasks.items():
            line |= {f"{name}_{column}": value for column, value in asdict(score).items()}
        for year in OVERALL:
            line[f"overall_{year}_paper"] = self.overall_paper[year]
            line[f"overall_{year}_ours"] = self.overall_ours[year]
        return line | {"unfinished": " ".join(self.unfinished)}


@dataclass(frozen=True)
class LadderStep:
    """
    The difference between a row and the row that it builds on, for one task. The columns of `table1-steps.csv`.

    Args:
        row, against (`str`):
            Names of the two rows.
        task (`str`):
            Name of the task.
        paper (`float`):
            Difference of the paper's scores.
        ours (`float`, *optional*):
            Difference of our mean scores. This and the following numbers are `None` if a row has no finished run.
        low, high (`float`, *optional*):
            95 % interval of `ours`, from a paired bootstrap over the dev rows.
        runs, runs_against (`int`, *optional*):
            Number of runs of each row.
        bootstrap_p (`float`, *optional*):
            p-value of the paired bootstrap, 0 to 1.
        second_p (`float`, *optional*):
            p-value of [`second_p`]; also `None` for several runs.
        holm_p (`float`, *optional*):
            `bootstrap_p` with Holm's correction for all steps that were run.
        verdict (`str`):
            `"up"`, `"down"`, `"level"` or `"not run"`.
    """

    row: str
    against: str
    task: str
    paper: float
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int | None = None
    runs_against: int | None = None
    bootstrap_p: float | None = None
    second_p: float | None = None
    holm_p: float | None = None
    verdict: Verdict | Literal["not run"] = "not run"


def write_tables(root: str | Path, settings: str) -> str:
    """
    Writes `table1.md`, `table1.tex`, `table1.csv` and `table1-steps.csv` into `root`; returns the Markdown.

    Args:
        root (`str` or `Path`):
            Folder of all runs, see [`row_results`].
        settings (`str`):
            One line with the settings of the runs: model, steps, seeds, machine.
    """
    root = Path(root)
    scores, steps = table1(root), ladder(root)
    tables = (
        (score_cells(scores), SCORES_CAPTION, [settings, *score_notes(scores)]),
        (ladder_cells(steps), LADDER_CAPTION, ladder_notes(steps)),
    )
    markdown = "\n".join(["# Table 1 of ExTraBERT\n", *(to_markdown(*table) for table in tables)])
    latex = "\n".join(["% needs booktabs and graphicx", *(to_latex(*table) for table in tables)])
    columns = to_csv([row.columns() for row in scores]), to_csv([asdict(step) for step in steps])
    for name, text in zip(TABLES, (markdown, latex, *columns), strict=True):
        write_text(root / name, text)
    return markdown


def table1(root: str | Path) -> list[TableRow]:
    """Reads the scores of all rows, in the order of the paper; see [`row_results`] for `root`."""
    return [_table_row(row_results(root, row)) for row in TABLE1.values()]


def _table_row(results: RowResults) -> TableRow:
    paper = results.row.scores
    tasks = {name: TaskScore(paper[name]) for name in PAPER_TASKS}
    for name, found in results.tasks.items():
        measured = (found.mean, found.sd, *found.interval, len(found.runs), found.majority_baseline)
        tasks[name] = TaskScore(paper[name], *measured)
    ours = {name: found.mean for name, found in results.tasks.items()}
    return TableRow(results.row, tasks, _overall(paper), _overall(ours), results.unfinished)


def _overall(scores: dict[str, float]) -> dict[str, float | None]:
    if len(scores) < len(PAPER_TASKS):
        return dict.fromkeys(OVERALL)
    metrics = {name: {PAPER_TASKS[name].metric: score} for name, score in scores.items()}
    aggregates = aggregate_scores(PAPER_TASKS, metrics)
    return {year: aggregates[name] for year, name in OVERALL.items()}


def ladder(root: str | Path) -> list[LadderStep]:
    """Compares each row with the row that it builds on, task by task; see [`row_results`] for `root`."""
    results = {name: row_results(root, row) for name, row in TABLE1.items()}
    steps = [
        _step(results[row.against], results[name], task)
        for name, row in TABLE1.items()
        if row.against is not None
        for task in PAPER_TASKS
    ]
    corrected = iter(holm_adjusted([step.bootstrap_p for step in steps if step.bootstrap_p is not None]).tolist())
    return [step if step.bootstrap_p is None else _with_verdict(step, next(corrected)) for step in steps]


def _with_verdict(step: LadderStep, holm_p: float) -> LadderStep:
    return replace(step, holm_p=holm_p, verdict=verdict(step.ours, holm_p))


def _step(before: RowResults, after: RowResults, task: str) -> LadderStep:
    paper = round(after.row.scores[task] - before.row.scores[task], 3)
    step = LadderStep(after.row.name, before.row.name, task, paper)
    if task not in before.tasks or task not in after.tasks:
        return step
    a, b = before.tasks[task], after.tasks[task]
    found = compare(a, b)
    return replace(
        step,
        ours=found.difference,
        low=found.low,
        high=found.high,
        runs=found.runs_b,
        runs_against=found.runs_a,
        bootstrap_p=found.p_value,
        second_p=second_p(a, b),
    )


def score_cells(rows: Sequence[TableRow]) -> list[dict[str, str]]:
    """Formats each row of the table as a dictionary from column heading to text."""
    table = []
    for row in rows:
        cells = {"row": row.row.label}
        for name, label in TASK_LABELS.items():
            score = row.tasks[name]
            cells[f"{label} paper"] = number_cell(score.paper)
            cells[f"{label} ours"] = score_cell(score.ours, score.sd, score.low, score.high)
        for year in OVERALL:
            cells[f"CS224N {year} paper"] = number_cell(row.overall_paper[year])
            cells[f"CS224N {year} ours"] = number_cell(row.overall_ours[year])
        seeds = [str(row.tasks[name].seeds or 0) for name in PAPER_TASKS]
        table.append(cells | {"seeds": seeds[0] if len(set(seeds)) == 1 else "/".join(seeds)})
    return table


def score_notes(rows: Sequence[TableRow]) -> list[str]:
    """Returns the notes below the table of scores."""
    majority = []
    for name, label in TASK_LABELS.items():
        known = dict.fromkeys(number_cell(row.tasks[name].majority) for row in rows if row.tasks[name].seeds)
        majority.append(f"{label} {' or '.join(known) or '-'}")
    notes = [
        f"Majority baseline, the most frequent training class: {', '.join(majority)}.",
        "CS224N 2023 is the mean of the three scores; CS224N 2024 uses (r + 1) / 2 for STS.",
    ]
    unfinished = [folder for row in rows for folder in row.unfinished]
    return [*notes, f"Not finished and left out: {', '.join(unfinished)}."] if unfinished else notes


def ladder_cells(steps: Sequence[LadderStep]) -> list[dict[str, str]]:
    """Formats each step of the table as a dictionary from column heading to text."""
    return [
        {
            "step": f"{TABLE1[step.row].label} against {TABLE1[step.against].label}",
            "task": TASK_LABELS[step.task],
            "paper": number_cell(step.paper, sign="+"),
            "ours": score_cell(step.ours, None, step.low, step.high, sign="+"),
            "p": p_cell(step.bootstrap_p),
            "McNemar, Williams p": p_cell(step.second_p),
            "Holm p": p_cell(step.holm_p),
            "verdict": step.verdict,
        }
        for step in steps
    ]


def ladder_notes(steps: Sequence[LadderStep]) -> list[str]:
    """Returns the notes below the table of steps."""
    tested = [step for step in steps if step.bootstrap_p is not None]
    notes = [f"Holm's correction is for the steps for which both rows were run: {len(tested)}."]
    if any(step.second_p is None for step in tested):
        notes.append("McNemar's test (SST, Para) and Williams' (STS) compare single runs only.")
    return notes
