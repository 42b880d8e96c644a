"""The files of finished runs, written without training."""

from dataclasses import replace

import numpy as np

from extrabert_hf.data.sources import SourceDescription
from extrabert_hf.evaluation.scores import SplitScores
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.records import DataRecord, ModelRecord
from extrabert_hf.runs.run_metrics import RunMetrics, TaskMetrics
from extrabert_hf.runs.scored import write_scored
from extrabert_hf.tasks import PAPER_TASKS


def task_metrics(task, rows=6, majority=None):
    """Metrics of a run on one of the paper's tasks; `majority` holds the baselines by metric."""
    spec = replace(PAPER_TASKS[task])
    return TaskMetrics(
        task=spec,
        scores={"dev": SplitScores(rows, {spec.metric: 0.5}, {spec.metric: (0.25, 0.75)}, majority)},
        rows={"train": 10, "dev": rows},
        rejected_rows=0,
        model=ModelRecord("encoder", False, {"pooling": "mean", "pair_encoding": "bi_encoder"}, "models/encoder"),
        dataset=SourceDescription("rows (local files)"),
        data=DataRecord(data="rows.csv"),
    )


def predictions_of_values(task, ids, labels, values):
    """Predictions with the given class ids or scores."""
    values = np.asarray(values)
    logits = values[:, np.newaxis] if task.is_regression else 9.0 * np.eye(len(task.class_names))[values]
    return Predictions(task, ids, [("text",)] * len(ids), logits, np.asarray(labels))


def write_finished_run(folder, task, ids, labels, predictions, *, tasks=None, majority=None, seed=42):
    """Writes the scored dev rows of `task`, and the metrics of a run on `tasks` (by default `task` alone)."""
    run = RunFolder(folder)
    entries = {name: task_metrics(name, len(ids), (majority or {}).get(name)) for name in tasks or [task]}
    run.write_metrics(RunMetrics(entries, arguments={"seed": seed}))
    write_scored(run.scored_file(task, "dev"), predictions_of_values(PAPER_TASKS[task], ids, labels, predictions))
    return run
