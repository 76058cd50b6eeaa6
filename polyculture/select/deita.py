"""Deita: the best rows first, skipping those too near one already kept.

What Makes Good Data for Alignment? A Comprehensive Study of Automatic Data Selection in Instruction Tuning (2023),
Section 4.2; the form with squared L2 distances of Diversify and Conquer (2024), baselines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.space.kernels import as_matrix, unit_rows

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
        return best_apart(pool.X, pool.q, k, threshold=self.threshold, normalize=self.normalize)


def best_apart(X: Any, quality: Any, k: int, *, threshold: float = 0.9, normalize: bool = True) -> np.ndarray:
    """Scan rows by descending quality and keep those far enough from every one kept, until k are kept.

    Args:
        X: (n, d) embeddings; none may be there.
        quality: (n,) higher is better; equal ones are scanned in row order.
        k: how many at most, 0 or more.
        threshold: smallest squared Euclidean distance to the nearest kept row, inclusive.
        normalize: whether rows are brought to unit length first.

    Returns:
        (m,) int64 rows in order of choice, m at most k.

    Raises:
        BadInput: the threshold or k is negative, lengths differ, or a value is NaN or infinite.
    """
    if not threshold >= 0 or k < 0:
        raise BadInput(f"threshold is a squared distance and k a count; both should be 0 or more, not {threshold}, {k}")
    q = np.asarray(quality, dtype=np.float64)
    if not k or not len(q):
        return np.zeros(0, dtype=np.int64)
    A = as_matrix(X)
    if q.shape != (len(A),) or np.isnan(q).any():
        raise BadInput(f"quality should be {len(A)} numbers, one a row")
    order = np.argsort(-q, kind="stable")
    kept: list[int] = []
    held = np.empty((min(k, len(A)), A.shape[1]))
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        block = np.asarray(A[rows], dtype=np.float64)
        if normalize:
            block = unit_rows(block)
        admissible = _far(block, held[: len(kept)], threshold)
        while admissible.any():
            first = int(np.argmax(admissible))
            held[len(kept)] = block[first]
            kept.append(int(rows[first]))
            if len(kept) == len(held):
                return np.array(kept)
            admissible[: first + 1] = False
            later = np.flatnonzero(admissible)
            admissible[later] = _squared(block[later], block[first]) >= threshold
    return np.array(kept)


def _far(block: np.ndarray, held: np.ndarray, threshold: float) -> np.ndarray:
    """Which rows of a block are at least the threshold from every kept row, (b,) bool."""
    if not len(held) or threshold == 0:
        return np.ones(len(block), dtype=bool)
    lengths = np.einsum("nd,nd->n", block, block)[:, None] + np.einsum("nd,nd->n", held, held)
    distances = lengths - 2 * block @ held.T
    # The product loses digits that decide at the threshold: there, take differences.
    close = np.abs(distances - threshold) <= 1e-10 * (1 + lengths)
    i, j = np.nonzero(close)
    for start in range(0, len(i), 16_384):
        part = slice(start, start + 16_384)
        distances[i[part], j[part]] = _squared(block[i[part]], held[j[part]])
    return distances.min(axis=1) >= threshold


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum((a - b) ** 2, axis=-1)
