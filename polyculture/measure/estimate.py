"""Vendi scores of sets whose n x n kernel is too large to diagonalise, each with its error stated.

Two ways, neither a subsample: products of the kernel with vectors, a tile at a time (every kernel, O(n^2)), and random
Fourier features (rbf, O(n), any n).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.measure.lanczos import SpectralSums, spectral_sums
from polyculture.measure.ngram_vendi import ngram_features
from polyculture.measure.spectrum import Gram, item_weights, kernel_eigenvalues
from polyculture.measure.tokens import Tokenizer, words
from polyculture.measure.vendi import NEAR_ONE, order, vendi_of_eigenvalues, vendi_scores
from polyculture.progress import Progress, silent
from polyculture.space.kernels import Block, as_matrix, block_kernel, median_gamma, random_fourier_features, tiles

How = Literal["exact", "lanczos", "features"]

SMALL = 2000
"""Sets up to this size are diagonalised: that is faster than any estimate."""


@dataclass(frozen=True)
class Estimate:
    """A score, how far off it may be, and how it was found.

    Args:
        value: the score.
        error: half-width of an interval that holds the exact score with about 95 % confidence; 0 if it is exact.
        how: in words.
    """

    value: float
    error: float
    how: str

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.error

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.error


def vendi_estimate(
    X: Any,
    q: float | str = 1.0,
    *,
    kernel: str | Block = "rbf",
    gamma: float | None = None,
    degree: int | None = None,
    coef0: float | None = None,
    p: Any = None,
    method: How | None = None,
    rank: int = 64,
    probes: int = 32,
    steps: int = 5,
    n_features: int = 2048,
    rng: np.random.Generator | int | None = 0,
    progress: Progress = silent,
) -> Estimate:
    """The Vendi score of a large set under any kernel, with its error; see :func:`vendi_estimates` for several orders.

    Args:
        X: (n, d) embeddings, one item a row.
        q: the order, above 0; small orders hang on tiny eigenvalues and come with a large error.
        kernel: rbf, laplacian, polynomial, cosine, linear, or a callable of two blocks; its diagonal must be 1.
        gamma: of rbf and laplacian; None is 1 / median (squared) distance.
        degree: of polynomial.
        coef0: of polynomial.
        p: (n,) weights, which sum to 1.
        method: exact, lanczos or features; None is exact where that is cheap (n up to 2000, or cosine), else lanczos,
            which is exact too for a set smaller than its (steps + 1) (rank + probes) vectors.
        rank: leading eigenvectors that lanczos takes out.
        probes: random vectors of lanczos; its sampling error falls as 1 / sqrt(probes).
        steps: Lanczos steps; its quadrature error falls with each.
        n_features: random Fourier features of the method features, rbf only.
        rng: a Generator or a seed.
        progress: called as the work goes on.

    Raises:
        BadInput: as :func:`polyculture.measure.vendi.vendi_score`, or an order of 0, or a kernel without such features.

    Paper: The Vendi Score (2022), eqs. 1-3; Cousins of the Vendi Score (2023). The estimate is our own.

    >>> vendi_estimate([[0.0], [0.0], [100.0], [100.0]], gamma=1.0).how
    'exact: eigenvalues of the 4 x 4 kernel'
    """
    value = order(q)
    return vendi_estimates(
        X,
        (value,),
        kernel=kernel,
        gamma=gamma,
        degree=degree,
        coef0=coef0,
        p=p,
        method=method,
        rank=rank,
        probes=probes,
        steps=steps,
        n_features=n_features,
        rng=rng,
        progress=progress,
    )[value]


def vendi_estimates(
    X: Any,
    orders: Sequence[float] = (0.5, 1.0, 2.0, math.inf),
    *,
    kernel: str | Block = "rbf",
    gamma: float | None = None,
    degree: int | None = None,
    coef0: float | None = None,
    p: Any = None,
    method: How | None = None,
    rank: int = 64,
    probes: int = 32,
    steps: int = 5,
    n_features: int = 2048,
    rng: np.random.Generator | int | None = 0,
    progress: Progress = silent,
) -> dict[float, Estimate]:
    """Estimates of several orders from the same products or features; arguments as for :func:`vendi_estimate`."""
    X = as_matrix(X)
    n = len(X)
    if n == 0:
        raise BadInput("there are no items: the Vendi score of an empty set is undefined")
    options: dict[str, Any] = {
        k: v for k, v in {"gamma": gamma, "degree": degree, "coef0": coef0}.items() if v is not None
    }
    named = kernel if isinstance(kernel, str) else ""
    if method is None:
        method = "exact" if n <= SMALL or named in ("cosine", "linear") else "lanczos"
    if method == "lanczos" and n <= (steps + 1) * (rank + probes):
        method = "exact"  # the Krylov space would be the whole space
    if method == "exact":
        scores = vendi_scores(X, orders, kernel=kernel, p=p, max_rows=n, progress=progress, **options)
        form = f"{X.shape[1]} x {X.shape[1]}" if named in ("cosine", "linear") and n > X.shape[1] else f"{n} x {n}"
        return {q: Estimate(s, 0.0, f"exact: eigenvalues of the {form} kernel") for q, s in scores.items()}
    if min((order(q) for q in orders), default=1.0) == 0:
        raise BadInput("order 0 counts eigenvalues and can't be estimated; use method='exact', or an order above 0")
    if method == "features":
        if named != "rbf":
            raise BadInput(f"random Fourier features are for kernel='rbf', not {kernel!r}; use method='lanczos'")
        return _from_features(X, orders, gamma, p, n_features, rng, progress)
    if method != "lanczos":
        raise unknown("method of estimation", method, ("exact", "lanczos", "features"))
    w = item_weights(p, n)
    # Orders below 1 hang on eigenvalues that float32 products would drown.
    X = X.astype(np.float64) if min(order(q) for q in orders) < 1 else X
    if named == "rbf":
        X, block = _exponents(X, median_gamma(X) if gamma is None else gamma)
    else:
        block = block_kernel(kernel, X, **options)
        _check_diagonal(X, block)
    roots = np.full(len(X), len(X) ** -0.5) if w is None else np.sqrt(w)
    return _from_products(
        _tiled_product(X, block, roots.astype(X.dtype)[:, None]),
        len(X),
        orders,
        1.0,
        {"rank": rank, "probes": probes, "steps": steps, "dtype": X.dtype, "rng": rng, "progress": progress},
    )


def ngram_vendi_estimate(
    texts: Sequence[str],
    ns: Sequence[int] = (1, 2, 3, 4),
    q: float | str = 1.0,
    *,
    tokenize: Tokenizer = words,
    rank: int = 64,
    probes: int = 32,
    steps: int = 5,
    rng: np.random.Generator | int | None = 0,
    progress: Progress = silent,
) -> Estimate:
    """The n-gram Vendi score of any number of texts, with its error: Lanczos on the sparse n-gram counts.

    Args:
        texts: n texts.
        ns: lengths of n-grams; the kernel is averaged over them.
        q: the order, above 0.
        tokenize: a text as its tokens; the default is lower case split at white space.
        rank: leading eigenvectors that are taken out.
        probes: random vectors; the sampling error falls as 1 / sqrt(probes).
        steps: Lanczos steps.
        rng: a Generator or a seed.
        progress: called as the work goes on.

    Raises:
        BadInput: no texts, an order of 0, or n-gram lengths below 1.

    Paper: The Vendi Score (2022), section 5.3. The estimate is our own.
    """
    value = order(q)
    Z = ngram_features(texts, ns, tokenize)
    n = Z.shape[0]
    if n <= max(SMALL, (steps + 1) * (rank + probes)):
        eigenvalues = kernel_eigenvalues((Z @ Z.T).toarray(), unit_diagonal=False)
        return Estimate(vendi_of_eigenvalues(eigenvalues, value), 0.0, f"exact: eigenvalues of the {n} x {n} kernel")
    if value == 0:
        raise BadInput("order 0 counts eigenvalues and can't be estimated; use ngram_vendi, or an order above 0")
    Z = Z / np.sqrt(n)
    T = Z.T.tocsr()
    parameters = {"rank": rank, "probes": probes, "steps": steps, "rng": rng, "progress": progress}
    trace = float((Z.data**2).sum())
    return _from_products(lambda V: Z @ (T @ V), n, (value,), trace, parameters)[value]


def _tiled_product(X: np.ndarray, block: Block, roots: np.ndarray, rows: int = 2048) -> Callable[..., np.ndarray]:
    def product(V: np.ndarray) -> np.ndarray:
        V = V * roots
        out = np.zeros_like(V)
        for i, j in tiles(len(X), rows):
            K = block(X[i], X[j]).astype(V.dtype, copy=False)
            out[i] += K @ V[j]
            if i != j:
                out[j] += K.T @ V[i]
        out *= roots
        return out

    return product


def _exponents(X: np.ndarray, gamma: float) -> tuple[np.ndarray, Block]:
    """Rows Z and a block of the rbf kernel on them that is one product and one exponential.

    With z = (sqrt(2 gamma) x, gamma |x|^2, 1) the exponent -gamma |x - y|^2 is a product of z(x) with z(y), whose last
    two entries trade places and sign. Rows are centred first, which moves no distance and keeps the digits.
    """
    if not gamma > 0:
        raise BadInput(f"gamma should be a positive number, not {gamma}")
    C = (X - X.mean(axis=0)) * X.dtype.type(math.sqrt(2 * gamma))
    halves = np.einsum("ij,ij->i", C, C)[:, None] / 2
    Z = np.hstack([C, halves, np.ones_like(halves)])

    def block(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        K = A @ np.hstack([B[:, :-2], -B[:, -1:], -B[:, -2:-1]]).T
        np.minimum(K, 0.0, out=K)
        return np.exp(K, out=K)

    return Z, block


def _from_products(
    product: Callable[..., np.ndarray], n: int, orders: Sequence[float], trace: float, parameters: dict[str, Any]
) -> dict[float, Estimate]:
    finite = {q: order(q) for q in orders if not math.isinf(order(q))}
    functions = {q: _summand(value) for q, value in finite.items()}
    found = spectral_sums(product, n, functions, trace=trace, **parameters)
    how = f"Lanczos quadrature, {found.products} products, rank {parameters['rank']}, {parameters['probes']} probes"
    return {q: _estimate(found, q, finite.get(q, math.inf), how) for q in orders}


def _summand(q: float) -> Callable[[np.ndarray], np.ndarray]:
    if abs(1 - q) < NEAR_ONE:
        return lambda x: -x * np.log(np.where(x > 0, x, 1.0))
    return lambda x: x**q


def _estimate(found: SpectralSums, q: Any, value: float, how: str) -> Estimate:
    if math.isinf(value):
        score = 1 / found.largest
        widest = max(found.largest - found.largest_error, np.finfo(float).tiny)
        return Estimate(score, 1 / widest - score, f"{how}; error: residual of the largest eigenvalue")

    def score_of(total: float) -> float:
        near_one = abs(1 - value) < NEAR_ONE
        return math.exp(total) if near_one else math.exp(math.log(max(total, 1e-300)) / (1 - value))

    part = found.sums[q]
    score = score_of(part.value)
    spread = part.sampling + part.quadrature
    error = max(abs(score_of(part.value + spread) - score), abs(score_of(part.value - spread) - score))
    share = part.quadrature / spread if spread > 0 else 0.0
    return Estimate(score, error, f"{how}; error: 95 % over probes plus quadrature bracket ({share:.0%} of it)")


def _from_features(
    X: np.ndarray,
    orders: Sequence[float],
    gamma: float | None,
    p: Any,
    n_features: int,
    rng: np.random.Generator | int | None,
    progress: Progress,
) -> dict[float, Estimate]:
    """Exact scores of all features and of two independent halves of them.

    The bias falls as 1 / features, so the last step of doubling is about what is still missing; the difference of the
    halves is the noise.
    """
    if n_features < 4 or n_features % 4:
        raise BadInput(f"n_features should be a multiple of 4, not {n_features}")
    w = item_weights(p, len(X))
    gamma = median_gamma(X) if gamma is None else gamma
    seeds = np.random.default_rng(rng).integers(2**63, size=2)
    gram = Gram()
    half = n_features // 2
    for start in range(0, len(X), 4096):
        rows = slice(start, start + 4096)
        halves = [random_fourier_features(X[rows], half, gamma, int(seed), orthogonal=True) for seed in seeds]
        gram.add(np.hstack(halves), None if w is None else w[rows])
        progress("features", min(start + 4096, len(X)), len(X))
    assert gram.matrix is not None
    A = gram.matrix / gram.weight
    whole = np.linalg.eigvalsh(A)
    parts = [np.linalg.eigvalsh(2 * A[s, s]) for s in (slice(0, half), slice(half, None))]
    found = {}
    for q in orders:
        score = vendi_of_eigenvalues(whole, q)
        pair = [vendi_of_eigenvalues(part, q) for part in parts]
        error = 2 * (abs(score - sum(pair) / 2) + abs(pair[0] - pair[1]) / 2)
        how = f"{n_features} random Fourier features; error: twice the change from half as many, and their difference"
        found[q] = Estimate(score, error, how)
    return found


def _check_diagonal(X: np.ndarray, block: Block) -> None:
    """The trace is taken as 1 by the estimate, so the diagonal must be 1; each row is held against itself."""
    for start in range(0, len(X), 256):
        rows = X[start : start + 256]
        if (np.abs(np.diagonal(block(rows, rows)) - 1) > 1e-3).any():
            raise BadInput("the diagonal of the kernel is not 1, so the score has no meaning; scale the rows first")
