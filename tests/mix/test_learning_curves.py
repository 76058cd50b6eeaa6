"""Learning curves: fits with known answers, their bounds and their errors, and points from subsamples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.learning_curves import PowerLaw, curve_points, fit_curve


def test_values_of_a_curve() -> None:
    curve = PowerLaw(0.9, 2.0, 0.5)
    assert curve(4) == pytest.approx(-0.1) and curve(400) == pytest.approx(0.8)
    assert curve(0) == -np.inf and PowerLaw(0.7, 0.0, 1.0)(0) == 0.7
    np.testing.assert_allclose(curve(np.array([[4, 400]])), [[-0.1, 0.8]])


def test_exact_points_are_fitted_exactly() -> None:
    n = np.array([10, 20, 40, 80, 160, 320])
    for a, b, c in ((0.9, 0.8, 0.5), (0.6, 3.0, 1.1), (1.5, 0.1, 0.05)):
        curve = fit_curve(n, a - b * n**-c, exponent=(0.01, 2.0))
        assert (curve.a, curve.b, curve.c) == pytest.approx((a, b, c), abs=1e-5)


def test_auto_frees_the_exponent_only_over_a_decade() -> None:
    short, long = np.array([10, 20, 50, 100]), np.array([10, 30, 100, 300])
    assert fit_curve(short, 1 - short**-0.5).c == 1.0
    assert fit_curve(long, 1 - long**-0.5).c == pytest.approx(0.5, abs=1e-5)


def test_bounded_fit_is_the_best_inside_the_bounds() -> None:
    rng = np.random.default_rng(0)
    n = np.array([5.0, 9.0, 20.0, 60.0])
    for _ in range(20):
        v = rng.normal(size=4)
        curve = fit_curve(n, v, exponent=1.0, asymptote=(-0.2, 0.3), scale=(0.0, 2.0))
        a, b = np.meshgrid(np.linspace(-0.2, 0.3, 101), np.linspace(0, 2, 401))
        loss = ((v - a[..., None] + b[..., None] / n) ** 2).sum(axis=-1)
        assert ((v - curve(n)) ** 2).sum() <= loss.min() + 1e-12
        assert -0.2 <= curve.a <= 0.3 and 0 <= curve.b <= 2


def test_constant_or_falling_performance_is_a_flat_curve() -> None:
    flat = fit_curve([10, 20, 40], [0.7, 0.7, 0.7])
    assert (flat.a, flat.b) == (pytest.approx(0.7), pytest.approx(0, abs=1e-12))
    falling = fit_curve([10, 20, 40], [0.9, 0.8, 0.7])
    assert falling.b == 0 and falling.a == pytest.approx(0.8) and falling.covariance is None


def test_deviation_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    n = np.array([20.0, 30, 45, 60, 80, 100])
    misses = []
    for _ in range(300):
        curve = fit_curve(n, 0.8 - 4 / n + 0.02 * rng.normal(size=6), exponent=1.0)
        misses.append((curve(50) - 0.72) / curve.deviation(50))
    assert 0.8 < np.median(np.abs(misses)) / 0.741 < 1.25  # Student t with 4 degrees of freedom
    assert np.isnan(fit_curve([10, 20], [0.1, 0.2]).deviation(15))


@pytest.mark.parametrize(
    ("sizes", "values", "options", "message"),
    [
        ([1, 2], [0.5], {}, "2 sizes and 1 values"),
        ([1, 2], [0.5, np.nan], {}, "NaN"),
        ([0, 2], [0.5, 0.6], {}, "above 0"),
        ([5, 5], [0.5, 0.6], {}, "1 different sizes"),
        ([], [], {}, "0 different sizes"),
        ([5, 10], [0.5, 0.6], {"exponent": (0.1, 1.0)}, "3 or more"),
        ([5, 10], [0.5, 0.6], {"exponent": 0.0}, "exponent"),
        ([5, 10], [0.5, 0.6], {"exponent": -1.0}, "exponent"),
    ],
)
def test_bad_points(sizes: list[float], values: list[float], options: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        fit_curve(sizes, values, place="group 'x'", **options)


def test_points_come_from_disjoint_nested_subsets() -> None:
    calls = []

    def evaluate(train: np.ndarray, left_out: np.ndarray) -> float:
        calls.append((set(train.tolist()), set(left_out.tolist())))
        return float(len(train))

    points = curve_points(100, evaluate, smallest=10, sizes=4, repeats=3, rng=0)
    assert [n for n, _ in points] == [10, 20, 40, 80] and [v for _, v in points] == [10, 20, 40, 80]
    assert all(not train & left_out and len(left_out) == 20 for train, left_out in calls)
    for first, second in itertools.pairwise(calls[:4]):
        assert first[0] < second[0] and first[1] == second[1]


def test_a_group_too_small_to_split_has_no_points() -> None:
    assert curve_points(1, lambda *_: 0.0) == [] and curve_points(0, lambda *_: 0.0) == []
    assert curve_points(11, lambda *_: 0.0, smallest=10) == []
    with pytest.raises(BadInput, match="1 or more"):
        curve_points(100, lambda *_: 0.0, smallest=0)
