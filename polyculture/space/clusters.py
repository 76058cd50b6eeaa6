"""Clusters of a space: k-means by faiss, and how many clusters by silhouette."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.space.kernels import as_matrix

ASSIGN_BLOCK = 65_536


@dataclass(frozen=True)
class Clusters:
    """A partition of n rows.

    Args:
        labels: (n,) int64, the cluster of each row, 0 to k - 1; no cluster is empty.
        centroids: (k, d) float32, the mean of each cluster.
        inertia: sum of squared distances of the rows to their centroids.
    """

    labels: np.ndarray
    centroids: np.ndarray
    inertia: float

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centroids)

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each cluster, (k,) int64."""
        return np.bincount(self.labels, minlength=self.k)

    def distances(self, X: Any) -> np.ndarray:
        """Squared distance of each row of ``X`` to its own centroid, (n,) float64."""
        X = as_matrix(X)
        near = np.empty(len(X))
        for start in range(0, len(X), ASSIGN_BLOCK):
            part = slice(start, start + ASSIGN_BLOCK)
            difference = X[part] - self.centroids[self.labels[part]]
            near[part] = np.einsum("nd,nd->n", difference, difference)
        return near


def kmeans(
    X: Any,
    k: int,
    *,
    rng: np.random.Generator | int | None = None,
    n_init: int = 5,
    max_iter: int = 300,
    max_rows_per_cluster: int | None = 256,
) -> Clusters:
    """k-means with Euclidean distances, the best of ``n_init`` starts.

    A cluster that ends up empty is restarted at the row farthest from its centroid. Where the rows have fewer than k
    distinct values, there are as many clusters as distinct values: fewer than k.

    Args:
        X: (n, d) rows.
        k: number of clusters, 1 to n.
        rng: a Generator, or a seed for one; None draws a fresh seed.
        n_init: random starts.
        max_iter: iterations of one start at most; it ends earlier when nothing moves.
        max_rows_per_cluster: centroids are learned from a random sample of at most this many rows a cluster, then
            every row is assigned; None learns from every row.

    Raises:
        BadInput: k, ``n_init`` or ``max_iter`` is out of range, or a value is NaN or infinite.
    """
    A = np.ascontiguousarray(as_matrix(X), dtype=np.float32)
    n, d = A.shape
    if not 1 <= k <= n:
        raise BadInput(f"k = {k} clusters, but it should be between 1 and the {n} rows")
    if n_init < 1 or max_iter < 1:
        raise BadInput(f"n_init and max_iter should be 1 or more, not {n_init} and {max_iter}")
    generator = np.random.default_rng(rng)
    seed = int(generator.integers(2**31 - 1))
    if d == 0:
        return Clusters(np.zeros(n, np.int64), np.zeros((1, 0), np.float32), 0.0)
    # faiss expands ||x - c||^2, which loses digits far from the origin.
    centre = A.mean(axis=0, dtype=np.float64).astype(np.float32)
    A = A - centre
    centroids = A.copy() if k == n else _learn(A, k, n_init, max_iter, max_rows_per_cluster, seed)
    labels, centroids = _fill_empty(A, centroids)
    found = Clusters(labels, _means(A, labels, len(centroids)), 0.0)
    return Clusters(labels, found.centroids + centre, float(found.distances(A).sum()))


def silhouette(
    X: Any, labels: np.ndarray, *, rng: np.random.Generator | int | None = None, sample: int = 2000
) -> float:
    """Mean silhouette (Euclidean) of a partition, in [-1, 1]; above ``sample`` rows, of a random sample that size.

    A row alone in its cluster counts 0, and one cluster only, or none larger than one row, scores -1: no partition
    worth the name.
    """
    from sklearn.metrics import silhouette_score

    A = as_matrix(X)
    if len(A) > sample:
        rows = np.sort(np.random.default_rng(rng).choice(len(A), sample, replace=False))
        A, labels = A[rows], labels[rows]
    if not 2 <= len(np.unique(labels)) <= len(A) - 1:
        return -1.0
    return float(silhouette_score(A, labels))


def choose_k(
    X: Any,
    grid: Sequence[int] | None = None,
    *,
    rng: np.random.Generator | int | None = None,
    sample: int = 2000,
) -> tuple[int, Mapping[int, float]]:
    """The number of clusters with the highest silhouette, and the silhouette of each that was tried.

    The silhouette is that of one random sample of ``sample`` rows, the same for every k. Ties go to the smaller k.

    Args:
        X: (n, d) rows.
        grid: numbers to try; None tries powers of two from 4 up to the smaller of n / 8 and ``sample`` / 8, where a
            sampled cluster still has several rows.
        rng: a Generator, or a seed for one.
        sample: rows the silhouette is computed on.

    Returns:
        The best k, and {k: silhouette}. With fewer than 3 rows, k is 1 and nothing is tried.

    Raises:
        BadInput: the grid is empty or has a number outside 1 to n.
    """
    A = as_matrix(X)
    n = len(A)
    if n < 3:
        return 1, {}
    if grid is None:
        top = max(2, min(n, sample) // 8)
        grid = [2**power for power in range(2, 14) if 2**power < top] + [top]
    if not grid:
        raise BadInput("the grid of numbers of clusters is empty")
    generator = np.random.default_rng(rng)
    seed = int(generator.integers(2**31 - 1))
    scores = {}
    for k in sorted(set(grid)):
        scores[k] = silhouette(A, kmeans(A, k, rng=seed, n_init=1, max_iter=50).labels, rng=seed, sample=sample)
    return max(scores, key=lambda k: (scores[k], -k)), scores


def _learn(A: np.ndarray, k: int, n_init: int, max_iter: int, rows: int | None, seed: int) -> np.ndarray:
    import faiss

    trained = faiss.Kmeans(
        A.shape[1],
        k,
        niter=max_iter,
        nredo=n_init,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(A) if rows is None else rows,
    )
    trained.train(A)
    return np.asarray(trained.centroids)


def _fill_empty(A: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign rows, moving empty centroids to the farthest rows until none is empty or no row is away from its own."""
    k = len(centroids)
    for _ in range(20):
        labels, distances = _assign(A, centroids)
        empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
        if not len(empty):
            break
        # Equal rows would fill several clusters with one value, so each restart takes another value.
        order = np.argsort(-distances, kind="stable")[: 50 * len(empty)]
        scale = max(float(np.abs(A).max()) ** 2, float(np.finfo(np.float32).tiny))
        away = order[distances[order] > 1e-10 * scale]
        _, first = np.unique(A[away], axis=0, return_index=True)
        fresh = away[np.sort(first)][: len(empty)]
        if not len(fresh):
            break
        centroids = centroids.copy()
        centroids[empty[: len(fresh)]] = A[fresh]
    used, labels = np.unique(labels, return_inverse=True)
    return labels.reshape(-1).astype(np.int64), centroids[used]


def _assign(A: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    index = faiss.IndexFlatL2(A.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    distances, labels = index.search(A, 1)
    return labels[:, 0], distances[:, 0]


def _means(A: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(k))
    sums = np.add.reduceat(A[order], starts, axis=0, dtype=np.float64)
    return (sums / np.bincount(labels, minlength=k)[:, None]).astype(np.float32)
