import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.calibration import expected_calibration_error, preference_calibration_error


def test_by_hand():
    # Bins of width .5: [.2, .4] with 1 of 2 right, [.5, 1] with 1 of 2 right (.5 belongs to the bin above).
    found = expected_calibration_error([0.2, 0.4, 0.5, 1.0], [True, False, True, False], n_bins=2)
    assert found == pytest.approx(0.5 * abs(0.5 - 0.3) + 0.5 * abs(0.5 - 0.75))


def test_one_bin_is_the_gap_of_the_means():
    assert expected_calibration_error([0.1, 0.9, 0.8], [1, 1, 0], n_bins=1) == pytest.approx(2 / 3 - 0.6)


def test_sure_and_right_is_calibrated():
    assert expected_calibration_error([1.0, 1.0, 0.0], [1, 1, 0]) == 0
    assert expected_calibration_error([1.0], [0]) == 1


def test_a_calibrated_model_of_many_answers():
    rng = np.random.default_rng(0)
    sure = rng.uniform(size=200_000)
    assert expected_calibration_error(sure, rng.uniform(size=200_000) < sure) < 0.01


def test_of_pairs():
    chosen, rejected = np.log([0.25, 0.75]), np.log([0.5, 0.5])
    found = preference_calibration_error(chosen, rejected)
    assert found == pytest.approx(0.5 * abs(0 - 0.25) + 0.5 * abs(1 - 0.75))
    # Equal means do not rank the chosen first.
    assert preference_calibration_error([math.log(0.5)], [math.log(0.5)]) == pytest.approx(0.5)


def test_nothing():
    with pytest.warns(UserWarning, match="no answers"):
        assert math.isnan(expected_calibration_error([], []))


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5], [1, 0], "both be"),
        ([1.5], [1], "outside"),
        ([math.nan], [1], "NaN"),
        ([0.5], [0.5], "True or False"),
    ],
)
def test_bad_input(confidence, correct, message):
    with pytest.raises(BadInput, match=message):
        expected_calibration_error(confidence, correct)


def test_bad_options_and_pairs():
    with pytest.raises(BadInput, match="n_bins"):
        expected_calibration_error([0.5], [1], n_bins=0)
    with pytest.raises(BadInput, match="differ in shape"):
        preference_calibration_error([-1.0], [-1.0, -2.0])
    with pytest.raises(BadInput, match="above 0"):
        preference_calibration_error([0.5], [-1.0])
