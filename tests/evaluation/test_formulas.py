import numpy as np
import pytest
from scipy import stats

from extrabert_hf.evaluation import formulas
from extrabert_hf.evaluation.metrics import CLASS_FORMULAS, FORMULAS

PREDICTIONS = np.array([0, 1, 2, 2, 4, 1])
LABELS = np.array([0, 2, 2, 0, 4, 4])


def some_rows(name, rows=60, seed=0):
    """Rows with ties, for a metric of classes or of scores."""
    generator = np.random.default_rng(seed)
    if name in CLASS_FORMULAS:
        return generator.integers(5, size=rows), generator.integers(5, size=rows)
    labels = generator.integers(6, size=rows) / 2
    return np.round(labels + generator.normal(size=rows), 1), labels


def literal_f1(predictions, labels, positive_class):
    hits = sum(p == positive_class == t for p, t in zip(predictions, labels, strict=True))
    precision = hits / max(1, sum(p == positive_class for p in predictions))
    recall = hits / max(1, sum(t == positive_class for t in labels))
    return 2 * precision * recall / (precision + recall) if hits else 0.0


def literal_kappa(predictions, labels):
    """Cohen's definition: a matrix of counts, the matrix that chance would fill, and the weights of the cells."""
    size = max(*predictions, *labels) + 1
    counts = np.zeros((size, size))
    for prediction, label in zip(predictions, labels, strict=True):
        counts[prediction, label] += 1
    chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / len(labels)
    distance = np.array([[(i - j) ** 2 for j in range(size)] for i in range(size)])
    return 1 - (distance * counts).sum() / (distance * chance).sum()


def test_values_by_hand():
    assert formulas.accuracy(PREDICTIONS, LABELS) == pytest.approx(3 / 6)
    assert formulas.within_1_accuracy(PREDICTIONS, LABELS) == pytest.approx(4 / 6)
    assert formulas.f1(PREDICTIONS, LABELS, positive_class=2) == pytest.approx(2 * 1 / (2 + 2))
    assert formulas.f1(PREDICTIONS, LABELS) == 0.0  # class 1 is predicted twice and labelled never
    assert formulas.macro_f1(PREDICTIONS, LABELS) == pytest.approx((2 / 3 + 0 + 2 / 4 + 2 / 3) / 4)  # 3 does not occur
    assert formulas.mean_squared_error(PREDICTIONS, LABELS) == pytest.approx((1 + 4 + 9) / 6)


@pytest.mark.parametrize("seed", range(5))
def test_class_formulas_are_their_definitions(seed):
    predictions, labels = some_rows("macro_f1", rows=12, seed=seed)
    classes = sorted({*predictions.tolist(), *labels.tolist()})
    macro = np.mean([literal_f1(predictions, labels, c) for c in classes])
    assert formulas.f1(predictions, labels) == pytest.approx(literal_f1(predictions, labels, 1))
    assert formulas.macro_f1(predictions, labels) == pytest.approx(macro)
    assert formulas.quadratic_kappa(predictions, labels) == pytest.approx(literal_kappa(predictions, labels))


@pytest.mark.parametrize("seed", range(5))
def test_correlations_agree_with_scipy_also_with_ties(seed):
    rows = some_rows("pearson", seed=seed)
    assert formulas.pearson(*rows) == pytest.approx(stats.pearsonr(*rows).statistic, abs=1e-12)
    assert formulas.spearman(*rows) == pytest.approx(stats.spearmanr(*rows).statistic, abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_weight_is_so_many_equal_rows(name):
    predictions, labels = some_rows(name)
    weights = np.random.default_rng(1).integers(4, size=(7, len(labels)))
    batch = FORMULAS[name](predictions, labels, weights)
    repeated = [FORMULAS[name](np.repeat(predictions, w), np.repeat(labels, w)) for w in weights]
    single = [FORMULAS[name](predictions, labels, w) for w in weights]
    assert batch.shape == (7,)
    np.testing.assert_allclose(batch, repeated, rtol=1e-12)
    np.testing.assert_allclose(single, repeated, rtol=1e-12)
    assert len(set(np.round(batch, 6))) > 1


@pytest.mark.parametrize("name", ["quadratic_kappa", "pearson", "spearman"])
def test_a_sample_of_one_row_many_times_is_constant(name):
    predictions, labels = some_rows(name)
    samples = np.concatenate([np.eye(len(labels), dtype=int) * times for times in (1, 3, 7, 49)])
    assert (FORMULAS[name](predictions, labels, samples) == 0.0).all()


def test_macro_f1_leaves_out_a_class_that_the_weights_leave_out():
    weights = np.where((PREDICTIONS == 4) | (LABELS == 4), 0, 1)
    kept = weights > 0
    assert formulas.macro_f1(PREDICTIONS, LABELS, weights) == formulas.macro_f1(PREDICTIONS[kept], LABELS[kept])


@pytest.mark.parametrize("name", FORMULAS)
def test_the_order_of_rows_does_not_matter(name):
    predictions, labels = some_rows(name)
    order = np.random.default_rng(1).permutation(len(labels))
    assert FORMULAS[name](predictions[order], labels[order]) == pytest.approx(FORMULAS[name](predictions, labels))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_perfect_prediction_scores_best(name):
    _, labels = some_rows(name)
    assert FORMULAS[name](labels, labels) == (0.0 if name == "mse" else pytest.approx(1.0))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("rows", [1, 2, 3, 49])
def test_constants_give_numbers_without_any_numpy_warning(name, rows, recwarn):
    varied = np.arange(rows) % 5
    for constant in (0, 2) if name in CLASS_FORMULAS else (0.1, -1e-200, 1e200 if name != "mse" else 1e100):
        same = np.full(rows, constant)
        for pair in ((same, varied), (varied, same), (same, same)):
            value = FORMULAS[name](*pair)
            assert np.isfinite(value)
            if name in ("pearson", "spearman", "quadratic_kappa"):
                assert value == 0.0
    assert not recwarn.list


def test_pearson_does_not_depend_on_unit_or_origin():
    predictions, labels = some_rows("pearson")
    expected = stats.pearsonr(predictions, labels).statistic
    for scale, shift in ((1e-200, 0.0), (1e200, 0.0), (1.0, 1e6), (-1.0, 0.0)):
        value = formulas.pearson(predictions * scale + shift, labels)
        assert value == pytest.approx(np.sign(scale) * expected, abs=1e-8)


def test_spearman_sees_only_the_order():
    predictions, labels = some_rows("spearman")
    assert formulas.spearman(np.exp(predictions), labels) == formulas.spearman(predictions, labels)
    assert formulas.pearson(np.exp(predictions), labels) != formulas.pearson(predictions, labels)


def test_scores_count_in_full_precision():
    labels = np.array([0.0, 1.0, 2.0])
    close = labels + np.array([1e-9, 0.0, 0.0])
    assert formulas.mean_squared_error(close, labels) == pytest.approx(1e-18 / 3, rel=1e-6, abs=0)
