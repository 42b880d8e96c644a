import numpy as np
import pytest
from scipy.special import softmax

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.label_doubts import doubt_classes, doubt_scores


def planted_classes(classes=3, rows=2000, share=0.05):
    """Labels of which a share is wrong, probabilities that are right for most rows, and which labels are wrong."""
    generator = np.random.default_rng(0)
    true = generator.integers(0, classes, rows)
    probabilities = softmax(5 * np.eye(classes)[true] + generator.normal(size=(rows, classes)), axis=1)
    is_wrong = np.arange(rows) < share * rows
    return np.where(is_wrong, (true + 1) % classes, true), probabilities, is_wrong


def test_most_planted_classes_are_found_and_most_of_the_found_are_planted():
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    labels, probabilities, is_wrong = planted_classes()
    doubts = doubt_classes(labels, probabilities)
    assert is_wrong[doubts.rows].mean() > 0.5  # ten times the share of wrong labels
    assert is_wrong[doubts.rows].sum() > 0.8 * is_wrong.sum()
    assert is_wrong[doubts.rows[:50]].mean() > 0.9
    assert (doubts.suggested[doubts.rows] != labels[doubts.rows]).all()
    np.testing.assert_allclose(doubts.sizes, 1 - probabilities[np.arange(len(labels)), labels])
    assert (np.diff(doubts.sizes[doubts.rows]) <= 0).all()


def test_correct_labels_of_an_accurate_model_are_not_doubted():
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    labels = np.arange(90) % 3
    assert doubt_classes(labels, 0.7 * np.eye(4)[labels] + 0.075).rows == []  # of a fourth class there is no row


def test_labels_of_one_class_are_refused():
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    with pytest.raises(InputError, match="`labels` must be of two classes or more"):
        doubt_classes(np.zeros(9, dtype=int), np.full((9, 2), 0.5))


def test_planted_scores_are_found_in_any_unit_and_with_any_bias():
    generator = np.random.default_rng(0)
    predictions = generator.uniform(0, 5, 1000)
    labels = predictions + generator.normal(scale=0.5, size=1000)
    labels[:50] = predictions[:50] + np.where(predictions[:50] < 2.5, 2.5, -2.5)
    doubts = doubt_scores(labels, predictions)
    assert (
        set(doubts.rows) >= set(range(50)) and len(doubts.rows) < 70
    )  # a normal residual is as large in 1.2 % of the rows
    scaled = doubt_scores(20 * labels, 20 * predictions + 7)
    assert set(scaled.rows) == set(doubts.rows)
    np.testing.assert_allclose(scaled.sizes, doubts.sizes)
    # wrong labels do not make themselves less doubtful: 0.5 is still the unit
    assert np.median(doubts.sizes[:50]) == pytest.approx(2.5 / 0.5, rel=0.15)


def test_residuals_without_a_unit_are_refused():
    with pytest.raises(InputError, match="got half of them equal"):
        doubt_scores(np.array([1.0, 1.0, 1.0, 5.0]), np.ones(4))
