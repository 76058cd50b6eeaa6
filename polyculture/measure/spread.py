"""How far apart embeddings lie: pairwise, nearest-neighbour and clique distances, without an n x n matrix.

Cosine distance is 1 - cosine similarity, in [0, 2]; a zero row is at 1 from everything. All is computed in float64.

Sources: "Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models"
(2024), and the papers that a function names.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.measure.undefined import undefined
from polyculture.space.kernels import as_matrix, squared_distances, tiles, unit_rows
from polyculture.space.neighbors import nearest_neighbors

Metric = Literal["cosine", "euclidean"]
SPARE = 8
"""Neighbours looked at beyond the k asked for, so that rounding in the float32 search can't pass over a nearer one."""


def mean_pairwise_distance(X: Any, *, metric: Metric = "cosine") -> float:
    """Mean distance over pairs i < j; higher is more diverse. Cosine takes O(n d), Euclidean O(n^2 d) in blocks.

    Args:
        X: (n, d) embeddings; with one row it is NaN, with a warning.
        metric: "cosine" or "euclidean".

    Raises:
        BadInput: there is no row, or a value is NaN or infinite.
        UnknownMethod: no such metric.
    """
    X = _rows(X, "mean_pairwise_distance")
    _known(metric)
    if len(X) < 2:
        return undefined("mean_pairwise_distance", "it needs at least two rows")
    return _mean_cosine_distance(X) if metric == "cosine" else _mean_euclidean_distance(X)


def nearest_distances(X: Any, k: int, *, metric: Metric = "euclidean") -> np.ndarray:
    """Distances of each row to its k nearest other rows, (n, k), nearest first.

    Args:
        X: (n, d) embeddings.
        k: neighbours, 1 to n - 1.
        metric: "cosine" or "euclidean".

    Raises:
        BadInput: k is out of range, or a value is NaN or infinite.
        UnknownMethod: no such metric.
    """
    X = _rows(X, "nearest_distances")
    _known(metric)
    if not 1 <= k < len(X):
        raise BadInput(f"k = {k} neighbours, but each row has {len(X) - 1} others")
    if metric == "euclidean":
        return _nearest(X, k)
    # Unit rows: cosine distance is half the squared Euclidean one, but for zero rows, which are at 1 from everything.
    U = unit_rows(X)
    full = U.any(axis=1)
    found = np.ones((len(X), k))
    others = min(k, int(full.sum()) - 1)
    if others > 0:
        near = np.full((int(full.sum()), k), np.inf)
        near[:, :others] = _nearest(U[full], others) ** 2 / 2
        zeros = np.ones((len(near), min(k, int((~full).sum()))))
        found[full] = np.sort(np.hstack([near, zeros]), axis=1)[:, :k]
    return found


def mean_nn_distance(X: Any, *, metric: Metric = "euclidean") -> float:
    """Mean distance to the nearest other row; higher is more diverse, 0 where everything has a duplicate.

    Args:
        X: (n, d) embeddings; with one row it is NaN, with a warning.
        metric: "cosine" or "euclidean".
    """
    X = _rows(X, "mean_nn_distance")
    if len(X) < 2:
        return undefined("mean_nn_distance", "it needs at least two rows")
    return float(np.mean(nearest_distances(X, 1, metric=metric)))


def novelty(X: Any, *, k: int = 3, metric: Metric = "euclidean") -> np.ndarray:
    """For each row the mean distance to its k nearest others, (n,); to all the others where there are fewer than k.

    Args:
        X: (n, d) embeddings; one row has novelty NaN, with a warning.
        k: neighbours, at least 1.
        metric: "cosine" or "euclidean".

    Raises:
        BadInput: k is below 1, there is no row, or a value is NaN or infinite.
    """
    X = _rows(X, "novelty")
    if k < 1:
        raise BadInput(f"novelty needs k of at least 1, not {k}")
    if len(X) < 2:
        return np.array([undefined("novelty", "it needs at least two rows")])
    return nearest_distances(X, min(k, len(X) - 1), metric=metric).mean(axis=1)


def mean_novelty(X: Any, *, k: int = 3, metric: Metric = "euclidean") -> float:
    """The mean over rows of :func:`novelty`; higher is more diverse.

    Args:
        X: (n, d) embeddings; with one row it is NaN, with a warning.
        k: neighbours, at least 1.
        metric: "cosine" or "euclidean".
    """
    return float(np.mean(novelty(X, k=k, metric=metric)))


def remote_clique(X: Any) -> float:
    """Mean over rows of the mean cosine distance to ALL rows, itself included: (n - 1) / n of the pairwise mean.

    "MetaSynth" (2025), after Rhys Cox et al., "Directed Diversity" (2021). 0, with a warning, for fewer than two rows.

    Args:
        X: (n, d) embeddings.
    """
    X = _any_rows(X)
    if len(X) < 2:
        return undefined("remote_clique", "it needs at least two rows", 0.0)
    return _mean_cosine_distance(X) * (len(X) - 1) / len(X)


def chamfer_distance(X: Any) -> float:
    """Mean over rows of the cosine distance to the nearest other row; 0, with a warning, for fewer than two rows.

    "MetaSynth" (2025), after Rhys Cox et al., "Directed Diversity" (2021).

    Args:
        X: (n, d) embeddings.
    """
    X = _any_rows(X)
    if len(X) < 2:
        return undefined("chamfer_distance", "it needs at least two rows", 0.0)
    return float(np.mean(nearest_distances(X, 1, metric="cosine")))


def diversity_coefficient(X: Any) -> float:
    """Mean cosine distance over pairs of embeddings of data BATCHES; 0, with a warning, for fewer than two rows.

    Lee et al., "Beyond Scale: the Diversity Coefficient as a Data Quality Metric" (2023), with Task2Vec embeddings (see
    :func:`task2vec_embedding`); any other embedding may be given.

    Args:
        X: (n, d) embeddings, one batch a row.
    """
    X = _any_rows(X)
    if len(X) < 2:
        return undefined("diversity_coefficient", "it needs at least two rows", 0.0)
    return _mean_cosine_distance(X)


def task2vec_embedding(hidden: Any, logits: Any, *, block: int = 256) -> np.ndarray:
    """A batch of text as the diagonal Fisher information of a language model's last layer, (d,).

    Task2Vec (Achille et al., 2019) for the layer logits = W h: the squared gradient of ln p(y) by W[v, i], in
    expectation over the model's own y ~ p, is p_v (1 - p_v) h_i^2, so nothing need be sampled. The mean over positions
    and v is given.

    Args:
        hidden: (N, d) last hidden states of N token positions.
        logits: (N, V) next-token logits there, after the last layer was fitted to the batch.
        block: positions at a time.

    Raises:
        BadInput: the two differ in N, or there is no position.
    """
    hidden, logits = as_matrix(hidden, "hidden"), as_matrix(logits, "logits")
    if len(hidden) != len(logits) or not len(hidden):
        raise BadInput(f"hidden has {len(hidden)} positions and logits {len(logits)}; give the same, at least one")
    total = np.zeros(hidden.shape[1])
    for start in range(0, len(hidden), block):
        z = logits[start : start + block].astype(np.float64)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        total += np.mean(p * (1 - p), axis=1) @ hidden[start : start + block].astype(np.float64) ** 2
    return total / len(hidden)


def _any_rows(X: Any) -> np.ndarray:
    # An empty list has no width to know: it is no rows.
    return np.zeros((0, 1)) if np.shape(X) == (0,) else as_matrix(X).astype(np.float64, copy=False)


def _rows(X: Any, measure: str) -> np.ndarray:
    X = _any_rows(X)
    if not len(X):
        raise BadInput(f"{measure} needs at least one row; X is empty")
    return X


def _known(metric: str) -> None:
    if metric not in ("cosine", "euclidean"):
        raise unknown("metric", metric, ("cosine", "euclidean"))


def _mean_cosine_distance(X: np.ndarray) -> float:
    # sum_{i != j} <u_i, u_j> = ||sum u||^2 - sum ||u||^2: the pairs need not be visited.
    U = unit_rows(X)
    pooled = U.sum(axis=0)
    similarities = float(pooled @ pooled - np.einsum("ij,ij->", U, U))
    return max(0.0, 1.0 - similarities / (len(X) * (len(X) - 1)))


def _mean_euclidean_distance(X: np.ndarray) -> float:
    total = 0.0
    for rows, columns in tiles(len(X), 2048):
        same = rows == columns
        distances = np.sqrt(squared_distances(X[rows], None if same else X[columns]))
        total += float(distances.sum()) / (2 if same else 1)
    return total / (len(X) * (len(X) - 1) / 2)


def _nearest(X: np.ndarray, k: int) -> np.ndarray:
    """Euclidean distances to the k nearest others: searched in float32 with some to spare, recomputed in float64."""
    X = X - X.mean(axis=0)
    _, found = nearest_neighbors(X, min(k + SPARE, len(X) - 1), metric="l2")
    near = np.empty(found.shape)
    step = max(1, 4_000_000 // max(1, found.shape[1] * X.shape[1]))
    for start in range(0, len(X), step):
        part = slice(start, start + step)
        difference = X[found[part]] - X[part, None, :]
        near[part] = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
    return np.sort(near, axis=1)[:, :k]
