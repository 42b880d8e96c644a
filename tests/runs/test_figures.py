import numpy as np
import pytest

from extrabert_hf.runs.class_figures import plot_label_counts
from extrabert_hf.runs.figures import plot_by_label, plot_by_length, plot_reliability


def heights(figure):
    return [bar.get_height() for bar in figure.axes[0].patches]


def test_bars_by_label_are_the_accuracy(predictions_of):
    predictions = predictions_of("para")
    right = predictions.values == predictions.labels
    assert heights(plot_by_label(predictions)) == pytest.approx(
        [right[predictions.labels == label].mean() for label in (0, 1)]
    )


def test_bars_by_length_hold_every_row(predictions_of):
    for task in ("sst", "sts"):
        predictions = predictions_of(task, rows=23)
        ticks = [label.get_text() for label in plot_by_length(predictions).axes[0].get_xticklabels()]
        assert sum(int(tick.split("\n")[1].split()[0]) for tick in ticks) == 23
        expected = predictions.errors.mean() if task == "sts" else (predictions.values == predictions.labels).mean()
        assert np.average(heights(plot_by_length(predictions)), weights=[5, 5, 5, 4, 4]) == pytest.approx(expected)


def test_scores_by_label_are_in_fifths_of_the_range(predictions_of):
    ticks = [label.get_text() for label in plot_by_label(predictions_of("sts")).axes[0].get_xticklabels()]
    assert [tick.split("\n")[0] for tick in ticks] == ["0 to 1", "1 to 2", "2 to 3", "3 to 4", "4 to 5"]


def test_the_reliability_says_its_error(predictions_of):
    assert plot_reliability(predictions_of("sst")).axes[0].get_title().startswith("Expected calibration error 0.")


def test_labels_and_predictions_are_counted_by_class(predictions_of):
    predictions = predictions_of("sst", rows=23)
    labels, values = predictions.labels.tolist(), predictions.values.tolist()
    counts = [ids.count(class_id) for ids in (labels, values) for class_id in range(5)]
    assert heights(plot_label_counts(predictions)) == counts and labels != values
