"""The ends of the trade-off, data untouched and nothing collected, and equal buckets between them.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 5: baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.base import Minimizer, Records, full_resolution, one_bucket
from polyculture.privacy.generalisation import Groups, Intervals, Part, renumber


@dataclass(eq=False)
class Untouched(Minimizer):
    """Keep every category, and a continuous attribute in so many quantile buckets that nothing is lost.

    Source: Vertical Data Minimization (2023), Section 5, the original data.

    Args:
        buckets_kept: quantile buckets of a continuous attribute.
    """

    buckets_kept: int = 100

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        _at_least("buckets_kept", self.buckets_kept, 1)
        return [full_resolution(records, j, self.buckets_kept) for j in range(len(records.columns))]


@dataclass(eq=False)
class FullMinimization(Minimizer):
    """Collect nothing: one bucket an attribute.

    Source: Vertical Data Minimization (2023), Section 5, where only the majority class can be guessed.
    """

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        return [one_bucket(column) for column in records.columns]


@dataclass(eq=False)
class Uniform(Minimizer):
    """Cut each continuous attribute into k equal-width buckets, and spread categories over k buckets at random.

    Source: Vertical Data Minimization (2023), Section 5, Uniform.

    Args:
        k: buckets an attribute; a constant attribute has one, and there are never more buckets than categories.
    """

    k: int = 5

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        _at_least("k", self.k, 1)
        parts: list[Part] = []
        for column in records.columns:
            if column.continuous:
                inner = np.linspace(column.low, column.high, self.k + 1)[1:-1]
                ascending = column.high > column.low and bool((np.diff(inner) > 0).all())
                parts.append(Intervals(column, tuple(inner.tolist()) if ascending else ()))
            else:
                count = len(column.categories or ())
                even = np.arange(count) % min(self.k, count)
                parts.append(Groups(column, renumber(rng.permutation(even))))
        return parts


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise BadInput(f"{name} = {value}, but it should be at least {least}")
