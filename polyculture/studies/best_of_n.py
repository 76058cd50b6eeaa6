"""Best-of-n: of n answers the one with the highest reward; K such answers from one pool."""

from __future__ import annotations

import numpy as np

from polyculture.errors import BadInput


def best_of_n(scores: np.ndarray, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """The best of each of k sets of n answers, as places in the pool, (k,).

    Args:
        scores: (pool,) the reward of each answer; of equal ones the first in its set is best.
        n: answers of a set.
        k: sets.
        rng: the source of randomness.

    Raises:
        BadInput: the pool is smaller than a set.
    """
    sets = subsets(len(scores), n, k, rng)
    return np.array([chosen[scores[chosen].argmax()] for chosen in sets], dtype=np.int64)


def subsets(size: int, n: int, k: int, rng: np.random.Generator) -> list[np.ndarray]:
    """K sets of n out of ``size``: apart where there are enough, else each drawn without replacement.

    Args:
        size: to draw from.
        n: of a set.
        k: sets.
        rng: the source of randomness.

    Raises:
        BadInput: there are fewer than n.
    """
    if size < n:
        raise BadInput(f"a pool of {size} answers is smaller than best of {n}; make it larger")
    if size >= n * k:
        return list(rng.permutation(size)[: n * k].reshape(k, n))
    return [rng.choice(size, n, replace=False) for _ in range(k)]
