"""Lazy greedy maximisation of coverage: how well each row of a pool is represented by the chosen row most like it.

``F(S) = sum_v max(floor, max_{a in S} s(v, a)) + sum_{a in S} m_a`` is monotone submodular for m >= 0, so a gain only
shrinks as S grows: a row whose old gain is below the best fresh one need not be looked at again (Minoux 1978), and the
greedy choice is within 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from polyculture.errors import BadInput


class Similarities(Protocol):
    """How like one candidate every row is, however that is stored."""

    n: int
    tie: float

    def totals(self, floor: float) -> np.ndarray:
        """``sum_v max(0, s(v, i) - floor)`` of every candidate i, (n,) float64."""

    def gain(self, i: int, covered: np.ndarray) -> float:
        """``sum_v max(0, s(v, i) - covered_v)``."""

    def cover(self, i: int, covered: np.ndarray) -> None:
        """Raise ``covered`` to ``max(covered_v, s(v, i))``, in place."""


class Columns:
    """Similarities given one candidate at a time: a stored matrix, or one recomputed from features block by block.

    Args:
        column: i -> (n,) similarities of every row to candidate i.
        block: slice -> (b, n) similarities of the candidates in the slice.
        n: number of rows.
        dtype: of the similarities; says how near two gains are before they count as tied.
    """

    def __init__(
        self, column: Callable[[int], np.ndarray], block: Callable[[slice], np.ndarray], n: int, dtype: Any
    ) -> None:
        self.column, self.block, self.n = column, block, n
        self.tie = 1e-11 if np.dtype(dtype) == np.float64 else 1e-6
        self._buffer = np.empty(n, dtype=dtype)
        self._ones = np.ones(n, dtype=dtype)

    def totals(self, floor: float) -> np.ndarray:
        """``sum_v max(0, s(v, i) - floor)`` of every candidate i."""
        step = max(1, 2**21 // self.n)
        sums = np.empty(self.n)
        for start in range(0, self.n, step):
            part = slice(start, min(start + step, self.n))
            above = self.block(part) - self._buffer.dtype.type(floor)
            sums[part] = np.maximum(above, 0, out=above).sum(axis=1)
        return sums

    def gain(self, i: int, covered: np.ndarray) -> float:
        """``sum_v max(0, s(v, i) - covered_v)``."""
        np.subtract(self.column(i), covered, out=self._buffer)
        np.maximum(self._buffer, 0, out=self._buffer)
        return float(self._buffer @ self._ones)  # a product is summed faster than a vector

    def cover(self, i: int, covered: np.ndarray) -> None:
        """Raise ``covered`` to what candidate i gives."""
        np.maximum(covered, self.column(i), out=covered)


class Sparse:
    """Similarities of which only some are kept; the rest are 0.

    Args:
        matrix: (n, n) scipy sparse matrix, entry (v, i) the similarity of row v to candidate i.
    """

    def __init__(self, matrix: Any) -> None:
        held = matrix.tocsc()
        self.n = held.shape[0]
        self.tie = 1e-11 if held.dtype == np.float64 else 1e-6
        self._starts, self._rows, self._values = held.indptr, held.indices, held.data

    def totals(self, floor: float) -> np.ndarray:
        """``sum_v max(0, s(v, i) - floor)`` of every candidate i; the floor of a sparse matrix is 0."""
        if floor != 0:
            raise BadInput("similarities that are not kept count 0, so the floor of a sparse matrix should be 0")
        owner = np.repeat(np.arange(self.n), np.diff(self._starts))
        return np.bincount(owner, np.maximum(self._values, 0), minlength=self.n)

    def gain(self, i: int, covered: np.ndarray) -> float:
        """``sum_v max(0, s(v, i) - covered_v)``."""
        part = slice(self._starts[i], self._starts[i + 1])
        return float(np.maximum(self._values[part] - covered[self._rows[part]], 0).sum())

    def cover(self, i: int, covered: np.ndarray) -> None:
        """Raise ``covered`` to what candidate i gives."""
        part = slice(self._starts[i], self._starts[i + 1])
        rows = self._rows[part]
        covered[rows] = np.maximum(covered[rows], self._values[part])


def as_similarities(S: Any) -> Similarities:
    """A dense or scipy sparse (n, n) matrix, entry (v, i) the similarity of row v to candidate i.

    Raises:
        BadInput: it is not square.
    """
    from scipy.sparse import issparse

    if not issparse(S):
        S = np.asarray(S)
        S = S if S.dtype == np.float32 else np.asarray(S, dtype=np.float64)
    if S.ndim != 2 or S.shape[0] != S.shape[1]:
        raise BadInput(f"similarities should be a square matrix; these have shape {S.shape}")
    if issparse(S):
        return Sparse(S)
    T = S if _symmetric(S) else np.ascontiguousarray(S.T)  # a candidate's similarities side by side in memory
    return Columns(lambda i: T[i], lambda part: T[part], len(T), T.dtype)


def _symmetric(S: np.ndarray, block: int = 256) -> bool:
    starts = range(0, len(S), block)
    return all(
        np.array_equal(S[i : i + block, j : j + block], S[j : j + block, i : i + block].T)
        for i in starts
        for j in starts
        if i <= j
    )


def lazy_greedy(
    similarities: Similarities,
    k: int,
    *,
    modular: np.ndarray | None = None,
    scale: float = 1.0,
    floor: float = 0.0,
    sample: float | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose k rows that maximise ``scale * coverage + sum of modular`` greedily.

    Gains that agree to rounding are ties, and go to the row that comes first. When no row adds coverage any more, the
    rest is filled by ``modular``, then in row order.

    Args:
        similarities: of every row to every candidate.
        k: how many, 1 to n.
        modular: (n,) what each row adds on its own; None is 0.
        scale: weight of the coverage.
        floor: what a row counts as covered before anything is chosen.
        sample: lazier than lazy greedy: each step looks at only ``n / k * ln(1 / sample)`` random candidates, at a
            cost of at most ``sample`` of the guarantee; None looks at all.
        rng: where the samples come from.

    Returns:
        (k,) int64 rows in order of choice, and (k,) the gain of each.
    """
    if sample is not None and not 0 < sample < 1:
        raise BadInput(f"sample is the share of the guarantee given up and should be between 0 and 1, not {sample}")
    n = similarities.n
    own = np.zeros(n) if modular is None else np.asarray(modular, dtype=np.float64)
    covered = np.full(n, floor, dtype=np.float64 if similarities.tie < 1e-9 else np.float32)
    bounds = scale * similarities.totals(floor)  # what each row adds in coverage, at most
    nothing = similarities.tie * max(float(bounds.max()), np.finfo(np.float64).tiny)
    upper = bounds + own
    seen = np.full(n, -1)  # the step at which a bound was last made exact
    left = np.ones(n, dtype=bool)
    everyone = np.arange(n)
    size = n if sample is None else max(1, math.ceil(n / k * math.log(1 / sample)))
    generator = np.random.default_rng() if rng is None else rng
    chosen: list[int] = []
    gains: list[float] = []

    def refresh(i: int, step: int) -> None:
        bounds[i] = scale * similarities.gain(i, covered)
        upper[i] = bounds[i] + own[i]
        seen[i] = step

    for step in range(k):
        if sample is None:
            drawn, values = everyone, upper
        else:
            rest = np.flatnonzero(left)
            drawn = rest if size >= len(rest) else np.sort(generator.choice(rest, size, replace=False))
            values = upper[drawn]
        while seen[drawn[best := int(values.argmax())]] != step:
            refresh(int(drawn[best]), step)
            values[best] = upper[drawn[best]]
        close = values[best] - max(similarities.tie * abs(float(values[best])), nothing * 1e-3)
        for tied in np.flatnonzero(values >= close):
            if seen[drawn[tied]] != step:
                refresh(int(drawn[tied]), step)
                values[tied] = upper[drawn[tied]]
            if values[tied] >= close:
                break
        winner = int(drawn[tied])
        if bounds[winner] <= nothing and float(bounds[left].max()) <= nothing:
            break
        chosen.append(winner)
        gains.append(float(upper[winner]))
        left[winner] = False
        upper[winner] = -np.inf
        similarities.cover(winner, covered)
    rest = np.flatnonzero(left)
    rest = rest[np.argsort(-own[rest], kind="stable")][: k - len(chosen)]
    return np.concatenate([np.array(chosen, np.int64), rest]), np.concatenate([np.array(gains), own[rest]])
