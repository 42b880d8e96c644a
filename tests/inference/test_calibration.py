import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.inference.calibration import ReliabilityBin, expected_calibration_error, reliability_bins


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    confidences = np.repeat([0.25, 0.75], 400)
    correct = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert reliability_bins(confidences, correct) == [ReliabilityBin(0.25, 0.25, 400), ReliabilityBin(0.75, 0.75, 400)]
    assert expected_calibration_error(confidences, correct) == 0


def test_the_error_weighs_bins_by_their_rows():
    confidences, correct = np.array([1.0, 1.0, 1.0, 0.5]), np.array([False, False, False, True])
    assert expected_calibration_error(confidences, correct) == pytest.approx((3 * 1.0 + 1 * 0.5) / 4)


def test_the_bins_hold_every_row_once():
    generator = np.random.default_rng(0)
    confidences, correct = generator.uniform(size=500), generator.uniform(size=500) < 0.5
    for bins in (1, 7, 10):
        found = reliability_bins(confidences, correct, bins)
        assert sum(each.rows for each in found) == 500 and len(found) == bins
        assert sum(each.accuracy * each.rows for each in found) == pytest.approx(correct.sum())


def test_wrong_values_are_named():
    with pytest.raises(InputError, match=r"`correct` must have the shape of `confidences`, \(2,\), got \(1,\)"):
        reliability_bins(np.array([0.1, 0.2]), np.array([True]))
    with pytest.raises(InputError, match=r"must be in \[0, 1\]"):
        reliability_bins(np.array([1.1]), np.array([True]))
