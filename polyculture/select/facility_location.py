"""Facility location: choose the rows that represent the whole pool best.

Nemhauser, Wolsey and Fisher, An analysis of approximations for maximizing submodular set functions (1978); lazy
evaluation by Minoux (1978); sampled candidates by Mirzasoleiman et al., Lazier Than Lazy Greedy (2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.select.coverage import Columns, Similarities, Sparse, as_similarities, lazy_greedy
from polyculture.space.kernels import as_matrix, median_gamma, rbf_kernel, unit_rows
from polyculture.space.neighbors import nearest_neighbors

STORED = 12_000  # rows up to which the whole matrix is held: 0.6 GB


def facility_location(
    S: Any, k: int, *, modular: np.ndarray | None = None, floor: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Lazy greedy facility location on given similarities: ``sum_v max(floor, max_{a in S} s(v, a)) + sum_a m_a``.

    Args:
        S: (n, n) numpy array or scipy sparse matrix, entry (v, i) the similarity of row v to candidate i.
        k: how many, 1 to n.
        modular: (n,) what each row adds on its own, such as weighted quality; None is 0.
        floor: similarities below it count as it; 0 for a sparse matrix.

    Returns:
        (k,) int64 rows in order of choice, and (k,) the gain of each.

    Raises:
        BadInput: the matrix is not square, or k is out of range.
    """
    source = as_similarities(S)
    if not 1 <= k <= source.n:
        raise BadInput(f"k = {k}, but it should be between 1 and the {source.n} rows")
    return lazy_greedy(source, k, modular=modular, floor=floor)


@dataclass(eq=False)
class FacilityLocation(Selector):
    """Greedily maximises ``sum_v max_{a in S} max(0, s(v, a)) + quality_weight * sum_{a in S} q_a``.

    The greedy choice is within 1 - 1/e of the best set. Similarities below 0 count 0; gains equal to rounding are ties
    and go to the first row. Up to 12 000 rows every pair counts and the matrix is held. Above, each row counts only
    its 64 nearest rows (exactly found), so that memory is bounded; ``neighbors`` says otherwise.
    Source: Nemhauser et al. (1978), Section 4; Mirzasoleiman et al. (2015), Algorithm 1, for ``sample``.

    Args:
        quality_weight: what a unit of quality is worth in units of coverage (a row fully covered is 1); needs quality
            when it is not 0.
        similarity: "cosine", "dot", or "rbf" for exp(-gamma squared distance).
        gamma: of "rbf"; None takes 1 / the median squared distance.
        neighbors: nearest rows that each row counts, itself among them; 0 counts every pair whatever n, recomputing
            what it can't hold; None chooses by n. "dot" always counts every pair.
        sample: look at n / k * ln(1 / sample) random candidates a step instead of all, at a cost of at most this share
            of the guarantee; None looks at all.
        approximate: find the nearest rows by an inverted-file index, which misses a few percent of them; for pools
            above 200 000 rows.
    """

    quality_weight: float = 0.0
    similarity: Literal["cosine", "dot", "rbf"] = "cosine"
    gamma: float | None = None
    neighbors: int | None = None
    sample: float | None = None
    approximate: bool = False

    def required(self) -> tuple[str, ...]:
        """Embeddings, and quality where it has a weight."""
        return ("embeddings", "quality") if self.quality_weight else self.needs

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        modular = self.quality_weight * pool.q if self.quality_weight else None
        source = self._similarities(as_matrix(pool.X))
        return lazy_greedy(source, k, modular=modular, sample=self.sample, rng=rng)[0]

    def _similarities(self, X: np.ndarray) -> Similarities:
        if self.similarity not in ("cosine", "dot", "rbf"):
            raise unknown("similarity", self.similarity, ("cosine", "dot", "rbf"))
        if self.neighbors is not None and self.neighbors < 0:
            raise BadInput(f"neighbors should be 1 or more, or 0 for every pair, not {self.neighbors}")
        n = len(X)
        near = (0 if n <= STORED else 64) if self.neighbors is None else min(self.neighbors, n)
        X = X.astype(np.float64 if n <= 2000 else np.float32)
        if self.similarity == "cosine":
            X = unit_rows(X)
        gamma = 0.0
        if self.similarity == "rbf":
            gamma = median_gamma(X) if self.gamma is None else self.gamma
        if near and self.similarity != "dot":
            return nearest_similarities(X, near, gamma=gamma, approximate=self.approximate)

        def block(part: slice) -> np.ndarray:
            return rbf_kernel(X[part], gamma, X) if gamma else X[part] @ X.T

        if n <= STORED:
            S = block(slice(0, n))
            return Columns(lambda i: S[i], lambda part: S[part], n, X.dtype)
        return Columns(lambda i: block(slice(i, i + 1))[0], block, n, X.dtype)


def nearest_similarities(X: np.ndarray, k: int, *, gamma: float = 0.0, approximate: bool = False) -> Sparse:
    """Similarities of each row to its k nearest rows, itself among them: cosine, or rbf when gamma is not 0."""
    from scipy.sparse import csr_matrix

    n = len(X)
    owner = np.arange(n)
    values, columns = np.ones((n, 1), dtype=np.float32), owner[:, None]
    if k > 1:
        distances, found = nearest_neighbors(
            X, k - 1, metric="l2" if gamma else "cosine", exclude_self=True, approximate=approximate
        )
        near = np.exp(-gamma * distances**2) if gamma else 1 - distances
        values, columns = np.hstack([values, near]), np.hstack([columns, found])
    matrix = csr_matrix(
        (np.maximum(values, 0).ravel(), columns.ravel(), np.arange(0, columns.size + 1, columns.shape[1])), shape=(n, n)
    )
    return Sparse(matrix)
