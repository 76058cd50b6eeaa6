"""Learning curves: how performance grows with the number of training samples, v(n) = a - b n^(-c).

Adaptive Sampling Strategies to Construct Equitable Training Datasets (2022): each group's performance is a function of
its own sample count; where that function is unknown, it is estimated from what has been collected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput

Bounds = tuple[float, float]
FREE: Bounds = (0.3, 1.2)  # of the exponent, once the sizes span a decade


@dataclass(frozen=True)
class PowerLaw:
    """The curve v(n) = a - b n^(-c).

    Args:
        a: performance with unlimited data.
        b: what the first samples lack, 0 or more.
        c: how fast the lack shrinks, above 0.
        covariance: of the estimates of a and b, the exponent held; None where two points or a bound leave no spread.
        n_points: points it was fitted to; 0 for a curve that is known.
    """

    a: float
    b: float
    c: float
    covariance: tuple[Bounds, Bounds] | None = None
    n_points: int = 0

    def __call__(self, n: Any) -> Any:
        """Performance with n samples, a float or an array like ``n``; minus infinity at 0 unless the curve is flat."""
        if np.ndim(n):
            return np.array([self(each) for each in np.asarray(n).ravel()]).reshape(np.shape(n))
        if self.b == 0:
            return float(self.a)
        return float(self.a - self.b * float(n) ** -self.c) if n > 0 else -np.inf

    def deviation(self, n: float) -> float:
        """Standard deviation of the performance that the fit expects with n samples; NaN where it is not known."""
        if self.covariance is None or n <= 0:
            return float("nan")
        basis = np.array([1.0, -(float(n) ** -self.c)])
        return float(np.sqrt(max(basis @ np.array(self.covariance) @ basis, 0.0)))


def fit_curve(
    sizes: Any,
    values: Any,
    *,
    exponent: float | Bounds | Literal["auto"] = "auto",
    asymptote: Bounds = (-np.inf, np.inf),
    scale: Bounds = (0.0, np.inf),
    place: str = "the learning curve",
) -> PowerLaw:
    """Fit v(n) = a - b n^(-c) by least squares.

    For a given exponent the fit is linear in a and b, and its bounded optimum is exact; a free exponent is searched on
    a grid and then refined. Noisy points at small n do not bear three free parameters, hence "auto". A constant
    performance is a flat curve, b = 0.

    Args:
        sizes: (m,) training samples of each point, above 0.
        values: (m,) performance of each point, higher is better.
        exponent: c, or bounds between which it is fitted; "auto" is 1, the parametric rate, and is fitted in
            [0.3, 1.2] only where there are at least four sizes and they span more than a decade.
        asymptote: bounds of a.
        scale: bounds of b.
        place: how messages name these points.

    Raises:
        BadInput: lengths differ, a value is NaN or infinite, a size is not positive, or there are fewer than two
            different sizes (three for a free exponent).

    >>> curve = fit_curve([10, 20, 40], [0.5, 0.6, 0.65], exponent=1.0)
    >>> round(curve.a, 6), round(curve.b, 6)
    (0.7, 2.0)
    """
    n = np.asarray(sizes, dtype=np.float64).ravel()
    v = np.asarray(values, dtype=np.float64).ravel()
    if len(n) != len(v):
        raise BadInput(f"{place} has {len(n)} sizes and {len(v)} values; give one value a size")
    if not (np.isfinite(n).all() and np.isfinite(v).all()):
        raise BadInput(f"{place} holds NaN or infinity; leave those points out")
    if (n <= 0).any():
        raise BadInput(f"{place} has a point at {n.min():g} samples; sizes should be above 0")
    distinct = np.unique(n)
    if exponent == "auto":
        exponent = FREE if len(distinct) >= 4 and distinct[-1] > 10 * distinct[0] else 1.0
    free = not isinstance(exponent, (int, float))
    if len(distinct) < (3 if free else 2):
        raise BadInput(
            f"{place} was measured at {len(distinct)} different sizes, which can't tell its slope; "
            f"measure it at {3 if free else 2} or more"
        )
    low, high = exponent if isinstance(exponent, tuple) else (float(exponent), float(exponent))
    if not 0 < low <= high < np.inf:
        raise BadInput(f"the exponent of {place} should be above 0, not {exponent}")

    def lack(c: float) -> float:
        return _line(n**-c, v, asymptote, scale)[2]

    c = low
    if low < high:
        from scipy.optimize import minimize_scalar

        grid = np.geomspace(low, high, 64)
        best = int(np.argmin([lack(each) for each in grid]))
        near = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
        found = float(minimize_scalar(lack, bounds=near, method="bounded", options={"xatol": 1e-9}).x)
        c = min((float(grid[best]), found), key=lack)
    a, b, rest = _line(n**-c, v, asymptote, scale)
    inside = asymptote[0] < a < asymptote[1] and scale[0] < b < scale[1]
    return PowerLaw(a, b, c, _covariance(n**-c, rest) if inside and len(n) > 2 else None, len(n))


def _line(x: np.ndarray, v: np.ndarray, asymptote: Bounds, scale: Bounds) -> tuple[float, float, float]:
    """The least-squares a and b of v = a - b x inside their bounds, and the sum of squares that is left.

    The problem is convex in two variables: its optimum is the free one, or lies on an edge of the box.
    """
    centred = x - x.mean()
    b = -float(centred @ v) / float(centred @ centred)
    if abs(b) * np.ptp(x) <= 1e-12 * np.abs(v).max():
        b = 0.0  # constant but for rounding
    free = float(v.mean() + b * x.mean()), b
    tried = [free] if asymptote[0] <= free[0] <= asymptote[1] and scale[0] <= b <= scale[1] else []
    if not tried:
        for edge in asymptote:
            if np.isfinite(edge):
                tried.append((edge, float(np.clip(-((v - edge) @ x) / (x @ x), *scale))))
        for edge in scale:
            if np.isfinite(edge):
                tried.append((float(np.clip((v + edge * x).mean(), *asymptote)), edge))
    left = [float(((v - a + b * x) ** 2).sum()) for a, b in tried]
    best = int(np.argmin(left))
    return *tried[best], left[best]


def _covariance(x: np.ndarray, rest: float) -> tuple[Bounds, Bounds]:
    design = np.column_stack([np.ones_like(x), -x])
    held = rest / (len(x) - 2) * np.linalg.inv(design.T @ design)
    return (float(held[0, 0]), float(held[0, 1])), (float(held[1, 0]), float(held[1, 1]))


def curve_points(
    n: int,
    evaluate: Callable[[np.ndarray, np.ndarray], float],
    *,
    smallest: int = 10,
    sizes: int = 4,
    repeats: int = 6,
    rng: np.random.Generator | int | None = None,
) -> list[tuple[int, float]]:
    """Points of a group's learning curve, from subsamples of what has been collected of it.

    Sizes lie on a geometric grid from ``smallest`` to 0.8 n; each is the mean over repeated random splits. The sizes of
    one split are evaluated on the same left-out samples, and larger subsets hold the smaller ones: how hard the
    left-out samples are then moves the whole curve and not its slope, which is what an allocation goes by.

    Args:
        n: samples of the group.
        evaluate: called with the rows to train on and the rows to evaluate on; returns the performance.
        smallest: smallest subset. A linear model of d features needs 1.5 d or more: near d its curve is not concave.
        sizes: how many sizes.
        repeats: random splits.
        rng: a Generator, or a seed for one; None draws a fresh seed.

    Returns:
        Pairs (size, mean performance); empty where the group is too small to be split at ``smallest``.
    """
    generator = np.random.default_rng(rng)
    largest = int(0.8 * n)
    if smallest < 1 or sizes < 1 or repeats < 1:
        raise BadInput("smallest, sizes and repeats of a learning curve should be 1 or more")
    if largest < smallest or largest >= n:
        return []
    grid = np.unique(np.geomspace(smallest, largest, sizes).round().astype(int))
    found = np.empty((repeats, len(grid)))
    for repeat in found:
        order = generator.permutation(n)
        repeat[:] = [evaluate(order[:size], order[largest:]) for size in grid]
    return [(int(size), float(mean)) for size, mean in zip(grid, found.mean(axis=0), strict=True)]
