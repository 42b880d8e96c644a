"""What a finished run writes: predictions, scores, figures."""

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.sources import describe_source
from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.evaluation.scores import summarize
from extrabert_hf.inference.calibration import CalibrationReport
from extrabert_hf.inference.explanation import explain_worst_rows
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.machine import describe_machine
from extrabert_hf.pretrained.loading import TrainedModel, models_by_task
from extrabert_hf.pretrained.names import hub_model_name
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.runs.folder import write_submission
from extrabert_hf.runs.gradient_conflicts import summarize_conflicts
from extrabert_hf.training.command_line import Run
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.reporting import report_run
from extrabert_hf.training.trainer import ExtraBertTrainer

logger = logging.getLogger(__name__)


def score_and_write(
    run: Run,
    trainer: ExtraBertTrainer,
    model: PreTrainedModel,
    loaded: dict[str, LoadedData],
    train_metrics: dict[str, float],
    calibrations: dict[str, CalibrationReport],
) -> dict[str, Any]:
    """
    Scores dev and test in float32, as `recipes/evaluate_model.py` would, and writes all that a run leaves.

    Args:
        run ([`Run`]):
            What the run was told.
        trainer ([`ExtraBertTrainer`]):
            After training.
        model (`PreTrainedModel`):
            The trained model, without adapters.
        loaded (`dict[str, LoadedData]`):
            Each task's rows.
        train_metrics (`dict[str, float]`):
            What `trainer.train` has measured.
        calibrations (`dict[str, CalibrationReport]`):
            The calibration of each calibrated task, by the task's name.

    Returns:
        `dict`: what is written to `metrics.json`.
    """
    output_dir = Path(run.training.output_dir)
    tasks = {}
    reported: dict[str, ReportedPredictions] = {}
    for name, trained in models_by_task(model, trainer.processing_class, run.specs).items():
        tasks[name] = {
            "task": asdict(run.specs[name]),
            "scores": _score_task(run, name, trained, loaded[name], reported),
            "calibration": asdict(calibrations[name]) if name in calibrations else None,
            "rows": {split: len(rows) for split, rows in loaded[name].splits.items()},
            "rejected_rows": len(loaded[name].rejected),
            "model": _encoder_names(run.encoder.model_name_or_path)
            | {field: getattr(trained.model.config, field) for field in run.tasks[name].model.config_fields()},
            "data": asdict(data := run.tasks[name].data),
            "dataset": describe_source(run.specs[name], data.data, data.dataset_config),
        }
    metrics: dict[str, Any] = {"tasks": tasks}
    if run.multitask is not None:
        metrics["aggregate"] = _aggregate(run, tasks)
        logger.info(
            "\nall tasks: %s", ", ".join(f"{name} {value:.3f}" for name, value in metrics["aggregate"].items())
        )
        metrics["multitask"] = asdict(run.multitask)
        metrics["best_per_task"] = _best_per_task(run, output_dir)
    if isinstance(trainer, MultiTaskTrainer):
        metrics["gradient_conflicts"] = conflicts = summarize_conflicts(trainer.conflicts.rows)
        for pair, entry in conflicts["pairs"].items():
            share = 100 * entry["conflicting_steps"]
            logger.info("gradients %s: mean cosine %.2f, below 0 at %.0f %%", pair, entry["mean_cosine"], share)
    metrics |= {
        "training": {
            "steps": trainer.state.global_step,
            "global_batch_size": trainer.global_batch_size,
            "best_step": trainer.state.best_global_step,
            "processes": run.training.world_size,
            "precision": run.training.mixed_precision,
            **train_metrics,
        },
        "lora": asdict(run.lora),
        "arguments": run.training.to_dict(),
        "machine": describe_machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    unfinished = output_dir / "metrics.json.part"  # a run is finished once its `metrics.json` is there, whole
    unfinished.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(output_dir / "metrics.json")
    report_run(output_dir, reported, metrics)
    logger.info("\nmodel, metrics.json, predictions and report.html are in %s", output_dir)
    return metrics


def _score_task(
    run: Run, name: str, trained: TrainedModel, loaded: LoadedData, reported: dict[str, ReportedPredictions]
) -> dict[str, Any]:
    output_dir, task = Path(run.training.output_dir), run.specs[name]
    train_labels = np.asarray(loaded.splits["train"]["label"][:])
    predictor = Predictor((trained,), batch_size=run.training.eval_batch_size, progress=not run.training.disable_tqdm)
    scores = {}
    for split in ["dev", "test"] if run.tasks[name].data.predict_test and "test" in loaded.splits else ["dev"]:
        predictions = predictor.predict(loaded.splits[split])
        if split == "dev":
            reported[name] = ReportedPredictions(predictions, explain_worst_rows(trained, predictions))
        path = output_dir / "predictions" / f"{name}-{split}.csv"
        write_submission(path, task, predictions.ids, predictions.values)
        if predictions.labels is not None:
            report = predictions.score(train_labels)
            scores[split] = asdict(report)
            labels = predictions.labels.tolist()
            write_scored(output_dir / "scored" / f"{name}-{split}.csv", predictions.ids, labels, predictions.values)
            logger.info("\n%s", summarize(f"{name} {split}", report))
    return scores


def write_scored(path: Path, ids: Sequence[str], labels: Sequence[float], predictions: np.ndarray) -> None:
    """Writes `id,label,prediction` of each labelled row: what a paired comparison of two runs reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "prediction"])
        writer.writerows(zip(ids, labels, predictions.tolist(), strict=True))


def _encoder_names(name: str) -> dict[str, Any]:
    hub_name = hub_model_name(name)
    told = {"encoder": hub_name or Path(name).name, "encoder_is_on_hub": hub_name is not None}
    return {"model_name_or_path": name, **told}


def _aggregate(run: Run, tasks: dict[str, Any]) -> dict[str, float]:
    return aggregate_scores(run.specs, {name: entry["scores"]["dev"]["metrics"] for name, entry in tasks.items()})


def _best_per_task(run: Run, output_dir: Path) -> dict[str, Any]:
    best = {name: output_dir / "best" / name / "best.json" for name in run.tasks}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in best.items() if path.is_file()}
