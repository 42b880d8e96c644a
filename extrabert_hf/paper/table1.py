"""Table 1 of the paper beside finished runs, and each of its steps tested: as Markdown, csv and LaTeX."""

from itertools import zip_longest
from pathlib import Path
from typing import Any

from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.evaluation.significance import holm_adjusted
from extrabert_hf.paper.results import RowResults, row_results
from extrabert_hf.paper.rows import TABLE1
from extrabert_hf.runs.comparison import compare, second_p, verdict
from extrabert_hf.runs.tables import number_cell, p_cell, score_cell, to_csv, to_latex, to_markdown
from extrabert_hf.tasks import PAPER_TASKS

TASK_LABELS = {"sst": "SST", "para": "Para", "sts": "STS"}
OVERALL = {"2023": "mean", "2024": "cs224n_2024"}  # year of the course: its key in `aggregate_scores`
MEASURED = ("ours", "sd", "low", "high", "seeds", "majority")

SCORES_CAPTION = (
    "Dev scores: SST and Para accuracy, STS Pearson r. Ours is the mean over the seeds, ± their standard deviation "
    "where there are several, and its 95 % bootstrap interval over the dev rows. RR: round robin over the tasks; CS: "
    "cosine similarity; GS: gradient surgery; SFT: a model per task; DPA, MA: dot-product, multiplicative attention."
)
LADDER_CAPTION = (
    "The steps of the table: the score of a row minus that of the row it builds on, over the same dev rows, with the "
    "95 % interval and p of a paired bootstrap over these rows, to which the spread of seeds adds nothing. Up, down "
    "are steps whose Holm-corrected p is below .05."
)


def write_tables(root: str | Path, settings: str) -> str:
    """
    Writes `table1.md`, `table1.tex`, `table1.csv` and `table1-steps.csv` into `root`, and gives the Markdown.

    Args:
        root (`str` or `Path`):
            Folder of all runs, see [`row_results`].
        settings (`str`):
            One line that says how the runs were made: model, steps, seeds, machine.
    """
    root = Path(root)
    scores, steps = table1(root), ladder(root)
    tables = (
        (score_cells(scores), SCORES_CAPTION, [settings, *score_notes(scores)]),
        (ladder_cells(steps), LADDER_CAPTION, ladder_notes(steps)),
    )
    markdown = "\n".join(["# Table 1 of ExTraBERT\n", *(to_markdown(*table) for table in tables)])
    latex = "\n".join(["% needs booktabs and graphicx", *(to_latex(*table) for table in tables)])
    files = {
        "table1.md": markdown,
        "table1.tex": latex,
        "table1.csv": to_csv(scores),
        "table1-steps.csv": to_csv(steps),
    }
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    return markdown


def table1(root: str | Path) -> list[dict[str, Any]]:
    """
    Scores of all rows in the paper's order, one dictionary a row, `None` where nothing has been run.

    Its keys are `row`, `label`, `unfinished` (folders), `overall_2023_paper`, `overall_2023_ours`, the same of 2024,
    and for each task `<task>_paper`, `_ours` (mean), `_sd`, `_low`, `_high`, `_seeds` (how many) and `_majority`.
    """
    return [_score_line(row_results(root, row)) for row in TABLE1.values()]


def _score_line(results: RowResults) -> dict[str, Any]:
    row, line = results.row, {"row": results.row.name, "label": results.row.label}
    for name in PAPER_TASKS:
        task, measured = results.tasks.get(name), ()
        if task is not None:
            measured = (task.mean, task.sd, *task.interval, len(task.runs), task.majority_baseline)
        line[f"{name}_paper"] = row.scores[name]
        line |= {f"{name}_{column}": value for column, value in zip_longest(MEASURED, measured)}
    ours = {name: task.mean for name, task in results.tasks.items()}
    for year in OVERALL:
        line[f"overall_{year}_paper"] = _overall(row.scores, year)
        line[f"overall_{year}_ours"] = _overall(ours, year) if len(ours) == len(PAPER_TASKS) else None
    return line | {"unfinished": " ".join(results.unfinished)}


def _overall(scores: dict[str, float], year: str) -> float:
    metrics = {name: {PAPER_TASKS[name].metric: score} for name, score in scores.items()}
    return aggregate_scores(PAPER_TASKS, metrics)[OVERALL[year]]


def ladder(root: str | Path) -> list[dict[str, Any]]:
    """
    Each row against the one it is compared with, one dictionary a step and task, `None` where a side has not been run.

    Its keys are `row`, `against`, `task`, `paper` and `ours` (differences), `low`, `high`, `runs`, `runs_against`,
    `bootstrap_p`, `second_p` (of two single runs: McNemar's for accuracies, Williams' for correlations), `holm_p` (of
    `bootstrap_p`, over all that were run) and `verdict`: `"up"`, `"down"`, `"level"` or `"not run"`.
    """
    results = {name: row_results(root, row) for name, row in TABLE1.items()}
    steps = [
        _step_line(results[row.against], results[name], task)
        for name, row in TABLE1.items()
        if row.against is not None
        for task in PAPER_TASKS
    ]
    tested = [step for step in steps if step["bootstrap_p"] is not None]
    for step, p_value in zip(tested, holm_adjusted([step["bootstrap_p"] for step in tested]).tolist(), strict=True):
        step |= {"holm_p": p_value, "verdict": verdict(step["ours"], p_value)}
    return steps


def _step_line(before: RowResults, after: RowResults, name: str) -> dict[str, Any]:
    line = {"row": after.row.name, "against": before.row.name, "task": name}
    line["paper"] = round(after.row.scores[name] - before.row.scores[name], 3)
    line |= dict.fromkeys(["ours", "low", "high", "runs", "runs_against", "bootstrap_p", "second_p", "holm_p"])
    line["verdict"] = "not run"
    if name in before.tasks and name in after.tasks:
        a, b = before.tasks[name], after.tasks[name]
        found = compare(a, b)
        line |= {"ours": found.difference, "low": found.low, "high": found.high, "bootstrap_p": found.p_value}
        line |= {"runs": found.runs_b, "runs_against": found.runs_a, "second_p": second_p(a, b)}
    return line


def score_cells(lines: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What [`table1`] gives, as the text of a table's cells by column heading."""
    table = []
    for line in lines:
        cells = {"row": line["label"]}
        for name, label in TASK_LABELS.items():
            cells[f"{label} paper"] = number_cell(line[f"{name}_paper"])
            cells[f"{label} ours"] = score_cell(*(line[f"{name}_{key}"] for key in ("ours", "sd", "low", "high")))
        for year in OVERALL:
            cells[f"CS224N {year} paper"] = number_cell(line[f"overall_{year}_paper"])
            cells[f"CS224N {year} ours"] = number_cell(line[f"overall_{year}_ours"])
        seeds = [str(line[f"{name}_seeds"] or 0) for name in PAPER_TASKS]
        table.append(cells | {"seeds": seeds[0] if len(set(seeds)) == 1 else "/".join(seeds)})
    return table


def score_notes(lines: list[dict[str, Any]]) -> list[str]:
    """What must be said below the table of scores."""
    majority = []
    for name, label in TASK_LABELS.items():
        known = dict.fromkeys(number_cell(line[f"{name}_majority"]) for line in lines if line[f"{name}_seeds"])
        majority.append(f"{label} {' or '.join(known) or '-'}")
    notes = [
        f"Majority baseline, the most frequent training class: {', '.join(majority)}.",
        "CS224N 2023 is the plain mean of the three, CS224N 2024 takes (r + 1) / 2 for STS.",
    ]
    unfinished = " ".join(line["unfinished"] for line in lines).split()
    return [*notes, f"Not finished, thus left out: {', '.join(unfinished)}."] if unfinished else notes


def ladder_cells(steps: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What [`ladder`] gives, as the text of a table's cells by column heading."""
    return [
        {
            "step": f"{TABLE1[step['row']].label} against {TABLE1[step['against']].label}",
            "task": TASK_LABELS[step["task"]],
            "paper": number_cell(step["paper"], sign="+"),
            "ours": score_cell(step["ours"], None, step["low"], step["high"], sign="+"),
            "p": p_cell(step["bootstrap_p"]),
            "McNemar, Williams p": p_cell(step["second_p"]),
            "Holm p": p_cell(step["holm_p"]),
            "verdict": step["verdict"],
        }
        for step in steps
    ]


def ladder_notes(steps: list[dict[str, Any]]) -> list[str]:
    """What must be said below the table of steps."""
    tested = [step for step in steps if step["bootstrap_p"] is not None]
    notes = [f"Holm's correction is over the {len(tested)} steps both of whose rows have been run."]
    if any(step["second_p"] is None for step in tested):
        notes.append(
            "McNemar's test (SST, Para) and Williams' (STS) compare single runs: none where there are several."
        )
    return notes
