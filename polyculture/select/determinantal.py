"""Determinantal: the rows that span the largest volume.

Kulesza and Taskar, Determinantal Point Processes for Machine Learning (2012), Equation 33 for quality and diversity;
Chen, Zhang and Zhou, Fast Greedy MAP Inference for Determinantal Point Process (2018), Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.space.kernels import as_matrix, unit_rows


@dataclass(eq=False)
class Determinantal(Selector):
    """Greedy mode of the determinantal process with kernel ``L = diag(q^alpha) X X^T diag(q^alpha) + jitter I``.

    Each step adds the row that raises log det L_S most. Ties go to the first row, but where a round begins (rows of
    unit length all tie) to the row most like the mean of those left. L is never formed: the Cholesky rows of the greedy
    choice live in the d dimensions of X, so that the cost is O(n d k).

    X has at most d directions: once the chosen rows span all that the pool has, no row adds volume. Then a new round
    begins among the rows left, each scaled by the sine of its angle to the nearest chosen row, so that a copy of a
    chosen row counts nothing. Rows that count nothing (copies, zero rows, quality 0) come last, in row order.
    Source: Chen et al. (2018), Algorithm 1.

    Args:
        alpha: exponent of quality; 0 leaves quality out. Quality should be 0 or more where it is used.
        normalize: whether rows are brought to unit length first, so that L holds cosines.
        jitter: added to the diagonal of L, as a share of its largest entry.
    """

    alpha: float = 0.0
    normalize: bool = True
    jitter: float = 0.0

    def required(self) -> tuple[str, ...]:
        """Embeddings, and quality where it has an exponent."""
        return ("embeddings", "quality") if self.alpha else self.needs

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.alpha < 0 or self.jitter < 0:
            raise BadInput(f"alpha and jitter should be 0 or more, not {self.alpha} and {self.jitter}")
        B = as_matrix(pool.X)
        B = B.astype(precision(len(B)))  # before lengths are taken: equal lengths should be equal
        if self.normalize:
            B = unit_rows(B)
        if self.alpha:
            q = pool.q
            if q.min() < 0:
                raise BadInput(
                    f"determinantal takes quality as a factor, but row {int(q.argmin())} has {q.min():g}; "
                    "shift it to 0 or more, or set alpha to 0"
                )
            B = B * (q**self.alpha)[:, None]
        return greedy_volume(B, k, jitter=self.jitter)


def precision(n: int) -> type[np.floating[Any]]:
    """Float64 up to 2 000 rows, where it costs nothing; float32 above."""
    return np.float64 if n <= 2000 else np.float32


def greedy_volume(B: np.ndarray, k: int, *, jitter: float = 0.0) -> np.ndarray:
    """Greedy choice of k rows of largest det(B_S B_S^T + jitter max|b|^2 I); past the rank of B, in new rounds.

    Args:
        B: (n, d) factors; computed in float32 above 2 000 rows, in float64 up to there.
        k: how many, 1 to n.
        jitter: as a share of the largest squared length of a row.

    Returns:
        (k,) int64 rows, in order of choice.
    """
    B = np.asarray(B, dtype=precision(len(B)))
    largest = float(np.abs(B).max(initial=0.0))
    if largest > 0:
        B = B / largest  # squares of tiny or huge values would leave the range of float32
    n, d = B.shape
    exact = B.dtype == np.float64
    sine = np.ones(n, dtype=B.dtype)
    top = float(np.einsum("nd,nd->n", B, B).max(initial=0.0))
    extra = jitter * top
    # A row whose residual is down to rounding lies in the span of those chosen.
    spent = extra + (1e-12 if exact else 1e-5) * top
    tie = 1e-11 if exact else 1e-6
    chosen = np.empty(k, dtype=np.int64)
    left = np.ones(n, dtype=bool)
    step = 0
    while step < k:
        scaled = B if not step else B * sine[:, None]
        residual = np.where(left, np.einsum("nd,nd->n", scaled, scaled) + extra, -np.inf).astype(B.dtype)
        if float(residual.max()) <= spent:  # only rows that count nothing are left
            chosen[step:] = np.flatnonzero(left)[: k - step]
            break
        begun = step
        basis = np.zeros((min(k - step, n), d), dtype=B.dtype)
        for size in range(len(basis)):
            best = float(residual.max())
            if best <= spent and size:
                break
            tied = np.flatnonzero(residual >= best - tie * top)
            j = int(tied[0])
            if not size and len(tied) > 1:
                typical = (scaled @ (left.astype(B.dtype) @ scaled / left.sum()))[tied]
                j = int(tied[np.argmax(typical >= typical.max() - tie * top)])
            chosen[step] = j
            left[j] = False
            step += 1
            # e_j = (b_j - sum_s <b_j, e_s> e_s) / d_j; then <b_i, e_j> is the new Cholesky entry of row i.
            basis[size] = (scaled[j] - (basis[:size] @ scaled[j]) @ basis[:size]) / np.sqrt(residual[j])
            residual -= (scaled @ basis[size]) ** 2
            residual[j] = -np.inf
        if step < k:
            _narrow(sine, unit_rows(B), chosen[begun:step])
    return chosen


def _narrow(sine: np.ndarray, directions: np.ndarray, chosen: np.ndarray, block: int = 65_536) -> None:
    """Lower each row's sine to that of its angle to the nearest of the chosen rows, in place."""
    held = directions[chosen].T
    for start in range(0, len(sine), block):
        part = slice(start, start + block)
        cosine = np.clip((directions[part] @ held).max(axis=1), 0, 1)
        sine[part] = np.minimum(sine[part], np.sqrt(1 - cosine**2))
