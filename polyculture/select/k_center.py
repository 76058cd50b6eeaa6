"""k-center: always the row farthest from those already chosen.

Gonzalez, Clustering to minimize the maximum intercluster distance (1985); as core-set selection in Sener and Savarese,
Active Learning for Convolutional Neural Networks (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.space.kernels import as_matrix, unit_rows


@dataclass(eq=False)
class KCenter(Selector):
    """Greedy farthest-point selection: covers the pool within twice the smallest possible radius, in O(n k d).

    It starts at the row nearest the mean, then adds the row whose nearest chosen row is farthest; ties go to the first
    row. It seeks outliers by design: on a pool with junk it chooses the junk. Source: Gonzalez (1985), Section 2.

    Args:
        metric: "l2" for Euclidean distances, "cosine" for those between rows of unit length.
    """

    metric: Literal["l2", "cosine"] = "l2"

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        X = unit_rows(pool.X) if self.metric == "cosine" else as_matrix(pool.X)
        X = np.ascontiguousarray(X - X.mean(axis=0, dtype=np.float64).astype(X.dtype), dtype=np.float32)
        lengths = np.einsum("nd,nd->n", X, X)
        chosen = np.empty(k, dtype=np.int64)
        chosen[0] = np.argmin(lengths)  # the origin is the mean now
        nearest = np.full(len(X), np.inf, dtype=np.float32)
        for step in range(1, k):
            last = chosen[step - 1]
            distances = lengths + lengths[last] - 2 * (X @ X[last])
            np.minimum(nearest, np.maximum(distances, 0), out=nearest)
            nearest[last] = -1  # never again, even where every distance is 0
            chosen[step] = np.argmax(nearest)
        return chosen
