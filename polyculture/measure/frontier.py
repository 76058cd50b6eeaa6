"""Quality against diversity at every budget: what the first k of an order of choice are worth, for k from 1 to n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.spectrum import EXACT_ROWS, Gram
from polyculture.measure.vendi import order as vendi_order
from polyculture.measure.vendi import vendi_of_eigenvalues, vendi_score
from polyculture.progress import Progress, silent
from polyculture.space.kernels import as_matrix, median_gamma


@dataclass(frozen=True)
class Frontier:
    """What the first k chosen are worth.

    Args:
        budgets: (b,) numbers of items k, ascending.
        quality: (b,) mean quality of the first k.
        diversity: (b,) Vendi score of the first k.
        hypervolume: area dominated by these points, in units of quality times items.
        reference: the worst quality and diversity, from which the area is measured.
    """

    budgets: np.ndarray
    quality: np.ndarray
    diversity: np.ndarray
    hypervolume: float
    reference: tuple[float, float]


def frontier(
    X: Any,
    quality: Any,
    *,
    budgets: Sequence[int] | None = None,
    order: Any = None,
    q: float | str = 1.0,
    kernel: str = "cosine",
    gamma: float | None = None,
    reference: tuple[float, float] | None = None,
    max_rows: int = EXACT_ROWS,
    progress: Progress = silent,
) -> Frontier:
    """The quality-diversity curve of an order of choice, and the hypervolume under it.

    With the cosine kernel the curve costs one pass over the rows and a d x d spectrum a budget, whatever n.

    Args:
        X: (n, d) embeddings.
        quality: (n,) scores, higher is better.
        budgets: numbers of items, 1 to the length of the order; None takes about 20, evenly spaced in log k.
        order: rows in order of choice, without repeats, such as a selector's answer; None is best quality first.
        q: the order of the Vendi score.
        kernel: of the Vendi score; cosine, or rbf or laplacian for up to max_rows items.
        gamma: of rbf and laplacian; None is set from the whole of X.
        reference: quality and diversity that are worth nothing; None is the pool's worst quality and 1, one item's.
        max_rows: largest set for which an n x n kernel is made.
        progress: called after each budget.

    Raises:
        BadInput: no items, NaN, lengths that differ, an order with repeats, or a budget out of range.

    Source: the frontier of mean quality and Vendi score (2022) over budgets; hypervolume as in multi-objective
    optimisation (Zitzler & Thiele, 1998).

    >>> frontier([[1.0, 0.0], [0.0, 1.0]], [2.0, 1.0]).diversity.tolist()
    [1.0, 2.0]
    """
    X = as_matrix(X)
    n = len(X)
    scores = np.asarray(quality, dtype=np.float64)
    if n == 0:
        raise BadInput("there are no items: a frontier of nothing is undefined")
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise BadInput(f"quality should be {n} finite numbers, one a row of X; it has shape {scores.shape}")
    vendi_order(q)
    chosen = np.argsort(-scores, kind="stable") if order is None else _rows(order, n)
    ks = _budgets(budgets, len(chosen))
    qualities = np.cumsum(scores[chosen])[ks - 1] / ks
    diversities = np.empty(len(ks))
    if kernel in ("rbf", "laplacian") and gamma is None:
        gamma = median_gamma(X, metric="l2" if kernel == "rbf" else "l1")
    gram, start = Gram(), 0
    for i, k in enumerate(ks):
        if kernel == "cosine":
            for block in range(start, k, 4096):
                gram.add(X[chosen[block : min(block + 4096, k)]])
            start = int(k)
            diversities[i] = vendi_of_eigenvalues(gram.eigenvalues(), q)
        else:
            diversities[i] = vendi_score(X[chosen[:k]], q, kernel=kernel, gamma=gamma, max_rows=max_rows)
        progress("frontier", i + 1, len(ks))
    worst = (float(scores.min()), 1.0) if reference is None else (float(reference[0]), float(reference[1]))
    return Frontier(ks, qualities, diversities, hypervolume(qualities, diversities, worst), worst)


def hypervolume(quality: Any, diversity: Any, reference: tuple[float, float]) -> float:
    """The area that a set of points dominates, from a reference point that is worse than all that should count.

    Args:
        quality: (b,) first coordinates, higher is better.
        diversity: (b,) second coordinates, higher is better.
        reference: the point from which area is counted.

    >>> hypervolume([2.0, 1.0], [1.0, 2.0], (0.0, 0.0))
    3.0
    """
    points = np.stack([np.asarray(quality, dtype=np.float64), np.asarray(diversity, dtype=np.float64)], axis=1)
    points = np.maximum(points - np.asarray(reference), 0.0)
    points = points[np.argsort(-points[:, 0], kind="stable")]
    # From the best quality down, each point adds the strip between its diversity and the best so far.
    reached = np.maximum.accumulate(points[:, 1])
    gains = np.diff(reached, prepend=0.0)
    return float(np.sum(points[:, 0] * gains))


def _rows(order: Any, n: int) -> np.ndarray:
    rows = np.asarray(order)
    if rows.ndim != 1 or rows.size == 0 or not np.issubdtype(rows.dtype, np.integer):
        raise BadInput("order should be a list of row numbers, in order of choice")
    if rows.min() < 0 or rows.max() >= n or len(np.unique(rows)) < len(rows):
        raise BadInput(f"order should hold rows from 0 to {n - 1} without repeats")
    return rows.astype(np.int64)


def _budgets(budgets: Sequence[int] | None, n: int) -> np.ndarray:
    if budgets is None:
        return np.unique(np.round(np.geomspace(1, n, 20)).astype(np.int64))
    ks = np.unique(np.asarray(list(budgets), dtype=np.int64))
    if ks.size == 0 or ks[0] < 1 or ks[-1] > n:
        raise BadInput(f"budgets should be between 1 and the {n} items of the order")
    return ks
