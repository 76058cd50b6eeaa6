"""Allocations on known curves against enumeration, hand-computed values and their limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.mix.equitable_allocation import (
    baseline_allocation,
    continuous_allocation,
    greedy_allocation,
    shared_allocation,
    utility_of,
)
from polyculture.mix.learning_curves import PowerLaw

CURVES = [PowerLaw(0.9, 0.5, 0.7), PowerLaw(0.8, 0.9, 0.5), PowerLaw(0.7, 0.3, 1.0)]


@pytest.mark.parametrize("utility", ["weighted-sum", "weighted-log"])
def test_greedy_is_the_exhaustive_optimum_at_equal_costs(utility: str) -> None:
    weights = [0.2, 0.5, 0.3]
    found = greedy_allocation(CURVES, 18, weights=weights, utility=utility, start=2)
    best = max(
        utility_of([v(n) for v, n in zip(CURVES, split, strict=True)], weights, utility)
        for split in itertools.product(range(2, 15), repeat=3)
        if sum(split) == 18
    )
    assert found.utility == pytest.approx(best, abs=1e-12) and found.counts.sum() == 18 and found.spent == 18


def test_min_serves_the_worst_group() -> None:
    found = greedy_allocation([PowerLaw(0.5, 0.0, 1.0), PowerLaw(1.0, 4.0, 1.0)], 7, utility="min", start=1)
    assert found.counts.tolist() == [1, 6] and found.order == (1,) * 5
    assert greedy_allocation([PowerLaw(0.5, 0.0, 1.0), PowerLaw(1.0, 4.0, 1.0)], 12, utility="min", start=1).order[
        7:
    ] == (
        0,
        0,
        0,
    )


def test_costs_caps_and_batches() -> None:
    found = greedy_allocation(CURVES, 20, costs=[1, 2, 5], caps=[4, None, 1], start=1, batch=3)
    assert found.counts[0] <= 4 and found.counts[2] == 1 and found.spent <= 20
    assert greedy_allocation(CURVES, 100, caps=[4, 5, 6]).counts.tolist() == [4, 5, 6]
    assert greedy_allocation(CURVES, 100, start=[9, 0, 0], caps=[4, 5, 6]).counts.tolist() == [9, 5, 6]
    assert len(greedy_allocation(CURVES, 100, batch=7, batches=2).order) == 2
    assert greedy_allocation(CURVES, 0).counts.tolist() == [0, 0, 0]
    assert greedy_allocation(CURVES, 2.5, costs=[3, 3, 3]).order == ()
    assert greedy_allocation(CURVES, 0.3, costs=[0.1] * 3).counts.sum() == 3  # 0.1 three times is 0.3 but for rounding


def test_ties() -> None:
    same = [PowerLaw(0.9, 0.5, 0.7)] * 3
    assert greedy_allocation(same, 3).order == (0, 1, 2)
    flat = [PowerLaw(0.5, 0.0, 1.0)] * 3
    assert greedy_allocation(flat, 4).order == (0, 0, 0, 0)
    assert greedy_allocation(flat, 6, ties="fewest", start=[2, 0, 1]).counts.tolist() == [2, 2, 2]


def test_a_weight_of_zero_gets_nothing_until_the_others_are_full() -> None:
    assert greedy_allocation(CURVES, 10, weights=[0, 1, 1]).counts[0] == 0
    assert greedy_allocation(CURVES, 10, weights=[0, 1, 1], caps=[None, 2, 2]).counts.tolist() == [6, 2, 2]


def test_under_the_logarithm_a_useless_group_comes_first() -> None:
    worse_than_nothing = [PowerLaw(0.5, 3.0, 1.0)] * 2
    assert greedy_allocation(worse_than_nothing, 20, utility="weighted-log", start=1).counts.tolist() == [10, 10]
    with pytest.warns(UserWarning, match="below 1e-06"):
        assert greedy_allocation(worse_than_nothing, 4, utility="weighted-log", start=1).utility == np.log(1e-6)


def test_exploration_draws_from_the_seed() -> None:
    first = greedy_allocation(CURVES, 60, exploration=0.5, rng=1)
    assert first.order == greedy_allocation(CURVES, 60, exploration=0.5, rng=1).order
    assert first.order != greedy_allocation(CURVES, 60).order


def test_continuous_optimum_against_slsqp() -> None:
    from scipy.optimize import minimize

    costs, weights = np.array([1.0, 2.0, 0.5]), np.array([0.5, 0.3, 0.2])
    n, price = continuous_allocation(CURVES, 200, costs=costs, weights=weights)
    found = minimize(
        lambda x: -sum(w * v(each) for w, v, each in zip(weights, CURVES, x, strict=True)),
        np.array([50.0, 50.0, 50.0]),
        bounds=[(1, None)] * 3,
        constraints={"type": "eq", "fun": lambda x: costs @ x - 200},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(n, found.x, rtol=1e-3)
    assert costs @ n == pytest.approx(200) and price > 0
    slopes = [w * v.b * v.c * each ** -(1 + v.c) / k for w, v, each, k in zip(weights, CURVES, n, costs, strict=True)]
    np.testing.assert_allclose(slopes, price, rtol=1e-8)


def test_continuous_limits() -> None:
    assert continuous_allocation(CURVES[:1], 30, costs=[2])[0].tolist() == pytest.approx([15])
    flat = PowerLaw(0.5, 0.0, 1.0)
    n, price = continuous_allocation([flat, CURVES[0]], 30)
    assert n.tolist() == pytest.approx([0, 30]) and price > 0
    assert continuous_allocation([flat], 30)[0].tolist() == [0]
    assert continuous_allocation(CURVES, 1e9)[0].sum() == pytest.approx(1e9)


def test_shared_allocation() -> None:
    assert shared_allocation([1, 1, 1], 10).tolist() == [4, 3, 3]
    assert shared_allocation([7, 2, 1], 10).tolist() == [7, 2, 1]
    assert shared_allocation([7, 2, 1], 10, caps=[1, 10, 10]).tolist() == [1, 6, 3]
    assert shared_allocation([1, 1], 10, costs=[1, 4]).tolist() == [2, 2]
    assert shared_allocation([1, 0], 3).tolist() == [3, 0]
    assert shared_allocation([1, 1], 10, caps=[2, 3]).tolist() == [2, 3]


def test_baselines() -> None:
    assert baseline_allocation("equal", 1200, 4).tolist() == [300] * 4
    assert baseline_allocation("proportional", 100, 3, shares=[0.7, 0.2, 0.1]).tolist() == [70, 20, 10]
    assert baseline_allocation("cost-inverse", 12, 2, costs=[1, 3]).tolist() == [6, 2]
    drawn = baseline_allocation("random", 100, 3, batch=5, rng=0)
    assert drawn.sum() == 100 and (drawn % 5 == 0).all() and len(set(drawn.tolist())) > 1
    with pytest.raises(BadInput, match="population share"):
        baseline_allocation("proportional", 10, 2)
    with pytest.raises(UnknownMethod, match="did you mean 'equal'"):
        baseline_allocation("equals", 10, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "options", "message"),
    [
        (-1, {}, "budget should be"),
        (np.nan, {}, "budget should be"),
        (np.inf, {}, "budget should be"),
        (10, {"costs": [1, 0, 1]}, "cost of group 1 is 0"),
        (10, {"costs": [1, -1, 1]}, "costs should be"),
        (10, {"costs": [1, np.nan, 1]}, "costs should be"),
        (10, {"costs": [1, 1]}, "3 numbers"),
        (10, {"weights": [1, -1, 1]}, "weights should be"),
        (10, {"caps": [1, -1, 1]}, "caps should be"),
        (10, {"caps": [1, np.nan, 1]}, "caps should be"),
        (10, {"start": 4}, "above the budget of 10"),
        (10, {"start": [1, 1]}, "3 numbers"),
        (10, {"batch": 0}, "batch should be"),
        (10, {"exploration": 2}, "exploration in"),
    ],
)
def test_bad_problems(budget: float, options: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        greedy_allocation(CURVES, budget, **options)


def test_other_bad_input() -> None:
    with pytest.raises(BadInput, match="no groups"):
        greedy_allocation([], 10)
    with pytest.raises(BadInput, match="no groups"):
        utility_of([])
    with pytest.raises(UnknownMethod, match="weighted-sum"):
        greedy_allocation(CURVES, 10, utility="weighted_sum")  # type: ignore[arg-type]
    with pytest.raises(UnknownMethod):
        utility_of([0.5], None, "mean")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="above 0"):
        continuous_allocation(CURVES, 0)
    with pytest.raises(BadInput, match="all 0"):
        shared_allocation([0, 0], 10)
