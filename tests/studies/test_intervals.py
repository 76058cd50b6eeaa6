from __future__ import annotations

import math

import numpy as np
import pytest

from polyculture.studies.intervals import Estimate, difference_of_means, mean, over_draws


def test_intervals() -> None:
    values = np.random.default_rng(0).normal(3, 1, size=400)
    found = mean(values)
    assert found.value == pytest.approx(values.mean()) and mean(values) == found
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert found.sign == 1 and mean(-values).sign == -1 and mean(values - values.mean()).sign == 0
    assert mean(np.array([1.0, math.nan])).value == 1.0 and math.isnan(mean(np.array([math.nan])).value)
    assert over_draws(np.array([1.0, 2.0, 3.0])).low == pytest.approx(2 - 2.4841, abs=1e-3)
    assert over_draws(np.array([2.0])) == Estimate(2.0, 2.0, 2.0)
    assert str(Estimate(1e-17, -1e-18, 0.25)) == "0 [0, 0.25]" and Estimate(1e-17, 1e-18, 1e-16).sign == 0


def test_a_few_inputs_that_agree_show_nothing() -> None:
    assert mean(np.array([-0.0133, -0.0142, -0.04])).sign == 0, "the bootstrap alone stays below 0"
    few, many = np.array([0.1, 0.2, 0.6]), np.linspace(-0.1, 0.1, 50)
    assert difference_of_means(few, many).sign == 0
    assert mean(np.full(3, 0.5)) == Estimate(0.5, 0.5, 0.5) and mean(np.array([0.5])).low == 0.5
