"""The two ends every selector is measured against: chance, and quality alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.pool import Pool
from polyculture.select.base import Selector


@dataclass(eq=False)
class Random(Selector):
    """k rows at random, each equally likely. Source: the baseline of every selection paper."""

    needs: ClassVar[tuple[str, ...]] = ()

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(len(pool), k, replace=False)


@dataclass(eq=False)
class TopQuality(Selector):
    """The k rows of highest quality, best first; equal ones in row order.

    Source: quality-only filtering, the baseline of Diversify and Conquer (2024).
    """

    needs: ClassVar[tuple[str, ...]] = ("quality",)

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        return np.argsort(-pool.q, kind="stable")[:k]
