"""DP-means: clusters of a given radius instead of a given number.

Kulis and Jordan, Revisiting k-means: New Algorithms via Bayesian Nonparametrics (2012), Algorithm 1, in the form that
Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (2023) released: the radius is
compared with the distance, though the objective adds it to squared distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.space.kernels import as_matrix


@dataclass(frozen=True)
class RadiusClusters:
    """A partition of n rows.

    Args:
        labels: (n,) int64, the cluster of each row in the last sweep.
        centroids: (k, d) float64, in the order the clusters were opened; one may have lost all its rows.
        objective: mean squared distance of the rows to their centroids, plus the radius times k.
    """

    labels: np.ndarray
    centroids: np.ndarray
    objective: float

    @property
    def k(self) -> int:
        """Number of clusters that were opened."""
        return len(self.centroids)

    def assign(self, X: Any) -> np.ndarray:
        """The nearest centroid of each row of ``X``, (m,) int64, the first on ties."""
        return _nearest(np.asarray(X, dtype=np.float64), self.centroids)[1]


def dp_means(
    X: Any,
    radius: float,
    *,
    first: int | None = None,
    max_iter: int = 10,
    tol: float = 1e-7,
    max_clusters: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> RadiusClusters:
    """Cluster rows so that a row further than ``radius`` from every centroid opens a cluster of its own.

    A sweep visits the rows in order: each joins the nearest centroid, or opens a cluster that the rows after it can
    join. After a sweep the centroids move to the means of their rows; it ends when the objective stands still. The
    answer depends on the order of the rows and on the first centroid.

    Args:
        X: (n, d) rows.
        radius: largest Euclidean distance to a centroid; at 0 only equal rows share a cluster.
        first: the row that the first centroid is; None draws one.
        max_iter: sweeps at most.
        tol: smallest change of the objective that goes on.
        max_clusters: open no more than this many; rows further off then join the nearest. None for no limit.
        rng: a Generator, or a seed for one; only an undrawn first centroid uses it.

    Raises:
        BadInput: there are no rows, a value is NaN or infinite, or an argument is out of range.
    """
    A = as_matrix(X).astype(np.float64, copy=False)
    n = len(A)
    if n == 0:
        raise BadInput("there are no rows to cluster")
    if not radius >= 0 or max_iter < 1 or (max_clusters is not None and max_clusters < 1):
        raise BadInput(f"radius should be 0 or more, max_iter and max_clusters 1 or more, not {radius}, {max_iter}")
    if first is not None and not 0 <= first < n:
        raise BadInput(f"the first centroid is row {first}, but rows go from 0 to {n - 1}")
    limit = n if max_clusters is None else max_clusters
    start = int(np.random.default_rng(rng).integers(n)) if first is None else first
    centroids = A[[start]].copy()
    before = 0.0
    for _ in range(max_iter):
        labels, near, centroids = _sweep(A, centroids, radius, limit)
        objective = float(np.mean(near**2) + radius * len(centroids))
        if abs(objective - before) < tol:
            break
        before = objective
        sizes = np.bincount(labels, minlength=len(centroids))
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, A)
        held = sizes > 0
        centroids[held] = sums[held] / sizes[held, None]
    return RadiusClusters(labels, centroids, objective)


def _sweep(
    A: np.ndarray, centroids: np.ndarray, radius: float, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One visit of all rows; rows are only looked at one by one where a cluster opens."""
    near, labels = _nearest(A, centroids)
    opened: list[np.ndarray] = []
    place = 0
    while len(centroids) + len(opened) < limit:
        far = np.flatnonzero(near[place:] > radius)
        if not len(far):
            break
        row = place + int(far[0])
        label = len(centroids) + len(opened)
        opened.append(A[row])
        near[row], labels[row] = 0.0, label
        place = row + 1
        distance = _distance(A[place:], A[row])
        closer = distance < near[place:]
        near[place:][closer] = distance[closer]
        labels[place:][closer] = label
    return labels, near, np.vstack([centroids, *opened])


def _nearest(A: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    near = np.full(len(A), np.inf)
    labels = np.zeros(len(A), dtype=np.int64)
    for label, centroid in enumerate(centroids):
        distance = _distance(A, centroid)
        closer = distance < near
        near[closer] = distance[closer]
        labels[closer] = label
    return near, labels


def _distance(A: np.ndarray, centroid: np.ndarray) -> np.ndarray:
    difference = A - centroid
    return np.sqrt(np.einsum("nd,nd->n", difference, difference))
