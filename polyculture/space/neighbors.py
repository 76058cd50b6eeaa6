"""Nearest neighbours and close pairs, by faiss and in blocks: never an n x n matrix.

Distances are "cosine", 1 - cosine similarity in [0, 2] (a zero row is at 1 from everything), or "l2", Euclidean. They
are recomputed for the neighbours found, from differences, so that duplicates are at exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.space.kernels import as_matrix, squared_distances, tiles, unit_rows

Metric = Literal["cosine", "l2"]
QUERY_BLOCK = 8192
APPROXIMATE_FROM = 20_000


def nearest_neighbors(
    X: Any,
    k: int,
    *,
    queries: Any = None,
    metric: Metric = "cosine",
    exclude_self: bool | None = None,
    approximate: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of X nearest to each query, nearest first; equally near ones in order of index.

    Args:
        X: (n, d) rows that are searched.
        k: neighbours of each query, 1 to n (n - 1 when a row is not its own neighbour).
        queries: (m, d) rows; None asks for the neighbours of each row of X.
        metric: "cosine" or "l2".
        exclude_self: leave query i out of its own neighbours: row i itself, not the duplicates of row i. None does so
            when ``queries`` is None. With queries, query i is taken to be row i.
        approximate: search an inverted-file index (4 sqrt(n) cells, of which 1 in 16 is visited, at least 16) instead
            of every row: worth it for n above 200 000, at the price of missing some neighbours that lie across a
            cell's border. Below 20 000 rows the search is exact anyway.

    Returns:
        (m, k) float32 distances and (m, k) int64 indices into X.

    Raises:
        BadInput: k is out of range, widths differ, or a value is NaN or infinite.
        UnknownMethod: no such metric.
    """
    A = _prepared(X, metric)
    B = A if queries is None else _prepared(queries, metric, "queries")
    exclude = queries is None if exclude_self is None else exclude_self
    n, available = len(A), len(A) - bool(exclude)
    if A.shape[1] != B.shape[1]:
        raise BadInput(f"X has {A.shape[1]} columns and queries have {B.shape[1]}; they should be of one space")
    if not 1 <= k <= available:
        raise BadInput(f"k = {k} neighbours, but each query has between 1 and {available} to choose from")
    if exclude and len(B) > n:
        raise BadInput(f"exclude_self takes query i for row i, but there are {len(B)} queries and {n} rows")
    if metric == "l2":
        # Moving the origin changes no distance, and faiss's ||x||^2 + ||y||^2 - 2<x, y> then keeps its digits.
        middle = A.mean(axis=0)
        B = A - middle if B is A else B - middle
        A = B if queries is None else A - middle
    A, B = (np.ascontiguousarray(M, dtype=np.float32) for M in (A, B))
    index = _index(A, metric, approximate)
    distances = np.empty((len(B), k), dtype=np.float32)
    indices = np.empty((len(B), k), dtype=np.int64)
    for start in range(0, len(B), QUERY_BLOCK):
        rows = slice(start, min(start + QUERY_BLOCK, len(B)))
        found = _search(index, A, B[rows], k + bool(exclude))
        if exclude:
            found = _without(found, np.arange(rows.start, rows.stop))
        near = _exact(A, B[rows], found, metric)
        order = np.lexsort((found, near), axis=1)
        distances[rows] = np.take_along_axis(near, order, axis=1)
        indices[rows] = np.take_along_axis(found, order, axis=1)
    return distances, indices


def pairs_above(
    X: Any, threshold: float, *, block: int = 2048, max_pairs: int = 50_000_000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of rows whose cosine similarity is at least ``threshold``.

    Args:
        X: (n, d) rows.
        threshold: cosine similarity, inclusive.
        block: rows of a tile; memory is one (block, block) tile and the pairs.
        max_pairs: stop with an error above this many pairs, before memory runs out.

    Returns:
        Rows i, rows j (int64, i < j, sorted) and their similarities (float32).

    Raises:
        BadInput: there are more than ``max_pairs`` pairs, or a value is NaN or infinite.
    """
    return _gather(_close(unit_rows(as_matrix(X)), threshold, None, block), max_pairs, "raise the threshold")


def pairs_within(
    X: Any, radius: float, *, block: int = 2048, max_pairs: int = 50_000_000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of rows at most ``radius`` apart in Euclidean distance; otherwise as :func:`pairs_above`."""
    return _gather(_close(as_matrix(X), None, radius, block), max_pairs, "lower the radius")


def _close(
    X: np.ndarray, threshold: float | None, radius: float | None, block: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for rows, columns in tiles(len(X), block):
        if threshold is not None:
            values = X[rows] @ X[columns].T
            # Rounding must not part a duplicate from its twin at a threshold of 1.
            hits = np.asarray(values >= threshold - 4 * np.finfo(X.dtype).eps)
        else:
            assert radius is not None
            values = np.sqrt(squared_distances(X[rows], None if rows == columns else X[columns]))
            hits = np.asarray(values <= radius)
        if rows == columns:
            hits &= np.triu(np.ones(hits.shape, dtype=bool), 1)
        i, j = np.nonzero(hits)
        yield i + rows.start, j + columns.start, values[i, j].astype(np.float32)


def _gather(
    parts: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]], max_pairs: int, remedy: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    held, count = [], 0
    for part in parts:
        count += len(part[0])
        if count > max_pairs:
            raise BadInput(f"more than {max_pairs:,} pairs are this close; {remedy}, or raise max_pairs")
        held.append(part)
    if not held:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    i, j, values = (np.concatenate([part[c] for part in held]) for c in range(3))
    order = np.lexsort((j, i))
    return i[order].astype(np.int64), j[order].astype(np.int64), values[order]


def _prepared(X: Any, metric: str, name: str = "X") -> np.ndarray:
    if metric not in ("cosine", "l2"):
        raise unknown("metric", metric, ("cosine", "l2"))
    X = as_matrix(X, name)
    return unit_rows(X) if metric == "cosine" else X


def _index(A: np.ndarray, metric: str, approximate: bool) -> Any:
    import faiss

    n, d = A.shape
    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    flat = faiss.IndexFlat(d, kind)
    if not approximate or n < APPROXIMATE_FROM:
        flat.add(A)
        return flat
    cells = int(4 * math.sqrt(n))
    index = faiss.IndexIVFFlat(flat, d, cells, kind)
    index.cp.max_points_per_centroid = 64
    index.train(A)
    index.nprobe = max(16, cells // 16)
    index.add(A)
    return index


def _search(index: Any, A: np.ndarray, B: np.ndarray, k: int) -> np.ndarray:
    _, found = index.search(B, k)
    if (found < 0).any():  # an inverted file came short of k
        import faiss

        exact = faiss.IndexFlat(A.shape[1], index.metric_type)
        exact.add(A)
        short = np.flatnonzero((found < 0).any(axis=1))
        found[short] = exact.search(B[short], k)[1]
    return found


def _without(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Take each query's own row out of its k + 1 neighbours; where duplicates crowded it out, drop the farthest."""
    drop = found == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    return found[~drop].reshape(len(found), -1)


def _exact(A: np.ndarray, B: np.ndarray, found: np.ndarray, metric: str) -> np.ndarray:
    near = np.empty(found.shape, dtype=np.float32)
    step = max(1, 4_000_000 // max(1, found.shape[1] * A.shape[1]))
    for start in range(0, len(B), step):
        part = slice(start, start + step)
        difference = A[found[part]] - B[part, None, :]
        near[part] = np.einsum("qkd,qkd->qk", difference, difference)
    if metric == "l2":
        return np.sqrt(near, out=near)
    near /= 2  # ||u - v||^2 / 2 = 1 - <u, v> for unit rows
    zero_a, zero_b = ~np.any(A != 0, axis=1), ~np.any(B != 0, axis=1)
    if zero_a.any() or zero_b.any():
        near[np.take(zero_a, found) | zero_b[:, np.newaxis]] = 1.0
    return near
