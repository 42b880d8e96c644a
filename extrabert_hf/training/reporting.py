"""The report of a run: at its end, and of finished ones from their folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import SplitScores
from extrabert_hf.inference.explanation import explain_worst_rows
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.loading import load_whole_model, models_by_task
from extrabert_hf.runs.comparison import compare_all, read_sides, split_sides
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.runs.gradient_conflicts import CONFLICTS_FILE, read_conflicts
from extrabert_hf.runs.page import REPORT_FILE, ReportedRun, write_report
from extrabert_hf.runs.scored import ScoredRun, check_same_rows
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.arguments import DataArguments


def report_run(folder: Path, tasks: Mapping[str, ReportedPredictions], metrics: Mapping[str, Any]) -> None:
    """
    Writes `report.html` into a run's folder.

    Args:
        folder (`Path`):
            The run's, with its `trainer_state.json`.
        tasks (`Mapping[str, ReportedPredictions]`):
            Predictions for the dev rows by task.
        metrics (`Mapping[str, Any]`):
            What stands in `metrics.json`.
    """
    run = _reported(folder, folder.resolve().name, tasks, metrics)
    write_report(folder / REPORT_FILE, [run], title=_title([run]))


def report_finished(words: Sequence[str], output: str | Path | None = None) -> Path:
    """
    Loads finished runs' models and their dev rows again, and writes their report; of several, with paired tests.

    Args:
        words (`Sequence[str]`):
            The runs' folders, one or more, each as `FOLDER` or `NAME=FOLDER`. Of a task that several have, all must
            have answered the same rows.
        output (`str` or `Path`, *optional*):
            The page; by default `report.html` in the folder of a single run.

    Returns:
        `Path`: the page.

    Raises:
        [`InputError`]: if a run is not finished, its rows are not where they were, or runs can't be compared.
    """
    if len(words) > 1 and output is None:
        raise InputError("`output` must name the page of several runs, got none.")
    folders = {name: _one_folder(name, side) for name, side in split_sides(words).items()}
    sides = read_sides(words)
    scored = {name: {task: its.runs[0] for task, its in side.items()} for name, side in sides.items()}
    _check_same_rows_of_tasks(scored)
    comparison = compare_all(sides) if len(words) > 1 else []
    runs = [_finished(name, folder, scored[name]) for name, folder in folders.items()]
    path = next(iter(folders.values())) / REPORT_FILE if output is None else Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, runs, comparison, title=_title(runs))
    return path


def _one_folder(name: str, folders: Sequence[Path]) -> Path:
    if len(folders) > 1:
        told = ", ".join(map(str, folders))
        raise InputError(f"`runs` must be one folder each, got {told}: compare.py takes several seeds of a setting.")
    if Path(name).name != name:
        raise InputError(f"`runs` must have names that can be part of a file's, got {name!r}.")
    return folders[0]


def _check_same_rows_of_tasks(scored: Mapping[str, Mapping[str, ScoredRun]]) -> None:
    first: dict[str, ScoredRun] = {}
    for its in scored.values():
        for task, run in its.items():
            check_same_rows(first.setdefault(task, run), run)


def _finished(name: str, folder: Path, scored: Mapping[str, ScoredRun]) -> ReportedRun:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    specs = {task_name: TaskSpec.from_dict(entry["task"]) for task_name, entry in metrics["tasks"].items()}
    models = models_by_task(*load_whole_model(str(folder)), specs)
    tasks = {}
    for task_name, entry in metrics["tasks"].items():
        task = specs[task_name]
        rows = DataArguments(**entry["data"]).load(task, metrics["arguments"]["seed"]).splits["dev"]
        was = scored[task_name]
        if not was.has_rows(rows["id"][:], np.asarray(rows["label"][:])):
            data = entry["data"]["data"] or entry["dataset"]["name"]
            raise InputError(f"`runs` must find their dev rows as they were, {data} has others now than {was.file}.")
        predictions = Predictor((models[task_name],), progress=True).predict(rows)
        tasks[task_name] = ReportedPredictions(predictions, explain_worst_rows(models[task_name], predictions))
    return _reported(folder, name, tasks, metrics)


def _reported(
    folder: Path, name: str, tasks: Mapping[str, ReportedPredictions], metrics: Mapping[str, Any]
) -> ReportedRun:
    state = folder / "trainer_state.json"
    return ReportedRun(
        name=name,
        subtitle=_subtitle(metrics),
        tasks=tasks,
        scores={task: SplitScores.from_dict(entry["scores"]["dev"]) for task, entry in metrics["tasks"].items()},
        history=json.loads(state.read_text(encoding="utf-8"))["log_history"] if state.is_file() else [],
        conflicts=read_conflicts(folder / CONFLICTS_FILE),
    )


def _title(runs: Sequence[ReportedRun]) -> str:
    tasks = [task for run in runs for task in run.tasks]
    return ", ".join(dict.fromkeys([" and ".join(run.name for run in runs), *tasks]))


def _subtitle(metrics: Mapping[str, Any]) -> str:
    encoders = {entry["model"]["model_name_or_path"] for entry in metrics["tasks"].values()}
    training, arguments = metrics.get("training", {}), metrics.get("arguments", {})
    tokens = arguments.get("max_tokens_per_batch")
    size = f"at most {tokens:,} tokens a device" if tokens else f"{training.get('global_batch_size')} rows"
    parts = [
        f"encoder {', '.join(sorted(encoders))}",
        f"{training['steps']:,} steps of {size}" if training else "",
        f"learning rate {arguments['learning_rate']:g}, seed {arguments['seed']}" if training else "",
    ]
    return "; ".join(part for part in parts if part)
