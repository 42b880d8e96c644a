import numpy as np
import pytest

from extrabert_hf.runs.figures import plot_by_label, plot_by_length, plot_label_counts, plot_reliability


def heights(figure):
    return [bar.get_height() for bar in figure.axes[0].patches]


def test_bars_by_label_are_the_share_of_right_answers(answers_of):
    answers = answers_of("para")
    right = answers.predictions == answers.labels
    assert heights(plot_by_label(answers)) == pytest.approx(
        [right[answers.labels == label].mean() for label in (0, 1)]
    )


def test_bars_by_length_hold_every_row(answers_of):
    for task in ("sst", "sts"):
        answers = answers_of(task, rows=23)
        ticks = [label.get_text() for label in plot_by_length(answers).axes[0].get_xticklabels()]
        assert sum(int(tick.split("\n")[1].split()[0]) for tick in ticks) == 23
        expected = answers.errors.mean() if task == "sts" else (answers.predictions == answers.labels).mean()
        assert np.average(heights(plot_by_length(answers)), weights=[5, 5, 5, 4, 4]) == pytest.approx(expected)


def test_scores_by_label_are_in_fifths_of_the_range(answers_of):
    ticks = [label.get_text() for label in plot_by_label(answers_of("sts")).axes[0].get_xticklabels()]
    assert [tick.split("\n")[0] for tick in ticks] == ["0 to 1", "1 to 2", "2 to 3", "3 to 4", "4 to 5"]


def test_the_reliability_says_its_error(answers_of):
    assert plot_reliability(answers_of("sst")).axes[0].get_title().startswith("Calibration: ECE 0.")


def test_labels_and_answers_are_counted_by_class(answers_of):
    answers = answers_of("sst", rows=23)
    labels, predictions = answers.labels.tolist(), answers.predictions.tolist()
    counts = [ids.count(place) for ids in (labels, predictions) for place in range(5)]
    assert heights(plot_label_counts(answers)) == counts and labels != predictions
