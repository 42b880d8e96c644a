import numpy as np

from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.objectives import balanced_rows, balanced_weights

PARA, STS = PAPER_TASKS["para"], PAPER_TASKS["sts"]
CLASSES = np.array([0] * 60 + [1] * 20)


def test_each_class_weighs_the_same_in_all():
    weights = balanced_weights(PARA, CLASSES)
    np.testing.assert_allclose([weights[CLASSES == 0].sum(), weights[CLASSES == 1].sum()], 40, rtol=1e-6)
    assert np.isclose(weights.mean(), 1)


def test_a_rare_score_weighs_more_than_a_frequent_one_and_like_its_neighbours():
    scores = np.concatenate([np.full(90, 1.0), np.full(10, 4.0), [4.05], [5.0]])
    weights = balanced_weights(STS, scores)
    assert weights[0] < weights[90] < weights[-1]
    assert np.isclose(weights[90], weights[-2], rtol=0.2)  # one row, but many around it
    assert np.isclose(weights.mean(), 1)


def test_balanced_rows_have_as_many_of_each_class_and_every_rare_row():
    rows = balanced_rows(PARA, CLASSES, seed=1)
    assert len(rows) == 80
    assert abs((CLASSES[rows] == 1).sum() - 40) <= 1
    assert set(np.flatnonzero(CLASSES == 1)) <= set(rows)
    assert np.bincount(rows).max() == 2  # no row more often than its weight says
    np.testing.assert_array_equal(rows, balanced_rows(PARA, CLASSES, seed=1))
    assert set(rows) != set(balanced_rows(PARA, CLASSES, seed=2))
