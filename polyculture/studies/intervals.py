"""95 % intervals of means over inputs or draws: bootstrap, or Student's where it is the safer one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
ROUNDING = 1e-9
FEW = 20
"""Inputs below which a bootstrap interval, too narrow there, is made to reach at least as far as Student's."""
BLOCK = 2**20
"""Values resampled at once."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the ends equal the value where there is nothing to take one over.

    Args:
        value: the number.
        low: the interval's lower end.
        high: its upper end.
    """

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below 0 by more than rounding, else 0."""
        return 1 if self.low > ROUNDING else -1 if self.high < -ROUNDING else 0

    def __str__(self) -> str:
        value, low, high = (0.0 if abs(x) < ROUNDING else x for x in (self.value, self.low, self.high))
        return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def mean(values: np.ndarray, *, seed: int = 0) -> Estimate:
    """The mean over inputs with its bootstrap interval.

    Args:
        values: (n,) one number an input; NaNs (undefined) are left out.
        seed: of the resampling.
    """
    held = np.asarray(values, dtype=np.float64)
    held = held[~np.isnan(held)]
    if not held.size:
        return Estimate(math.nan, math.nan, math.nan)
    return _estimate(float(held.mean()), _resampled_means(held, np.random.default_rng(seed)), [held])


def over_draws(values: np.ndarray) -> Estimate:
    """The mean over draws with Student's interval.

    Args:
        values: (K,) one number a draw.
    """
    held = np.asarray(values, dtype=np.float64)
    if held.size < 2:
        return Estimate(*([float(held.mean())] * 3))
    from scipy.stats import t

    half = float(t.ppf(0.975, held.size - 1) * held.std(ddof=1) / math.sqrt(held.size))
    return Estimate(float(held.mean()), float(held.mean()) - half, float(held.mean()) + half)


def difference_of_means(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> Estimate:
    """mean(a) - mean(b) of two sets of inputs, resampled apart.

    Args:
        a: (n,) numbers.
        b: (m,) numbers.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(a, rng) - _resampled_means(b, rng)
    return _estimate(float(a.mean() - b.mean()), drawn, [a, b])


def _estimate(value: float, drawn: np.ndarray, samples: Sequence[np.ndarray]) -> Estimate:
    """A value with the interval of its resamples, or where a sample is small with Student's if that is wider."""
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    fewest = min(len(sample) for sample in samples)
    if 2 <= fewest < FEW:
        from scipy.stats import t

        half = float(t.ppf(0.975, fewest - 1) * math.sqrt(sum(held.var(ddof=1) / len(held) for held in samples)))
        low, high = min(low, value - half), max(high, value + half)
    return Estimate(value, low, high)


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means of as many values drawn with replacement, a block of resamples at a time."""
    n = len(values)
    blocks = range(0, RESAMPLES, max(1, BLOCK // n))
    sizes = np.diff([*blocks, RESAMPLES])
    return np.concatenate([values[rng.integers(n, size=(size, n))].mean(axis=1) for size in sizes])
