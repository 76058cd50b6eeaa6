"""The Vendi score of every order: the effective number of distinct items in a set.

Friedman & Dieng, The Vendi Score (2022), eqs. 1-3: the exponential of the entropy of the spectrum of K/n.
Pasarkar & Dieng, Cousins of the Vendi Score (2023): every Hill order q, small q for rare kinds of items and large q
for common ones; q = inf looks at the largest eigenvalue alone and so at duplication.

Scores under different kernels, or of sets of different size, can't be compared, and a high score is not quality:
noise scores high. With q < 1 and wide clusters the spread within clusters is counted too: lower gamma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.spectrum import EXACT_ROWS, eigenvalues_of, item_weights, kernel_eigenvalues
from polyculture.progress import Progress, silent
from polyculture.space.kernels import Block, as_matrix, unit_rows

NEAR_ONE = 1e-6
"""Orders this close to 1 are taken as 1, where the general formula divides by 1 - q."""

ORDERS: tuple[float, ...] = (0.1, 0.5, 1.0, 2.0, math.inf)


def order(q: Any) -> float:
    """An order as a float: a number from 0 up, or a spelling of one, "inf" included.

    Raises:
        BadInput: it is negative, NaN, or no number.
    """
    try:
        value = float(q)
    except (TypeError, ValueError):
        value = math.nan
    if not value >= 0:
        raise BadInput(f"an order q should be a number from 0 up, or 'inf', not {q!r}")
    return value


def clip(eigenvalues: Any, q: float = 1.0, eig_tol: float | None = None) -> np.ndarray:
    """The eigenvalues that count: those above ``eig_tol`` times the largest.

    Round-off would count as species where q < 1, so the default is 1e-10 there and 1e-12 elsewhere.
    """
    values = np.asarray(eigenvalues, dtype=np.float64)
    tolerance = (1e-10 if q < 1 else 1e-12) if eig_tol is None else eig_tol
    return values[values > max(0.0, tolerance * values.max(initial=0.0))]


def vendi_of_eigenvalues(eigenvalues: Any, q: Any = 1.0, *, eig_tol: float | None = None) -> float:
    """The Vendi score of order q of a spectrum: the exponential of its Renyi entropy.

    Args:
        eigenvalues: of A, in any order; those that are not above the tolerance count as 0.
        q: the order.
        eig_tol: share of the largest eigenvalue below which one is 0; None is 1e-10 for q < 1, else 1e-12.

    Returns:
        The score; 1 if no eigenvalue counts, as where every item is empty.

    >>> round(vendi_of_eigenvalues([0.5, 0.25, 0.25], q=2), 4)
    2.6667
    """
    q = order(q)
    lam = clip(eigenvalues, q, eig_tol)
    if lam.size == 0:
        return 1.0
    if q == 0:
        return float(lam.size)
    if math.isinf(q):
        return float(1 / lam.max())
    logs = np.log(lam)
    if abs(1 - q) < NEAR_ONE:
        return float(np.exp(-np.sum(lam * logs)))
    top = q * logs.max()
    return float(np.exp((top + np.log(np.sum(np.exp(q * logs - top)))) / (1 - q)))


def vendi_score(
    X: Any,
    q: float | str = 1.0,
    *,
    kernel: str | Block = "cosine",
    gamma: float | None = None,
    degree: int | None = None,
    coef0: float | None = None,
    p: Any = None,
    normalize: bool = False,
    eig_tol: float | None = None,
    max_rows: int = EXACT_ROWS,
    progress: Progress = silent,
) -> float:
    """The effective number of distinct items among n, from 1 (all alike) to n (nothing in common).

    Cosine and linear kernels take O(n d^2) and bounded memory at any n; the others O(n^3), see
    :func:`polyculture.measure.estimate.vendi_estimate` for those at large n. Computed in float64 whatever the input.

    Args:
        X: (n, d) embeddings, one item a row; with kernel="precomputed", the (n, n) similarities.
        q: the order, from 0 to inf; 1 is the Vendi score. Small orders see rare kinds, large ones duplication.
        kernel: cosine, linear (rows of length 1), rbf, laplacian, polynomial, precomputed, or a callable of two blocks.
        gamma: of rbf and laplacian, None for 1 / median (squared) distance; factor of polynomial's inner product.
        degree: of polynomial.
        coef0: of polynomial.
        p: (n,) weights of the items, which sum to 1; those of weight 0 are dropped. None weighs all alike.
        normalize: scale the kernel to a diagonal of 1 first; a diagonal that is not 1 is refused without it.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.
        max_rows: largest n for which an n x n matrix is made.
        progress: called while blocks of rows are summed.

    Returns:
        The score. One item scores 1 at every order.

    Raises:
        BadInput: no items, NaN, a kernel that is not symmetric, positive semi-definite and of diagonal 1, weights that
            do not sum to 1, a negative order, or too many rows for a kernel without features.

    Paper: The Vendi Score (2022), eqs. 1-3; Cousins of the Vendi Score (2023).

    >>> round(vendi_score([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], kernel="precomputed"), 4)
    2.1573
    """
    values = eigenvalues_of(
        X,
        kernel=kernel,
        p=p,
        normalize=normalize,
        max_rows=max_rows,
        progress=progress,
        gamma=gamma,
        degree=degree,
        coef0=coef0,
    )
    return vendi_of_eigenvalues(values, q, eig_tol=eig_tol)


def vendi_scores(
    X: Any,
    orders: Sequence[float] = ORDERS,
    *,
    kernel: str | Block = "cosine",
    gamma: float | None = None,
    degree: int | None = None,
    coef0: float | None = None,
    p: Any = None,
    normalize: bool = False,
    eig_tol: float | None = None,
    max_rows: int = EXACT_ROWS,
    progress: Progress = silent,
) -> dict[float, float]:
    """The Vendi scores of several orders from one spectrum, keyed by the orders as they were given.

    Scores do not rise with q. They are not on one scale: do not average orders. Report a quality, an order in
    [0.1, 0.5] for diversity, and inf for duplication.

    Args:
        X: as for :func:`vendi_score`.
        orders: numbers from 0 up; spellings ("inf") are understood.
        kernel: as for :func:`vendi_score`.
        gamma: as for :func:`vendi_score`.
        degree: of polynomial.
        coef0: of polynomial.
        p: (n,) weights, which sum to 1.
        normalize: scale the kernel to a diagonal of 1 first.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.
        max_rows: largest n for which an n x n matrix is made.
        progress: called while blocks of rows are summed.

    Raises:
        BadInput: as :func:`vendi_score`.

    Paper: Cousins of the Vendi Score (2023).

    >>> vendi_scores([[1.0, 0.0], [0.0, 1.0]], orders=(0, 1, "inf"))
    {0: 2.0, 1: 2.0, 'inf': 2.0}
    """
    for q in orders:
        order(q)
    values = eigenvalues_of(
        X,
        kernel=kernel,
        p=p,
        normalize=normalize,
        max_rows=max_rows,
        progress=progress,
        gamma=gamma,
        degree=degree,
        coef0=coef0,
    )
    return {q: vendi_of_eigenvalues(values, q, eig_tol=eig_tol) for q in orders}


def vendi_score_kernel(
    K: Any,
    q: float | str = 1.0,
    *,
    p: Any = None,
    normalize: bool = False,
    eig_tol: float | None = None,
    unit_diagonal: bool = True,
) -> float:
    """The Vendi score of a kernel matrix: :func:`vendi_score` with kernel="precomputed".

    Args:
        K: (n, n) symmetric positive semi-definite similarities, 1 on the diagonal.
        q: the order, from 0 to inf.
        p: (n,) weights, which sum to 1; None weighs all alike.
        normalize: replace K_ij by K_ij / sqrt(K_ii K_jj) first.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.
        unit_diagonal: refuse a diagonal that is not 1; False puts any spectrum into the formula, as the authors' code
            does, and the value is then no number of items.

    Raises:
        BadInput: as :func:`vendi_score`.

    Paper: The Vendi Score (2022), eqs. 1-3; Cousins of the Vendi Score (2023).

    >>> vendi_score_kernel([[1.0, 1.0], [1.0, 1.0]], q="inf")
    1.0
    """
    values = kernel_eigenvalues(K, p=p, normalize=normalize, unit_diagonal=unit_diagonal)
    return vendi_of_eigenvalues(values, q, eig_tol=eig_tol)


@dataclass(frozen=True)
class VendiGradient:
    """A score and its gradient.

    Args:
        value: the score.
        gradient: (n, n) symmetric, of the score with respect to each K_ij taken by itself.
        subgradient: the order is inf and the largest eigenvalue is repeated, so that the score has no gradient there
            and one of its sub-gradients is given.
    """

    value: float
    gradient: np.ndarray
    subgradient: bool


def spectral_gradient(lam: np.ndarray, q: float, eig_tol: float | None = None) -> tuple[np.ndarray, bool]:
    """dVS_q / d lambda_i for ascending eigenvalues, 0 off the clipped support; and if it is a sub-gradient only."""
    counted = clip(lam, q, eig_tol)
    support = lam >= counted.min() if counted.size else np.zeros(lam.shape, dtype=bool)
    g = np.zeros_like(lam)
    value = vendi_of_eigenvalues(lam, q, eig_tol=eig_tol)
    if not support.any() or q == 0:
        return g, False
    if math.isinf(q):
        # Equal shares of a repeated eigenvalue: in the hull of its eigenvectors' v v^T, whichever basis was found.
        top = lam >= lam.max() * (1 - 1e-9)
        g[top] = -(value**2) / top.sum()
        return g, bool(top.sum() > 1)
    if abs(1 - q) < NEAR_ONE:
        g[support] = -(np.log(lam[support]) + 1) * value
    else:
        # q/(1-q) lambda^(q-1) S^(q/(1-q)), with S^(1/(1-q)) the score.
        g[support] = q / (1 - q) * lam[support] ** (q - 1) * value**q
    return g, False


def vendi_gradient(
    K: Any, q: float | str = 1.0, *, p: Any = None, eig_tol: float | None = None, unit_diagonal: bool = True
) -> VendiGradient:
    """The gradient of the Vendi score with respect to the kernel: dVS = sum over ordered pairs of G_ij dK_ij.

    G = D^(1/2) V diag(g) V^T D^(1/2) for A = V diag(lambda) V^T, g_i = dVS/d lambda_i. Eigenvalues that count as 0
    are left where they are: for q < 1 the gradient grows without bound as one goes to 0.

    Args:
        K: (n, n) similarities, as for :func:`vendi_score_kernel`.
        q: the order, from 0 to inf.
        p: (n,) weights, which sum to 1; None weighs all alike.
        eig_tol: share of the largest eigenvalue below which one counts as 0; None is 1e-10 for q < 1, else 1e-12.
        unit_diagonal: refuse a diagonal that is not 1.

    Raises:
        BadInput: as :func:`vendi_score_kernel`.
    """
    q = order(q)
    kernel_eigenvalues(K, p=p, unit_diagonal=unit_diagonal)  # the checks
    K = np.asarray(K, dtype=np.float64)
    w = item_weights(p, len(K))
    roots = np.full(len(K), len(K) ** -0.5) if w is None else np.sqrt(w)
    lam, V = np.linalg.eigh(K * roots[:, None] * roots[None, :])
    g, subgradient = spectral_gradient(lam, q, eig_tol)
    G = (V * g) @ V.T * roots[:, None] * roots[None, :]
    return VendiGradient(vendi_of_eigenvalues(lam, q, eig_tol=eig_tol), (G + G.T) / 2, subgradient)


def intdiv(K: Any, power: float = 1.0, *, p: Any = None) -> float:
    """IntDiv, the usual baseline: 1 - sum_ij p_i p_j K_ij^power, one minus the mean similarity, i = j included.

    Args:
        K: (n, n) similarities.
        power: of each similarity.
        p: (n,) weights, which sum to 1; None weighs all alike.

    Raises:
        BadInput: no items, not square, NaN, or weights that do not sum to 1.

    Paper: The Vendi Score (2022), section 5, baseline of Benhenda (2017).

    >>> intdiv([[1.0, 0.0], [0.0, 1.0]])
    0.5
    """
    K = as_matrix(K, "K").astype(np.float64, copy=False)
    if len(K) == 0 or K.shape[0] != K.shape[1]:
        raise BadInput(f"K should be (n, n) similarities of at least one item; it has shape {K.shape}")
    w = item_weights(p, len(K))
    w = np.full(len(K), 1 / len(K)) if w is None else w
    with np.errstate(invalid="ignore", divide="ignore"):
        powered = K if power == 1 else K**power
    if not np.isfinite(powered).all():
        raise BadInput(
            f"a similarity to the power {power} is not a number; use a whole power for negative similarities"
        )
    return float(1 - w @ powered @ w)


def intdiv_embeddings(X: Any) -> float:
    """IntDiv under the cosine kernel, 1 - |mean unit row|^2: O(n d), no n x n matrix.

    Args:
        X: (n, d) embeddings.

    Raises:
        BadInput: no items, or NaN.

    Paper: The Vendi Score (2022), section 5, baseline of Benhenda (2017).

    >>> intdiv_embeddings([[2.0, 0.0], [0.0, 3.0]])
    0.5
    """
    X = as_matrix(X)
    if len(X) == 0:
        raise BadInput("there are no items: IntDiv of an empty set is undefined")
    total = np.zeros(X.shape[1])
    for start in range(0, len(X), 8192):
        total += unit_rows(X[start : start + 8192]).sum(axis=0, dtype=np.float64)
    mean = total / len(X)
    return float(1 - mean @ mean)
