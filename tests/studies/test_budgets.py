from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.studies.budgets import budget_split, power_law_bins, skewed_split


def test_a_budget_is_shared_evenly() -> None:
    assert budget_split(3, 5).tolist() == [1, 1, 1, 0, 0]
    assert budget_split(0, 2).tolist() == [0, 0]
    assert budget_split(8, 1).tolist() == [8]
    for budget, n in ((1_000_000, 300), (7, 7), (999, 1000)):
        sizes = budget_split(budget, n)
        assert sizes.sum() == budget and np.ptp(sizes) <= 1 and (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("shape", [2, 1, 0.5, 0.2, 0.03])
def test_the_bins_of_a_power_law(shape: float) -> None:
    shares = power_law_bins(1000, shape)
    assert shares.sum() == pytest.approx(1) and (shares > 0).all()
    assert shares[0] == pytest.approx(1000**-shape)
    if shape < 1:
        assert (np.diff(shares) < 0).all()


def test_a_peaked_split_leaves_some_without() -> None:
    sizes = skewed_split(1000, 200, 0.03, np.random.default_rng(0))
    assert sizes.sum() == 1000 and (sizes == 0).sum() > 100 and sizes[0] > 500
    assert skewed_split(10, 4, 1, np.random.default_rng(0)).tolist() == [3, 3, 2, 2]


def test_what_can_t_be_shared() -> None:
    with pytest.raises(BadInput, match="at least one"):
        budget_split(3, 0)
    with pytest.raises(BadInput, match="0 or more"):
        budget_split(-1, 3)
    with pytest.raises(BadInput, match="0 or more"):
        skewed_split(-1, 3, 0.5, np.random.default_rng(0))
    for shape in (0, -1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="above 0"):
            power_law_bins(3, shape)
