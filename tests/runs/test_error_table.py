import dataclasses

import numpy as np
import pytest

from extrabert_hf.inference.explanation import EXPLAINED
from extrabert_hf.runs.error_table import error_table


def test_rows_of_one_run_are_its_errors_the_largest_first(reported):
    run = reported("sst")
    predictions = run.predictions
    table = error_table({"run": run}, names_runs=False)
    assert table.wrong == len(predictions.worst) == len(table.rows)
    assert table.headings == ["prediction"] and table.size == "confidence"
    for cells, row in zip(table.rows, predictions.worst, strict=True):
        names = predictions.task.class_names
        expected = names[predictions.labels[row]], [names[predictions.values[row]]]
        assert (cells.label, cells.predictions) == expected
        assert (cells.id, cells.line) == (predictions.ids[row], predictions.lines[row])
        assert cells.size == f"{predictions.errors[row]:.3f}"
        assert [token for token, *_ in cells.tokens[0]] == run.explanations[row].tokens[0]
        assert cells.texts == predictions.sentences[row] and cells.tokens_of is None


def test_rows_of_two_runs_are_those_that_either_got_wrong(reported):
    run = reported("sts")
    first = run.predictions
    right = dataclasses.replace(first, logits=first.labels[:, np.newaxis])
    half = np.where(np.arange(24) < 12, first.labels, first.values)
    second = dataclasses.replace(first, logits=half[:, np.newaxis])
    runs = {
        "right": dataclasses.replace(run, predictions=right, explanations={}),
        "half": dataclasses.replace(run, predictions=second),
    }
    table = error_table(runs, names_runs=True)
    assert table.wrong == 12 and table.headings == ["prediction of right", "prediction of half"]
    worst = second.worst[0]
    cells = table.rows[0]
    assert cells.predictions == [f"{first.labels[worst]:.2f}", f"{first.values[worst]:.2f}"]
    assert {bool(row.tokens): row.tokens_of for row in table.rows}[True] == "half"


def test_the_largest_errors_are_explained(reported):
    run = reported("para", rows=2 * EXPLAINED + 40)
    predictions = run.predictions
    assert list(run.explanations) == predictions.worst[:EXPLAINED]
    row = predictions.worst[0]
    name, probability = run.explanations[row].prediction.rsplit(", ", 1)
    assert name == predictions.task.class_names[predictions.values[row]]
    assert float(probability.rstrip(" %")) == pytest.approx(100 * predictions.confidences[row], abs=0.06)


def test_errors_of_classes_are_the_confidences_of_wrong_predictions(predictions_of):
    predictions = predictions_of("sst")
    wrong = predictions.values != predictions.labels
    assert 0 < wrong.sum() < len(wrong) and set(predictions.worst) == set(np.flatnonzero(wrong))
    confidences = predictions.confidences[predictions.worst]
    assert (np.diff(confidences) <= 0).all() and (predictions.errors[~wrong] == 0).all()
    assert ((predictions.confidences >= 1 / 5) & (predictions.confidences <= 1)).all()


def test_errors_of_scores_are_absolute_differences(predictions_of):
    predictions = predictions_of("sts")
    assert predictions.confidences is None
    np.testing.assert_allclose(predictions.errors, np.abs(predictions.values - predictions.labels))
    assert predictions.errors[predictions.worst[0]] == predictions.errors.max()


def test_the_words_are_those_of_the_longer_sentence(predictions_of):
    predictions = predictions_of("para")
    expected = [max(len(a.split()), len(b.split())) for a, b in predictions.sentences]
    assert predictions.words.tolist() == expected
