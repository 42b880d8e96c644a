import csv
from dataclasses import replace

import numpy as np
import pytest

from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.scored import read_run, write_scored, write_submission
from extrabert_hf.tasks import PAPER_TASKS

from .finished_runs import write_finished_run

STS = PAPER_TASKS["sts"]


def test_the_file_has_the_form_the_graders_read(tmp_path):
    path = tmp_path / "predictions" / "dev.csv"
    write_submission(path, PAPER_TASKS["sst"], ["a1", "b2"], np.array([3, 0]))
    assert path.read_text() == "id \t Predicted_Sentiment \na1 , 3 \nb2 , 0 \n"
    write_submission(path, PAPER_TASKS["sts"], ["a1"], np.array([2.5]))
    assert path.read_text() == "id \t Predicted_Similiary \na1 , 2.5 \n"


@pytest.mark.parametrize("row_id", ["a,b", 'say "x"', "two\nlines", "\r", " x ", "u\u2028v", "'", "row 7", "a , 3 "])
def test_every_id_is_read_back_from_a_submission(tmp_path, row_id):
    path = tmp_path / "dev.csv"
    write_submission(path, PAPER_TASKS["sst"], [row_id, "plain"], np.array([3, 0]))
    with path.open(encoding="utf-8", newline="") as file:
        next(file)
        rows = list(csv.reader(file))
    assert [(name.removesuffix(" "), float(value)) for name, value in rows] == [(row_id, 3), ("plain", 0)]


def random_predictions(task, ids, lines):
    generator = np.random.default_rng(0)
    classes = 1 if task.is_regression else len(task.class_names)
    labels = generator.uniform(*task.label_range, len(ids)) if task.is_regression else np.arange(len(ids)) % classes
    return Predictions(task, ids, [("text",)] * len(ids), generator.normal(size=(len(ids), classes)), labels, lines)


NAMES = [("a b", "a_b"), ("1", "2", "3"), ("=x", "p,q", 'say "yes"', "two\nlines"), ("label", "id", "line")]


@pytest.mark.parametrize("task", [*(replace(PAPER_TASKS["sst"], class_names=names) for names in NAMES), STS], ids=str)
def test_scored_rows_are_read_back_as_they_were(tmp_path, task):
    run = write_finished_run(tmp_path, task.name, ["x"], [1], [1])
    metrics = run.read_metrics()
    entry = replace(next(iter(metrics.tasks.values())), task=task)
    run.write_metrics(replace(metrics, tasks={task.name: entry}))
    predictions = random_predictions(task, ["a,b", "c\nd", '"', "4", "é" * 200_000], [2, 3, 5, 6, 9])
    write_scored(run.scored_file(task.name, "dev"), predictions)
    read = read_run(run, task, seed=42)
    assert read.has_rows(predictions.ids, predictions.labels)
    np.testing.assert_array_equal(read.predictions, predictions.values)
    with run.scored_file(task.name, "dev").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["line"]) for row in rows] == [2, 3, 5, 6, 9]
    if not task.is_regression:
        assert [row["predicted_class"] for row in rows] == predictions.names
        columns = [name for name in rows[0] if name.startswith("p_")]
        assert len(columns) == len(task.class_names)
        shown = np.array([[float(row[name]) for name in columns] for row in rows])
        np.testing.assert_allclose(shown, predictions.probabilities, atol=1e-4)
