"""Sums over a spectrum that is too large to compute, with a stated error: deflated stochastic Lanczos quadrature.

tr f(A) = tr(Q^T f(A) Q) + tr((I - Q Q^T) f(A)). Q holds approximate leading eigenvectors, so the first part is a few
quadratic forms; the second is a mean over random probes, small because the large eigenvalues are gone. Each quadratic
form v^T f(A) v is an integral over the spectrum, which k steps of Lanczos bracket between two quadrature rules.

Halko, Martinsson & Tropp, Finding Structure with Randomness (2011), algorithm 4.4 (Q); Meyer et al., Hutch++ (2021)
(the split); Golub & Meurant, Matrices, Moments and Quadrature (2010), chapter 6 (Gauss and Gauss-Radau brackets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.progress import Progress, silent

Product = Callable[[np.ndarray], np.ndarray]
"""V -> A V for (n, m) V and a symmetric positive semi-definite A."""

TINY = 1e-30


@dataclass(frozen=True)
class SpectralSum:
    """An estimate of tr f(A).

    Args:
        value: the estimate.
        sampling: half-width of its 95 % interval over the random probes.
        quadrature: half the distance between the two quadrature rules.
    """

    value: float
    sampling: float
    quadrature: float


@dataclass(frozen=True)
class SpectralSums:
    """Estimates of tr f(A) by name, and of the largest eigenvalue with its residual bound."""

    sums: Mapping[Any, SpectralSum]
    largest: float
    largest_error: float
    products: int


def spectral_sums(
    product: Product,
    n: int,
    functions: Mapping[Any, Callable[[np.ndarray], np.ndarray]],
    *,
    trace: float,
    rank: int = 64,
    probes: int = 32,
    steps: int = 10,
    dtype: Any = np.float64,
    rng: np.random.Generator | int | None = None,
    progress: Progress = silent,
) -> SpectralSums:
    """Estimate tr f(A) for functions with f(0) = 0 and derivatives of constant sign, such as -x ln x and x^q.

    For those the two quadrature rules bracket the exact value of each quadratic form. Takes ``steps + 2`` products
    with ``rank + probes`` vectors; memory is a few (n, rank + probes) arrays.

    Args:
        product: V -> A V.
        n: rows of A.
        functions: name -> f, vectorised over non-negative eigenvalues.
        trace: the trace of A, exactly.
        rank: columns of Q.
        probes: random vectors.
        steps: Lanczos steps.
        dtype: of the vectors.
        rng: a Generator or a seed.
        progress: called after each product.
    """
    rng = np.random.default_rng(rng)
    rank, total = min(rank, n), steps + 2

    def apply(V: np.ndarray, done: int) -> np.ndarray:
        W = product(V.astype(dtype, copy=False))
        progress("spectrum", done, total)
        return W

    Q = _orthonormal(apply(rng.standard_normal((n, rank)), 1))
    Q = _orthonormal(apply(Q, 2))
    P = rng.choice([-1.0, 1.0], size=(n, probes)).astype(Q.dtype)
    P -= Q @ (Q.T @ P)
    P -= Q @ (Q.T @ P)
    V = np.concatenate([Q, P.astype(dtype)], axis=1)
    W = apply(V, 3)
    # Rotating Q to Ritz vectors costs no product and lets each of its columns' quadratures close at once.
    _, U = np.linalg.eigh(_symmetric(V[:, :rank].T.astype(np.float64) @ W[:, :rank]))
    U = U.astype(V.dtype)
    V[:, :rank], W[:, :rank] = V[:, :rank] @ U, W[:, :rank] @ U
    squares, alphas, betas = _lanczos(apply, V, W, steps)
    nodes, weights = _gauss(alphas, betas[:, :-1])
    radau = _gauss_radau(alphas, betas)
    bounded = {name: _brackets(f, squares, (nodes, weights), radau) for name, f in functions.items()}
    first = squares * alphas[:, 0]
    rest = trace - float(first[:rank].sum())
    sums = {name: _sum(low, high, first, rank, rest) for name, (low, high) in bounded.items()}
    leading = int(np.argmax(nodes[:, -1] * (weights[:, -1] > 0)))
    tail = np.sqrt(_last_components(alphas, betas[:, :-1])[leading])
    return SpectralSums(sums, float(nodes[leading, -1]), float(betas[leading, -1] * tail), total)


def _lanczos(
    apply: Callable[[np.ndarray, int], np.ndarray], V: np.ndarray, W: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three-term Lanczos of every column at once, from V and W = A V: squared lengths, alphas and betas (c, steps).

    Without reorthogonalisation: copies of eigenvalues that have converged share their weight, and sums are not moved.
    """
    squares = np.einsum("ij,ij->j", V, V, dtype=np.float64)
    lengths = np.sqrt(np.maximum(squares, TINY)).astype(V.dtype)
    V, W, before = V / lengths, W / lengths, np.zeros_like(V)
    c = V.shape[1]
    alphas, betas = np.zeros((c, steps)), np.zeros((c, steps))
    beta = np.zeros(c)
    floor = 8 * float(np.finfo(V.dtype).eps)
    for k in range(steps):
        if k:
            W = apply(V, 3 + k)
        alphas[:, k] = np.einsum("ij,ij->j", V, W, dtype=np.float64)
        W = W - V * alphas[:, k].astype(V.dtype) - before * beta.astype(V.dtype)
        beta = np.sqrt(np.einsum("ij,ij->j", W, W, dtype=np.float64))
        # A column whose Krylov space is exhausted stops: its vectors become 0 and add nodes of weight 0.
        beta[beta <= floor * np.max(np.abs(alphas[:, : k + 1]), axis=1)] = 0.0
        betas[:, k] = beta
        before, V = V, np.divide(W, beta.astype(V.dtype), out=np.zeros_like(W), where=beta > 0)
    return squares, alphas, betas


def _jacobi(alphas: np.ndarray, betas: np.ndarray) -> np.ndarray:
    c, k = alphas.shape
    J = np.zeros((c, k, k))
    i = np.arange(k)
    J[:, i, i] = alphas
    J[:, i[1:], i[:-1]] = J[:, i[:-1], i[1:]] = betas
    return J


def _gauss(alphas: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights, (c, k) each, of the Gauss rules of (c, k) alphas and (c, k - 1) betas."""
    nodes, vectors = np.linalg.eigh(_jacobi(alphas, betas))
    return np.maximum(nodes, 0.0), vectors[:, 0, :] ** 2


def _last_components(alphas: np.ndarray, betas: np.ndarray) -> np.ndarray:
    _, vectors = np.linalg.eigh(_jacobi(alphas, betas))
    return vectors[:, -1, -1] ** 2


def _gauss_radau(alphas: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rules with one more node, at 0: the next alpha is the one that makes J singular."""
    pivot = alphas[:, 0].copy()
    for k in range(1, alphas.shape[1]):
        pivot = alphas[:, k] - np.divide(betas[:, k - 1] ** 2, pivot, out=np.zeros_like(pivot), where=pivot > TINY)
    last = np.divide(betas[:, -1] ** 2, pivot, out=np.zeros_like(pivot), where=pivot > TINY)
    return _gauss(np.concatenate([alphas, last[:, None]], axis=1), betas)


def _brackets(
    f: Callable[[np.ndarray], np.ndarray],
    squares: np.ndarray,
    gauss: tuple[np.ndarray, np.ndarray],
    radau: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    ends = [squares * np.sum(weights * f(nodes), axis=1) for nodes, weights in (gauss, radau)]
    return np.minimum(*ends), np.maximum(*ends)


def _sum(low: np.ndarray, high: np.ndarray, first: np.ndarray, rank: int, rest: float) -> SpectralSum:
    """The deflated part plus the mean of the probes, with their v^T A v, whose mean is known, as control variate."""
    from scipy.stats import t

    middle, half = (low + high) / 2, (high - low) / 2
    y, x = middle[rank:], first[rank:]
    m = len(y)
    spread = float(np.sum((x - x.mean()) ** 2))
    # Where nothing but round-off is left outside Q, there is no slope to speak of.
    noise = 1e-12 * (abs(rest) + float(first[:rank].sum()))
    slope = float(np.sum((x - x.mean()) * y)) / spread if spread > 0 and x.mean() > noise else 0.0
    residual = y - slope * x
    deviation = float(np.sqrt(np.sum((residual - residual.mean()) ** 2) / (m - 2)))
    return SpectralSum(
        value=float(middle[:rank].sum() + slope * rest + residual.mean()),
        sampling=float(t.ppf(0.975, m - 2)) * deviation / m**0.5,
        quadrature=float(half[:rank].sum() + half[rank:].mean()),
    )


def _orthonormal(Y: np.ndarray) -> np.ndarray:
    return np.linalg.qr(Y)[0]


def _symmetric(M: np.ndarray) -> np.ndarray:
    return (M + M.T) / 2
