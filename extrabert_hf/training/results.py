"""The end of a run: scores dev and test, and writes metrics, predictions and the report."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from extrabert_hf.data.auditing import own_train_labels
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.sources import SourceDescription, describe_source
from extrabert_hf.evaluation.metrics import aggregate_scores
from extrabert_hf.evaluation.scores import SplitScores
from extrabert_hf.inference.calibration import CalibrationReport
from extrabert_hf.inference.explanation import explain_worst_rows
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.machine import describe_machine
from extrabert_hf.pretrained.loading import TrainedModel, models_by_task
from extrabert_hf.pretrained.names import hub_model_name
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.gradient_conflicts import ConflictSummary, summarize_conflicts
from extrabert_hf.runs.records import BestScore, DataRecord, ModelRecord, TrainingRecord
from extrabert_hf.runs.report import report_run
from extrabert_hf.runs.run_metrics import RunMetrics, TaskMetrics
from extrabert_hf.runs.scored import write_scored, write_submission
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.run import Run, TaskRun
from extrabert_hf.training.run_output import log_conflicts, log_loss_weights, log_scores
from extrabert_hf.training.trainer import ExtraBertTrainer

logger = logging.getLogger(__name__)


def score_and_write(
    run: Run,
    trainer: ExtraBertTrainer,
    model: PreTrainedModel,
    loaded: dict[str, LoadedData],
    train_metrics: dict[str, float],
    calibrations: dict[str, CalibrationReport],
) -> RunMetrics:
    """
    Scores the dev and test splits in float32, as `extrabert evaluate` does, and writes all results of a run.

    Args:
        run ([`Run`]):
            The arguments of the run.
        trainer ([`ExtraBertTrainer`]):
            The trainer after training.
        model (`PreTrainedModel`):
            The trained model, adapters merged.
        loaded (`dict[str, LoadedData]`):
            The rows by task.
        train_metrics (`dict[str, float]`):
            The metrics of `trainer.train`.
        calibrations (`dict[str, CalibrationReport]`):
            The calibration of each calibrated task, by the task's name.

    Returns:
        [`RunMetrics`]: the metrics, which are also written to the run's folder.
    """
    folder = RunFolder(Path(run.training.output_dir))
    reported: dict[str, ReportedPredictions] = {}
    tasks = {}
    for name, trained in models_by_task(model, trainer.processing_class, run.specs).items():
        scores, reported[name] = _score_task(run, name, trained, loaded[name])
        tasks[name] = _task_metrics(run, name, trained.model, loaded[name], scores, calibrations.get(name))
    log_scores(tasks)
    metrics = RunMetrics(
        tasks=tasks,
        aggregate=None if run.multitask is None else _aggregate(run, tasks),
        multitask=None if run.multitask is None else asdict(run.multitask),
        best_per_task=None if run.multitask is None else _best_per_task(folder, tasks),
        gradient_conflicts=_conflicts(trainer) if isinstance(trainer, MultiTaskTrainer) else None,
        loss_weights=_loss_weights(trainer) if isinstance(trainer, MultiTaskTrainer) else None,
        training=TrainingRecord(
            steps=trainer.state.global_step,
            global_batch_size=trainer.global_batch_size,
            best_step=trainer.state.best_global_step,
            processes=run.training.world_size,
            precision=run.training.mixed_precision,
            measures=train_metrics,
        ),
        lora=asdict(run.lora),
        arguments=json.loads(json.dumps(run.training.to_dict())),  # converts tuples and enums to JSON values
        machine=describe_machine(),
        versions={"torch": torch.__version__, "transformers": transformers.__version__},
        finished=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
    folder.write_metrics(metrics)
    report_run(folder, reported, metrics)
    return metrics


def _task_metrics(
    run: Run,
    name: str,
    model: PreTrainedModel,
    loaded: LoadedData,
    scores: dict[str, SplitScores],
    calibration: CalibrationReport | None,
) -> TaskMetrics:
    task_run, path = run.tasks[name], run.encoder.model_name_or_path
    hub_name = hub_model_name(path)
    return TaskMetrics(
        task=task_run.task,
        scores=scores,
        rows={split: len(rows) for split, rows in loaded.splits.items()},
        rejected_rows=len(loaded.rejected),
        model=ModelRecord(
            encoder=hub_name or Path(path).name,
            encoder_is_on_hub=hub_name is not None,
            config_fields={field: getattr(model.config, field) for field in task_run.model.config_fields()},
            model_name_or_path=path,
        ),
        dataset=_describe_data(task_run),
        calibration=calibration,
        data=DataRecord.from_dict(asdict(task_run.data)),
    )


def _describe_data(task_run: TaskRun) -> SourceDescription:
    """Describes the rows of a task, with the names of the files of further train rows."""
    data = task_run.data
    source = describe_source(task_run.task, data.data, data.dataset_config)
    extra = [f"train rows of {Path(file).name}" for file in data.extra_train or ()]
    extra += [] if data.phrases is None else [f"phrases of trees ({data.phrases} words or more)"]
    return replace(source, name=" + ".join([source.name, *extra]))


def _aggregate(run: Run, tasks: dict[str, TaskMetrics]) -> dict[str, float]:
    aggregate = aggregate_scores(run.specs, {name: entry.scores["dev"].metrics for name, entry in tasks.items()})
    logger.info("all tasks: %s", ", ".join(f"{name} {value:.3f}" for name, value in aggregate.items()))
    return aggregate


def _best_per_task(folder: RunFolder, tasks: Iterable[str]) -> dict[str, BestScore]:
    return {name: best for name in tasks if (best := folder.read_best_score(name)) is not None}


def _conflicts(trainer: MultiTaskTrainer) -> ConflictSummary:
    summary = summarize_conflicts(trainer.conflicts.rows)
    log_conflicts(summary)
    return summary


def _loss_weights(trainer: MultiTaskTrainer) -> dict[str, float] | None:
    if trainer.weighting is None:
        return None
    log_loss_weights(trainer.weighting.last_weights)
    return trainer.weighting.last_weights


def _score_task(
    run: Run, name: str, trained: TrainedModel, loaded: LoadedData
) -> tuple[dict[str, SplitScores], ReportedPredictions]:
    """Predicts dev and test of a task and writes the predictions; returns the scores by split, and those of dev."""
    folder, task = RunFolder(Path(run.training.output_dir)), run.specs[name]
    train_labels = own_train_labels(loaded)
    predictor = Predictor((trained,), batch_size=run.training.eval_batch_size, progress=not run.training.disable_tqdm)
    scores, predicted = {}, {}
    for split in ["dev", "test"] if run.tasks[name].data.predict_test and "test" in loaded.splits else ["dev"]:
        predictions = predicted[split] = predictor.predict(loaded.splits[split])
        write_submission(folder.predictions_file(name, split), task, predictions.ids, predictions.values)
        if predictions.labels is not None:
            scores[split] = predictions.score(train_labels)
            write_scored(folder.scored_file(name, split), predictions)
    return scores, ReportedPredictions(predicted["dev"], explain_worst_rows(trained, predicted["dev"]))
