"""The delete-a-group jackknife: how much a measure would move had other rows been drawn.

Kott, The Delete-a-Group Jackknife (2001). Rows are put into G random groups of nearly equal size, and the measure is
taken G times with one of them left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polyculture.measure.spectrum import Gram
from polyculture.measure.vendi import ORDERS, vendi_of_eigenvalues, vendi_scores

GROUPS = 20
WIDEST = 1024
"""Columns up to which 20 spectra of the d x d similarities are taken."""


def random_groups(n: int, groups: int, rng: np.random.Generator) -> np.ndarray:
    """Group codes of n rows, (n,) int64: sizes differ by one at most; with fewer rows than groups, a row is a group."""
    return rng.permutation(np.arange(n, dtype=np.int64) % min(n, groups))


def interval(value: float, left_out: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval around ``value`` from the G values with a group left out; NaN if one of them is.

    The variance is (G - 1) / G times the sum of squares around their mean, with Student's t at G - 1 degrees.

    >>> [round(end, 3) for end in interval(2.0, [2.5, 2.0, 1.5])]
    [-0.484, 4.484]
    """
    from scipy.stats import t

    parts = np.asarray(left_out, dtype=np.float64)
    G = len(parts)
    deviation = np.sqrt((G - 1) / G * np.sum((parts - parts.mean()) ** 2))
    half = float(t.ppf(0.975, G - 1) * deviation)
    return value - half, value + half


def vendi_left_out(
    name: str, X: np.ndarray, groups: np.ndarray, options: Mapping[str, Any]
) -> list[dict[str, float]] | None:
    """Vendi scores with each group left out, from one pass over the rows where the kernel is the cosine.

    Args:
        name: of the measure, which the keys start with: ``vendi`` has one value, any other one for each order.
        X: (n, d) embeddings.
        groups: (n,) group codes.
        options: of the measure.

    Returns:
        A mapping for each group, or None where it would take too long: weights, wide rows, or a large n x n kernel.
    """
    options = dict(options)
    orders = (options.pop("q", 1.0),) if name == "vendi" else tuple(options.pop("orders", ORDERS))
    eig_tol = options.get("eig_tol")
    keys = [name] if name == "vendi" else [f"{name}.{q}" for q in orders]
    n, d = X.shape
    if options.get("p") is not None:
        return None
    if options.get("kernel", "cosine") == "cosine" and d <= WIDEST and n > d:
        parts = [Gram() for _ in range(groups.max() + 1)]
        order = np.argsort(groups, kind="stable")
        for group, rows in enumerate(np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)):
            for start in range(0, len(rows), 4096):
                parts[group].add(X[np.sort(rows[start : start + 4096])])
        whole = Gram.sum(parts)
        return [
            dict(zip(keys, (vendi_of_eigenvalues(lam, q, eig_tol=eig_tol) for q in orders), strict=True))
            for lam in (whole.without(part).eigenvalues() for part in parts)
        ]
    if n > 1000:
        return None
    return [
        dict(zip(keys, vendi_scores(X[groups != group], orders, **options).values(), strict=True))
        for group in range(groups.max() + 1)
    ]
