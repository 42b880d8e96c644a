"""The report of a run: at its end, and of finished ones from their folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.comparison import compare_all
from extrabert_hf.evaluation.comparison_report import read_sides, split_side
from extrabert_hf.evaluation.figures import CONFLICTS_CAPTION
from extrabert_hf.pretrained import load_model
from extrabert_hf.report.answers import Answers, answer_rows
from extrabert_hf.report.page import REPORT_FILE, ReportedRun, write_report
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.data_arguments import DataArguments


def report_run(folder: Path, answers: Mapping[str, Answers], metrics: Mapping[str, Any]) -> None:
    """
    Writes `report.html` into a run's folder.

    Args:
        folder (`Path`):
            The run's, with its `trainer_state.json`.
        answers (`Mapping[str, Answers]`):
            By task, the answers to its dev rows.
        metrics (`Mapping[str, Any]`):
            What stands in `metrics.json`.
    """
    run = _reported(folder, folder.resolve().name, answers, metrics)
    write_report(folder / REPORT_FILE, [run], title=_title(run))


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
    folders = [_one_folder(word) for word in words]
    comparison = compare_all(read_sides(words)) if len(words) > 1 else []
    runs = [_finished(name, folder) for name, folder in folders]
    path = folders[0][1] / REPORT_FILE if output is None else Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, runs, comparison, title=" and ".join(map(_title, runs)))
    return path


def _one_folder(word: str) -> tuple[str, Path]:
    name, (folder, *others) = split_side(word)
    if others:
        raise InputError(f"`run` must be one folder, got {word!r}: compare.py takes several seeds of a setting.")
    return name, folder


def _finished(name: str, folder: Path) -> ReportedRun:
    path = folder / "metrics.json"
    if not path.is_file():
        raise InputError(f"`run` must be the folder of a finished run, {folder} has no metrics.json.")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    answers = {}
    several = metrics.get("multitask") is not None or len(metrics["tasks"]) > 1
    for task_name, entry in metrics["tasks"].items():
        task = TaskSpec.from_dict(entry["task"])
        data = DataArguments(**entry["data"])
        rows = data.load(task, metrics["arguments"]["seed"]).splits["dev"]
        model, tokenizer, _ = load_model(str(folder), task_name if several else None)
        answers[task_name] = answer_rows(model, tokenizer, task, rows)
    return _reported(folder, name, answers, metrics)


def _reported(folder: Path, name: str, answers: Mapping[str, Answers], metrics: Mapping[str, Any]) -> ReportedRun:
    state = folder / "trainer_state.json"
    return ReportedRun(
        name=name,
        subtitle=_subtitle(metrics),
        answers=answers,
        scores={task: entry["scores"]["dev"] for task, entry in metrics["tasks"].items()},
        history=json.loads(state.read_text(encoding="utf-8"))["log_history"] if state.is_file() else [],
        training_figures={folder / "figures" / "gradient_conflicts.png": CONFLICTS_CAPTION},
    )


def _title(run: ReportedRun) -> str:
    return ", ".join(dict.fromkeys([run.name, *run.answers]))


def _subtitle(metrics: Mapping[str, Any]) -> str:
    encoders = {entry["model"]["model_name_or_path"] for entry in metrics["tasks"].values()}
    training, arguments = metrics.get("training", {}), metrics.get("arguments", {})
    parts = [
        f"encoder {', '.join(sorted(encoders))}",
        f"{training['steps']:,} steps of {training['global_batch_size']} rows" if training else "",
        f"learning rate {arguments['learning_rate']:g}, seed {arguments['seed']}" if training else "",
    ]
    return "; ".join(part for part in parts if part)
