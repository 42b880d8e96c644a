"""The report of a run: written at the end of the run, or later from the folders of finished runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from datasets import Dataset

from extrabert_hf.data.loading import load_task_data
from extrabert_hf.errors import InputError, need_place_for_file, printable
from extrabert_hf.evaluation.scores import baseline_warning
from extrabert_hf.inference.explanation import explain_worst_rows
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.manifest import check_own
from extrabert_hf.pretrained.loading import load_whole_model, models_by_task
from extrabert_hf.runs.comparison import compare_all
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.runs.page import ReportedRun, TaskData, write_report
from extrabert_hf.runs.records import DataRecord
from extrabert_hf.runs.run_metrics import RunMetrics, TaskMetrics
from extrabert_hf.runs.scored import ScoredRun, check_same_rows
from extrabert_hf.runs.sides import read_sides, split_sides
from extrabert_hf.tasks import TaskSpec

MAX_NAME = 60
"""Maximum number of characters of the name of a run on a page of several runs: file names have at most 255 bytes."""
MOST_RUNS = 20
"""Maximum number of runs of a page: each run has a column in the table of errors, and figures."""
REASONS = 10
"""Number of reasons for rejected rows that a report lists."""


def report_run(folder: RunFolder, tasks: Mapping[str, ReportedPredictions], metrics: RunMetrics) -> None:
    """
    Writes the report of a run into the run's folder.

    Args:
        folder ([`RunFolder`]):
            The folder, with the state of the `Trainer`.
        tasks (`Mapping[str, ReportedPredictions]`):
            Predictions for the dev rows by task.
        metrics ([`RunMetrics`]):
            The metrics of the run.
    """
    run = _reported(folder, folder.path.resolve().name, tasks, metrics)
    write_report(folder.report_file, [run], title=_title([run]))


def report_finished(words: Sequence[str], output: str | Path | None = None) -> Path:
    """
    Loads the models of finished runs and their dev rows, and writes a report. Paired tests compare several runs.

    Args:
        words (`Sequence[str]`):
            Folders of the runs, one or more, each as `FOLDER` or `NAME=FOLDER`. Runs with the same task must have the
            same dev rows.
        output (`str` or `Path`, *optional*):
            The page to write; by default the report file in the folder of a single run.

    Returns:
        `Path`: the page.

    Raises:
        [`InputError`]: if a run is not finished, its dev rows have changed, or the runs cannot be compared.
    """
    if len(words) > 1 and output is None:
        raise InputError("`output` must name the page of several runs, got none.")
    if len(words) > MOST_RUNS:
        raise InputError(f"`runs` must be at most {MOST_RUNS} for a page, got {len(words)}: use `extrabert compare`.")
    folders = {name: _one_folder(name, paths) for name, paths in split_sides(words).items()}
    path = next(iter(folders.values())).report_file if output is None else Path(output)
    if output is not None:
        need_place_for_file("output", path)
        check_own("output", path)
    sides = read_sides(words)
    scored = {name: {task: results.runs[0] for task, results in side.items()} for name, side in sides.items()}
    _check_same_rows_of_tasks(scored)
    comparison = compare_all(sides) if len(words) > 1 else []
    runs = [_finished(name, folder, scored[name]) for name, folder in folders.items()]
    with nullcontext() if output is not None else hold_run("runs", path.parent):
        write_report(path, runs, comparison, title=_title(runs))
    return path


def _one_folder(name: str, paths: Sequence[Path]) -> RunFolder:
    if len(paths) > 1:
        found = ", ".join(map(str, paths))
        raise InputError(
            f"`runs` must be one folder each, got {found}: use `extrabert compare` for several seeds of a setting."
        )
    if Path(name).name != name or not name.isprintable() or len(name) > MAX_NAME:
        raise InputError(
            f"`runs` must have names that can be part of a file name, got {printable(name, 80)!r}: type NAME=FOLDER "
            f"with a name of at most {MAX_NAME} characters."
        )
    return RunFolder(paths[0])


def _check_same_rows_of_tasks(scored: Mapping[str, Mapping[str, ScoredRun]]) -> None:
    first: dict[str, ScoredRun] = {}
    for by_task in scored.values():
        for task, run in by_task.items():
            check_same_rows(first.setdefault(task, run), run)


def _finished(name: str, folder: RunFolder, scored: Mapping[str, ScoredRun]) -> ReportedRun:
    metrics = folder.read_metrics()
    specs = {task_name: entry.task for task_name, entry in metrics.tasks.items()}
    models = models_by_task(*load_whole_model(str(folder.path)), specs)
    tasks = {}
    for task_name, entry in metrics.tasks.items():
        if entry.data is None or metrics.seed is None:
            missing = "data" if entry.data is None else "seed"
            raise InputError(
                f"`runs` must be folders of training runs, but {folder.path} has no record of its {missing}."
            )
        rows = _dev_rows(entry.task, entry.data, metrics.seed)
        run = scored[task_name]
        if not run.has_rows(rows["id"][:], np.asarray(rows["label"][:])):
            data = entry.data.data or entry.dataset.name
            raise InputError(f"`runs` must have unchanged dev rows, but {data} now has other rows than {run.file}.")
        predictions = Predictor((models[task_name],), progress=True).predict(rows)
        tasks[task_name] = ReportedPredictions(predictions, explain_worst_rows(models[task_name], predictions))
    return _reported(folder, name, tasks, metrics)


def _dev_rows(task: TaskSpec, record: DataRecord, seed: int) -> Dataset:
    """Loads the dev rows again. `drop_leaked` and `drop_duplicates` do not matter: they change the train rows only."""
    loaded = load_task_data(
        task,
        record.data,
        dev_data=record.dev_data,
        test_data=record.test_data,
        dev_fraction=record.dev_fraction,
        dataset_config=record.dataset_config,
        seed=seed if record.dev_seed is None else record.dev_seed,
        strict=record.strict_data,
        max_rejected_share=record.others.get("max_rejected_share"),
    )
    return loaded.splits["dev"]


def _reported(
    folder: RunFolder, name: str, tasks: Mapping[str, ReportedPredictions], metrics: RunMetrics
) -> ReportedRun:
    scores = {task: entry.scores["dev"] for task, entry in metrics.tasks.items()}
    warnings = (baseline_warning(f"{task} dev", metrics.tasks[task].task, found) for task, found in scores.items())
    return ReportedRun(
        name=name,
        subtitle=_subtitle(metrics),
        tasks=tasks,
        scores=scores,
        data=[TaskData(task, _names(entry), entry.rows, entry.rejected_rows) for task, entry in metrics.tasks.items()],
        rejected=_rejected(folder),
        warnings=[warning for warning in warnings if warning is not None],
        history=folder.read_history(),
        conflicts=folder.read_conflicts(),
    )


def _names(entry: TaskMetrics) -> str:
    """Returns the names of a task's files without folders."""
    others = {} if entry.data is None else {"dev": entry.data.dev_data, "test": entry.data.test_data}
    named = [f"{split} rows of {Path(path).name}" for split, path in others.items() if path is not None]
    return ", ".join([entry.dataset.name, *named])


def _rejected(folder: RunFolder) -> list[tuple[str, str, int]]:
    """Counts the rejected rows by file and reason; [`REASONS`] at most, and the sum of the others."""
    counts = Counter((row.file, row.reason) for row in folder.read_rejected_rows()).most_common()
    others = [("", f"{len(counts) - REASONS:,} other reasons", sum(rows for _, rows in counts[REASONS:]))]
    shown = [(file, reason, rows) for (file, reason), rows in counts[:REASONS]]
    return shown + (others if len(counts) > REASONS else [])


def _title(runs: Sequence[ReportedRun]) -> str:
    tasks = [task for run in runs for task in run.tasks]
    return ", ".join(dict.fromkeys([" and ".join(run.name for run in runs), *tasks]))


def _subtitle(metrics: RunMetrics) -> str:
    encoders = {entry.model.encoder for entry in metrics.tasks.values()}
    parts = [] if metrics.finished is None else [metrics.finished.replace("T", " ")[:16]]
    parts.append(f"encoder {', '.join(sorted(encoders))}")
    if metrics.training is not None:
        training, tokens = metrics.training, metrics.max_tokens_per_batch
        size = f"at most {tokens:,} tokens per device" if tokens else f"{training.global_batch_size} rows"
        parts.append(f"{training.steps:,} steps of {size}")
        rate = "not on record" if metrics.learning_rate is None else f"{metrics.learning_rate:g}"
        parts.append(f"learning rate {rate}, seed {metrics.seed}")
    return "; ".join(parts)
