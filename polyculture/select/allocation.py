"""Whole numbers out of shares: how many rows each part of a pool gets."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyculture.errors import BadInput


def largest_remainder(weights: Any, budget: int, capacity: Any = None) -> np.ndarray:
    """Split a budget in proportion to weights, to whole numbers that sum to it exactly.

    A part whose share is above its capacity is filled, and the rest split anew among the others, in the same
    proportions (evenly, once all parts of positive weight are full). Then each gets its share rounded down, and the
    units left go to the largest remainders, ties to the first.

    Args:
        weights: (m,) shares, 0 or more; they need not sum to 1. All zero counts as all equal.
        budget: units to give, 0 or more.
        capacity: (m,) most units a part can take; None for no limit.

    Returns:
        (m,) int64.

    Raises:
        BadInput: a weight is negative or not finite, or the capacity is below the budget.

    >>> largest_remainder([5, 3, 2], 4).tolist()
    [2, 1, 1]
    >>> largest_remainder([1, 1, 1], 9, capacity=[1, 10, 10]).tolist()
    [1, 4, 4]
    """
    shares = np.asarray(weights, dtype=np.float64)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any():
        raise BadInput("weights should be a vector of finite numbers, 0 or more")
    room = np.full(len(shares), budget) if capacity is None else np.asarray(capacity, dtype=np.int64)
    if budget < 0 or int(room.sum()) < budget:
        raise BadInput(f"a budget of {budget} does not fit parts that hold {int(room.sum())} in all")
    full = np.zeros(len(shares), dtype=bool)
    while True:
        rest = budget - int(room[full].sum())
        portion = np.where(full, 0.0, shares)
        if portion.sum() <= 0:
            portion = (~full).astype(np.float64)
        exact = rest * (portion / max(portion.sum(), 1e-300))
        over = ~full & (exact > room)
        if not over.any():
            break
        full |= over
    given = np.where(
        full, room, np.floor(exact + 1e-9 * np.maximum(exact, 1)).astype(np.int64)
    )  # whole but for rounding
    remainders = np.where(full | (given >= room), -1.0, np.round(exact - given, 12))
    given[np.argsort(-remainders, kind="stable")[: budget - int(given.sum())]] += 1
    return given


def quasi_uniform(counts: Any, budget: int) -> np.ndarray:
    """Split a budget near evenly over parts of limited size.

    Every open part gets floor(what is left / open parts), at most what it holds; a full part closes; it ends when that
    floor is 0 or no part is open, so fewer units than there are parts can stay unassigned.

    Args:
        counts: (m,) what each part holds.
        budget: units to give, 0 or more.

    Returns:
        (m,) int64.

    >>> quasi_uniform([5, 50, 100], 60).tolist()
    [5, 27, 27]
    """
    room = np.asarray(counts, dtype=np.int64)
    if budget < 0 or (room < 0).any():
        raise BadInput("the budget and every count should be 0 or more")
    given = np.zeros(len(room), dtype=np.int64)
    while (open_parts := given < room).any():
        each = (budget - int(given.sum())) // int(open_parts.sum())
        if each == 0:
            break
        given[open_parts] = np.minimum(given[open_parts] + each, room[open_parts])
    return given


def draw_within(
    parts: np.ndarray, quota: np.ndarray, quality: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Draw ``quota[j]`` rows of part j without replacement, each next one with probability proportional to quality.

    Successive draws without replacement are the largest of log q plus Gumbel noise, so one sort serves all parts.
    A row of quality 0 is drawn only when no other row of its part is left.

    Args:
        parts: (n,) int part of each row; -1 for rows that can't be drawn.
        quota: (m,) int, at most the rows of each part.
        quality: (n,) 0 or more; None draws uniformly.
        rng: where the draws come from.

    Returns:
        (sum of quota,) int64 rows, part after part.
    """
    n = len(parts)
    keys = rng.gumbel(size=n)
    if quality is not None:
        keys = keys + np.log(np.maximum(quality, np.finfo(np.float64).tiny))
    order = np.lexsort((-keys, parts))
    held = parts[order]
    starts = np.searchsorted(held, np.arange(len(quota)))
    place = np.arange(n) - starts[np.maximum(held, 0)]
    return order[(held >= 0) & (place < np.asarray(quota)[np.maximum(held, 0)])].astype(np.int64)
