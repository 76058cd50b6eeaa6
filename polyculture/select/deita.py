"""Deita: the best rows first, skipping those too near one already kept.

What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data Selection in Instruction Tuning (2023),
Section 4.2; the form with squared L2 distances of Diversify and Conquer (2024), baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.space.kernels import unit_rows

BLOCK = 512


@dataclass(eq=False)
class Deita(Selector):
    """Scan by descending quality and keep a row if the nearest kept one is far enough, until k are kept.

    Fewer than k come back when the pool has no more rows that far apart. Equal qualities are scanned in row order.
    Source: Diversify and Conquer (2024), baselines; Deita (2023), Section 4.2.

    Args:
        threshold: smallest squared Euclidean distance to the nearest kept row, inclusive; for rows of unit length
            2 - 2 cosine, so 0.9 is a cosine similarity of 0.55.
        normalize: whether rows are brought to unit length first.
    """

    threshold: float = 0.9
    normalize: bool = True
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "quality")
    may_return_fewer: ClassVar[bool] = True

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if not self.threshold >= 0:
            raise BadInput(f"threshold is a squared distance and should be 0 or more, not {self.threshold}")
        order = np.argsort(-pool.q, kind="stable")
        kept: list[int] = []
        held = np.empty((k, pool.X.shape[1]))
        for start in range(0, len(order), BLOCK):
            rows = order[start : start + BLOCK]
            block = np.asarray(pool.X[rows], dtype=np.float64)
            if self.normalize:
                block = unit_rows(block)
            admissible = self._far(block, held[: len(kept)])
            while admissible.any():
                first = int(np.argmax(admissible))
                held[len(kept)] = block[first]
                kept.append(int(rows[first]))
                if len(kept) == k:
                    return np.array(kept)
                admissible[: first + 1] = False
                later = np.flatnonzero(admissible)
                admissible[later] = _squared(block[later], block[first]) >= self.threshold
        return np.array(kept)

    def _far(self, block: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Which rows of a block are at least the threshold from every kept row, (b,) bool."""
        if not len(held) or self.threshold == 0:
            return np.ones(len(block), dtype=bool)
        lengths = np.einsum("nd,nd->n", block, block)[:, None] + np.einsum("nd,nd->n", held, held)
        distances = lengths - 2 * block @ held.T
        # The product loses digits that decide at the threshold: there, take differences.
        close = np.abs(distances - self.threshold) <= 1e-10 * (1 + lengths)
        i, j = np.nonzero(close)
        for start in range(0, len(i), 16_384):
            part = slice(start, start + 16_384)
            distances[i[part], j[part]] = _squared(block[i[part]], held[j[part]])
        return distances.min(axis=1) >= self.threshold


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum((a - b) ** 2, axis=-1)
