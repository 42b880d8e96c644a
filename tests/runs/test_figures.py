import dataclasses

import numpy as np
import pytest

from extrabert_hf.evaluation.bootstrap import wilson_interval
from extrabert_hf.runs.class_figures import plot_label_counts
from extrabert_hf.runs.figures import (
    mean_error_interval,
    plot_by_label,
    plot_by_length,
    plot_reliability,
    plot_risk_coverage,
    risk_coverage_caption,
)


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


def test_the_risk_coverage_curve_ends_at_the_error_rate_of_all_rows(predictions_of):
    for rows in (1, 24, 90):
        predictions = predictions_of("para", rows=rows)
        axes = plot_risk_coverage(predictions).axes[0]
        every, best, curve = (line.get_xydata() for line in axes.lines)
        error_rate = (predictions.values != predictions.labels).mean()
        assert curve[-1] == pytest.approx([1, error_rate]) and best[-1] == pytest.approx([1, error_rate])
        assert every[0, 1] == pytest.approx(error_rate)
        assert curve[0, 0] >= min(30, rows) / rows
        assert axes.get_title().startswith("AURC 0.") or rows == 1


def test_the_caption_of_the_risk_coverage_curve_says_that_no_share_is_accurate_enough(predictions_of):
    caption = risk_coverage_caption(predictions_of("para", rows=40))
    assert caption.startswith("Risk-coverage curve: no share of 30 rows or more reaches an accuracy of 0.95; the best")


def test_labels_and_predictions_are_counted_by_class(predictions_of):
    predictions = predictions_of("sst", rows=23)
    labels, values = predictions.labels.tolist(), predictions.values.tolist()
    counts = [ids.count(class_id) for ids in (labels, values) for class_id in range(5)]
    assert heights(plot_label_counts(predictions)) == counts and labels != values


def error_bars(axes):
    """The lower and upper end of each error bar that is drawn."""
    segments = [segment for lines in axes.containers if hasattr(lines, "errorbar") for segment in lines_of(lines)]
    return [tuple(segment[:, 1]) for segment in segments if len(segment) and np.isfinite(segment).all()]


def lines_of(bars):
    return bars.errorbar.lines[2][0].get_segments()


def test_the_error_bar_of_a_class_that_is_always_right_or_has_one_row_has_a_length(predictions_of):
    predictions = predictions_of("para", rows=5)
    labels = np.array([0, 0, 0, 0, 1])
    always_right = dataclasses.replace(predictions, labels=labels, logits=9.0 * np.eye(2)[labels])
    bars = error_bars(plot_by_label(always_right).axes[0])
    assert bars == [pytest.approx(wilson_interval(4, 4)), pytest.approx(wilson_interval(1, 1))]
    assert all(high - low > 0.4 for low, high in bars)
    (points,) = plot_reliability(always_right).axes[0].containers
    ((low, high),) = [segment[:, 1] for segment in points.lines[2][0].get_segments()]
    assert (low, high) == pytest.approx(wilson_interval(5, 5))


def test_the_error_bar_of_a_mean_error_covers_the_true_mean_as_often_as_promised():
    samples = np.random.default_rng(0).exponential(size=(1000, 30))
    covered = [low <= 1 <= high for low, high in map(mean_error_interval, samples)]
    assert 0.90 <= np.mean(covered) <= 0.97
    assert np.isnan(mean_error_interval(np.array([0.5]))).all() and np.isnan(mean_error_interval(np.zeros(9))).all()
    assert mean_error_interval(np.array([0.0, 1.0]))[0] == 0.0


def test_a_single_row_of_scores_has_no_error_bar(predictions_of):
    assert error_bars(plot_by_length(predictions_of("sts", rows=5)).axes[0]) == []  # five groups of one row
