"""kMQ: k-means clusters share the budget, and inside a cluster quality draws.

Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement (2024), Sections 2.2 and 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.pool import Pool
from polyculture.select.allocation import draw_within, largest_remainder
from polyculture.select.base import Selector
from polyculture.space.clusters import Clusters, choose_k, kmeans

QualityAs = Literal["proportional", "softmax"]
Shares = Literal["size", "equal"]


@dataclass(eq=False)
class KMQ(Selector):
    """Each cluster gets a share of the budget (Eq 2); inside, rows are drawn in proportion to quality (Eq 3).

    Draws are without replacement, unlike Eq 3: a row chosen twice teaches nothing new. Source: Diversify and Conquer
    (2024), Section 2.2.

    Args:
        n_clusters: number of clusters; "auto" takes the one of highest silhouette among powers of two from 4 to 250 or
            n / 8 (on at most 2 000 rows).
        shares: budget of a cluster: by its "size" (the paper), or "equal" (the released code).
        quality_as: draw in proportion to quality ("proportional"; needs quality of 0 or more) or to exp(quality)
            ("softmax"; any quality).
        n_init: starts of k-means.
        max_iter: iterations of k-means at most.
    """

    n_clusters: int | Literal["auto"] = "auto"
    shares: Shares = "size"
    quality_as: QualityAs = "proportional"
    n_init: int = 5
    max_iter: int = 300
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "quality")

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        weights = draw_weights(pool.q, self.quality_as)
        found = find_clusters(pool, self.n_clusters, self.n_init, self.max_iter, rng)
        rows = draw_within(found.labels, cluster_budgets(found, k, self.shares), weights, rng)
        return rng.permutation(rows)


@dataclass(eq=False)
class KMRandom(Selector):
    """kMQ without quality: each cluster gets a share of the budget, and inside rows are drawn uniformly.

    Source: Diversify and Conquer (2024), Section 2.3, kM-random.

    Args:
        n_clusters: number of clusters; "auto" takes the one of highest silhouette.
        shares: budget of a cluster: by its "size" (the paper), or "equal" (the released code).
        n_init: starts of k-means.
        max_iter: iterations of k-means at most.
    """

    n_clusters: int | Literal["auto"] = "auto"
    shares: Shares = "size"
    n_init: int = 5
    max_iter: int = 300

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        found = find_clusters(pool, self.n_clusters, self.n_init, self.max_iter, rng)
        rows = draw_within(found.labels, cluster_budgets(found, k, self.shares), None, rng)
        return rng.permutation(rows)


@dataclass(eq=False)
class KMClosest(Selector):
    """Each cluster gets a share of the budget, and gives the rows nearest its centroid.

    Ties go to the first row; rows come in order of distance to their centroid. Source: Diversify and Conquer (2024),
    Section 2.3, kM-closest.

    Args:
        n_clusters: number of clusters; "auto" takes the one of highest silhouette.
        shares: budget of a cluster: by its "size" (the paper), or "equal" (the released code).
        n_init: starts of k-means.
        max_iter: iterations of k-means at most.
    """

    n_clusters: int | Literal["auto"] = "auto"
    shares: Shares = "size"
    n_init: int = 5
    max_iter: int = 300

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        found = find_clusters(pool, self.n_clusters, self.n_init, self.max_iter, rng)
        distances = found.distances(pool.X)
        quota = cluster_budgets(found, k, self.shares)
        order = np.lexsort((distances, found.labels))
        place = np.arange(len(order)) - np.searchsorted(found.labels[order], np.arange(found.k))[found.labels[order]]
        rows = order[place < quota[found.labels[order]]]
        return rows[np.argsort(distances[rows], kind="stable")]


def find_clusters(
    pool: Pool, n_clusters: int | Literal["auto"], n_init: int, max_iter: int, rng: np.random.Generator
) -> Clusters:
    """The pool's k-means clusters; more clusters than rows are as many as rows.

    Raises:
        BadInput: ``n_clusters`` is below 1.
    """
    seed = int(rng.integers(2**31 - 1))  # the draws that follow do not depend on how clusters were found
    if n_clusters == "auto":
        n_clusters = choose_k(pool.X, rng=seed)[0]
    if n_clusters < 1:
        raise BadInput(f"n_clusters should be 1 or more, or 'auto', not {n_clusters}")
    return kmeans(pool.X, min(n_clusters, len(pool)), rng=seed, n_init=n_init, max_iter=max_iter)


def cluster_budgets(clusters: Clusters, k: int, shares: Shares) -> np.ndarray:
    """How many of k rows each cluster gives, by its size or equally; what a small one can't give, the others do."""
    if shares not in ("size", "equal"):
        raise unknown("way to share the budget", shares, ("size", "equal"))
    sizes = clusters.sizes
    return largest_remainder(sizes if shares == "size" else np.ones(clusters.k), k, sizes)


def draw_weights(quality: np.ndarray, quality_as: QualityAs) -> np.ndarray:
    """Quality as weights to draw by, (n,) 0 or more.

    Raises:
        BadInput: a quality is negative and weights are proportional to it.
    """
    if quality_as == "softmax":
        return np.exp(quality - quality.max(initial=-np.inf))
    if quality_as != "proportional":
        raise unknown("way to draw by quality", quality_as, ("proportional", "softmax"))
    if quality.min(initial=0.0) < 0:
        raise BadInput(
            f"kmq draws in proportion to quality, but row {int(quality.argmin())} has {quality.min():g}; "
            "shift it to 0 or more, or set quality_as to softmax"
        )
    return quality
