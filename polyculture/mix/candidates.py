"""Mixtures to choose from: the grid a batch can represent, random draws, and small steps around a good one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from polyculture.errors import BadInput

LARGEST_GRID = 2_000_000
CHUNK = 65_536


def grid_size(m: int, b: int) -> int:
    """How many mixtures of m groups a batch of b can represent: C(m + b - 1, m - 1).

    >>> grid_size(12, 16)
    13037895
    """
    _check(m, b)
    return math.comb(m + b - 1, m - 1)


def grid_chunks(m: int, b: int, *, chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """The grid {0, 1/b, ..., 1}^m with sum 1 in blocks of at most ``chunk`` rows, first coordinate slowest, ascending.

    DaMo (2025), the set P_fix of Section 3.
    """
    _check(m, b)
    bars = itertools.combinations(range(m + b - 1), m - 1)
    while block := list(itertools.islice(bars, chunk)):
        at = np.array(block, dtype=np.int64).reshape(len(block), m - 1)
        yield counts_between(at, m, b) / b


def counts_between(bars: np.ndarray, m: int, b: int) -> np.ndarray:
    """Stars and bars: (n, m - 1) ascending places of bars among m + b - 1 -> (n, m) numbers of stars between them."""
    n = len(bars)
    walls = np.hstack([np.full((n, 1), -1), bars, np.full((n, 1), m + b - 1)])
    return np.diff(walls, axis=1) - 1


def mixture_grid(m: int, b: int) -> np.ndarray:
    """The whole grid as (C(m + b - 1, m - 1), m).

    Raises:
        BadInput: it has more than two million rows.
    """
    size = grid_size(m, b)
    if size > LARGEST_GRID:
        raise BadInput(
            f"a batch of {b} over {m} groups has {size:,} mixtures, too many to list; go through grid_chunks, "
            "sample with random_grid, or take a smaller batch"
        )
    return np.concatenate(list(grid_chunks(m, b)))


def random_grid(m: int, b: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw n mixtures evenly from the grid, (n, m), with replacement."""
    _check(m, b)
    places = np.argsort(rng.random((n, m + b - 1)), axis=1)[:, : m - 1]
    return counts_between(np.sort(places, axis=1), m, b) / b


def local_search(
    start: np.ndarray, b: int, score: Callable[[np.ndarray], np.ndarray], *, max_moves: int = 1000
) -> tuple[np.ndarray, float]:
    """Move 1/b from one group to another as long as that raises the score; the best of all moves each time.

    Args:
        start: (m,) a mixture of the grid.
        b: the batch size.
        score: (n, m) mixtures -> (n,) scores.
        max_moves: when to stop at the latest.

    Returns:
        The mixture where no move helps, and its score.
    """
    m = len(start)
    counts = np.rint(start * b).astype(np.int64)
    best = float(score(counts[None] / b)[0])
    source, target = np.nonzero(~np.eye(m, dtype=bool))
    for _ in range(max_moves):
        movable = counts[source] > 0
        if not movable.any():
            break
        moved = np.repeat(counts[None], int(movable.sum()), axis=0)
        each = np.arange(len(moved))
        moved[each, source[movable]] -= 1
        moved[each, target[movable]] += 1
        scores = score(moved / b)
        top = int(np.argmax(scores))
        if not scores[top] > best + 1e-12 * max(1.0, abs(best)):
            break
        counts, best = moved[top], float(scores[top])
    return counts / b, best


def dirichlet_mixtures(
    prior: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    temperature: float = 0.5,
    strengths: tuple[float, float, int] = (0.1, 5.0, 15),
) -> np.ndarray:
    """Mixtures as RegMix draws them: Dirichlet(strength * prior^temperature / sum), strengths spaced evenly in the log.

    Args:
        prior: (m,) mixture to draw around.
        n: how many.
        rng: the source of randomness.
        temperature: power of the prior; below 1 flattens it.
        strengths: lowest and highest strength, and how many there are.

    Returns:
        (n, m) on the simplex.
    """
    low, high, count = strengths
    flat = np.maximum(prior, 1e-9) ** temperature
    flat /= flat.sum()
    levels = np.geomspace(low, high, count)[np.arange(n) % count]
    # A Dirichlet is gammas over their sum; weak strengths can make every gamma 0, and then one group has it all.
    gammas = rng.standard_gamma(np.maximum(levels[:, None] * flat, 1e-6))
    empty = gammas.sum(axis=1) <= 0
    gammas[empty, rng.choice(len(flat), size=int(empty.sum()), p=flat)] = 1.0
    return gammas / gammas.sum(axis=1, keepdims=True)


def _check(m: int, b: int) -> None:
    if m < 1 or b < 1:
        raise BadInput(f"a grid of mixtures needs at least one group and a batch of one, not m = {m}, b = {b}")
