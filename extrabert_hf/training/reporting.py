"""The report of a run: at its end, and of a finished one from its folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.figures import CONFLICTS_CAPTION
from extrabert_hf.pretrained import load_model
from extrabert_hf.report.answers import Answers, answer_rows
from extrabert_hf.report.page import REPORT_FILE, write_report
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.data_arguments import DataArguments


def report_run(
    folder: Path, answers: Mapping[str, Answers], metrics: Mapping[str, Any], output: Path | None = None
) -> Path:
    """
    Writes `report.html` for a run.

    Args:
        folder (`Path`):
            The run's, with its `trainer_state.json`.
        answers (`Mapping[str, Answers]`):
            By task, the answers to its dev rows.
        metrics (`Mapping[str, Any]`):
            What stands in `metrics.json`.
        output (`Path`, *optional*):
            The page; by default `report.html` in the folder.

    Returns:
        `Path`: the page.
    """
    output = output or folder / REPORT_FILE
    state = folder / "trainer_state.json"
    history = json.loads(state.read_text(encoding="utf-8"))["log_history"] if state.is_file() else []
    write_report(
        output,
        answers,
        {name: entry["scores"]["dev"] for name, entry in metrics["tasks"].items()},
        title=", ".join(dict.fromkeys([folder.resolve().name, *answers])),
        subtitle=_subtitle(metrics),
        history=history,
        run_figures={folder / "figures" / "gradient_conflicts.png": CONFLICTS_CAPTION},
    )
    return output


def report_finished(folder: str | Path, output: str | Path | None = None) -> Path:
    """
    Loads a finished run's model and its dev rows again, and writes its report.

    Args:
        folder (`str` or `Path`):
            The run's.
        output (`str` or `Path`, *optional*):
            The page; by default `report.html` in the folder.

    Returns:
        `Path`: the page.

    Raises:
        [`InputError`]: if the run is not finished, or its rows are not where they were.
    """
    folder = Path(folder)
    path = folder / "metrics.json"
    if not path.is_file():
        raise InputError(f"`run` must be the folder of a finished run, {folder} has no metrics.json.")
    metrics = json.loads(path.read_text(encoding="utf-8"))
    answers = {}
    for name, entry in metrics["tasks"].items():
        task = TaskSpec.from_dict(entry["task"])
        data = DataArguments(**entry["data"])
        rows = data.load(task, metrics["arguments"]["seed"]).splits["dev"]
        several = metrics.get("multitask") is not None or len(metrics["tasks"]) > 1
        model, tokenizer, _ = load_model(str(folder), name if several else None)
        answers[name] = answer_rows(model, tokenizer, task, rows)
    return report_run(folder, answers, metrics, None if output is None else Path(output))


def _subtitle(metrics: Mapping[str, Any]) -> str:
    encoders = {entry["model"]["model_name_or_path"] for entry in metrics["tasks"].values()}
    training, arguments = metrics.get("training", {}), metrics.get("arguments", {})
    parts = [
        f"encoder {', '.join(sorted(encoders))}",
        f"{training['steps']:,} steps of {training['global_batch_size']} rows" if training else "",
        f"learning rate {arguments['learning_rate']:g}, seed {arguments['seed']}" if training else "",
    ]
    return "; ".join(part for part in parts if part)
