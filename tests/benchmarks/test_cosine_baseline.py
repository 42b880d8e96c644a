import numpy as np
import pytest

from benchmarks.cosine_baseline import best_threshold, score


@pytest.mark.parametrize("digits", [1, 9])  # equal cosines, or different ones
@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_more_accurate(seed, digits):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    cosines = (labels * 0.3 + rng.random(60)).round(digits)
    accuracies = [((cosines >= threshold) == labels).mean() for threshold in cosines]
    assert ((cosines >= best_threshold(cosines, labels)) == labels).mean() == max(accuracies)


@pytest.mark.parametrize("task", ["sts", "para"])
def test_an_encoder_is_scored_as_it_is(task, tiny_encoder):
    first, second = score(task, tiny_encoder, "sample"), score(task, tiny_encoder, "sample")
    assert first == second  # nothing is drawn
    value, low, high = map(float, first.replace("[", "").replace("]", "").replace(",", "").split())
    assert low <= value <= high
