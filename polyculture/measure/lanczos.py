"""Sums over a spectrum that is too large to compute, with a stated error: deflated block Lanczos quadrature.

tr f(A) = tr(Q^T f(A) Q) + tr((I - Q Q^T) f(A)). Q holds approximate leading eigenvectors, so the first part is a few
quadratic forms; the second is a mean over random probes, small because the large eigenvalues are gone. Each quadratic
form v^T f(A) v is an integral over the spectrum, which k steps of block Lanczos bracket between two quadrature rules.

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

TINY = 1e-14


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
    """Estimates of tr f(A) by name, and of the largest eigenvalue with its residual bound and rounding."""

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
    steps: int = 5,
    dtype: Any = np.float64,
    rng: np.random.Generator | int | None = None,
    progress: Progress = silent,
) -> SpectralSums:
    """Estimate tr f(A) for functions with f(0) = 0 and derivatives of constant sign, such as -x ln x and x^q.

    For those the two quadrature rules bracket the exact value of each quadratic form. Takes ``steps + 2`` products
    with ``rank + probes`` vectors; memory is ``steps + 4`` arrays of (n, rank + probes). n should be well above
    ``(steps + 1) * (rank + probes)``: the Krylov space must fit in.

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
    # One Krylov space for all columns: each quadrature profits from the vectors of every other one.
    S, R = np.linalg.qr(np.concatenate([Q, P.astype(dtype)], axis=1))
    alphas, betas = _lanczos(apply, S, steps)
    R = R.astype(np.float64)
    nodes, vectors = np.linalg.eigh(_jacobi(alphas, betas[:-1]))
    gauss = np.maximum(nodes, 0.0), (R.T @ vectors[: len(R)]) ** 2
    radau = _gauss_radau(nodes, vectors, alphas, betas, R)
    first = np.einsum("ij,ik,kj->j", R, alphas[0], R)
    rest = trace - float(first[:rank].sum())
    sums = {}
    for name, f in functions.items():
        ends = [weights @ f(x) for x, weights in (gauss, radau)]
        sums[name] = _sum(np.minimum(*ends), np.maximum(*ends), first, rank, rest)
    residual = float(np.linalg.norm(betas[-1] @ vectors[-len(R) :, -1]))
    rounding = 8 * float(np.finfo(dtype).eps * nodes[-1])
    return SpectralSums(sums, float(nodes[-1]), residual + rounding, total)


def _lanczos(
    apply: Callable[[np.ndarray, int], np.ndarray], S: np.ndarray, steps: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Block Lanczos from orthonormal S, (n, b), fully reorthogonalised: ``steps`` alphas and betas, (b, b) each."""
    basis, alphas, betas = [S], [], []
    for k in range(steps):
        W = apply(basis[-1], 3 + k)
        alphas.append(_symmetric((basis[-1].T @ W).astype(np.float64)))
        W = _outside(W, basis)
        # Directions that are exhausted leave columns that are noise: taken out of the basis once more, they carry no
        # weight, because their beta is 0.
        block, beta = np.linalg.qr(W)
        block, again = np.linalg.qr(_outside(block, basis))
        betas.append((again @ beta).astype(np.float64))
        basis.append(block)
    return alphas, betas


def _outside(W: np.ndarray, basis: list[np.ndarray]) -> np.ndarray:
    for _ in range(2):
        for B in basis:
            W = W - B @ (B.T @ W)
    return W


def _jacobi(alphas: list[np.ndarray], betas: list[np.ndarray]) -> np.ndarray:
    """The block tridiagonal matrix of the alphas and of the betas below the diagonal."""
    b = len(alphas[0])
    J = np.zeros((len(alphas) * b, len(alphas) * b))
    for i, alpha in enumerate(alphas):
        J[i * b : (i + 1) * b, i * b : (i + 1) * b] = alpha
    for i, beta in enumerate(betas):
        J[(i + 1) * b : (i + 2) * b, i * b : (i + 1) * b] = beta
        J[i * b : (i + 1) * b, (i + 1) * b : (i + 2) * b] = beta.T
    return J


def _gauss_radau(
    nodes: np.ndarray, vectors: np.ndarray, alphas: list[np.ndarray], betas: list[np.ndarray], R: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule with a block of nodes at 0: the next alpha is the one that makes J singular.

    That alpha is beta (J^-1)_kk beta^T, from the nodes and vectors of J.
    """
    b = len(R)
    coupled = betas[-1] @ vectors[-b:]
    kept = nodes > TINY * nodes[-1]
    last = (coupled[:, kept] / nodes[kept]) @ coupled[:, kept].T
    nodes, vectors = np.linalg.eigh(_jacobi([*alphas, _symmetric(last)], betas))
    return np.maximum(nodes, 0.0), (R.T @ vectors[:b]) ** 2


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
