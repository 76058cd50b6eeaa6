"""Kernels: how alike two rows are. Whole matrices, explicit features, and products that never hold n x n.

Every function takes (n, d) arrays, one candidate a row, and keeps float32 as float32; anything else is float64.
A kernel is named ("cosine", "linear", "rbf", "laplacian", "polynomial") or is a callable ``(A, B) -> (a, b)`` block,
symmetric and positive semi-definite.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from polyculture.errors import BadInput, unknown

Block = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Similarities of the rows of two blocks: (a, d), (b, d) -> (a, b)."""

KERNELS = ("cosine", "linear", "rbf", "laplacian", "polynomial")
BANDWIDTH_SAMPLE = 1000
"""Rows that the bandwidth of ``gamma=None`` is taken from when there are more: a sample drawn with seed 0."""


def as_matrix(X: Any, name: str = "X") -> np.ndarray:
    """``X`` as a finite (n, d) float array; float32 stays float32, the rest becomes float64.

    Raises:
        BadInput: it is not two-dimensional, or holds NaN or infinity.
    """
    X = np.asarray(X)
    if X.ndim != 2:
        raise BadInput(f"{name} should be (n, d), one candidate a row; this has shape {X.shape}")
    X = X.astype(np.float32 if X.dtype in (np.float16, np.float32) else np.float64, copy=False)
    if not np.isfinite(np.sum(X, dtype=np.float64)):
        rows = np.flatnonzero(~np.isfinite(X).all(axis=1))
        if len(rows):
            raise BadInput(f"{name} is NaN or infinite in {len(rows)} of {len(X)} rows (first: row {rows[0] + 1})")
    return X


def unit_rows(X: Any) -> np.ndarray:
    """Each row divided by its Euclidean length; zero rows stay zero.

    >>> unit_rows([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    X = as_matrix(X)
    # Scaled first, so that neither huge nor tiny rows overflow or vanish when they are squared.
    scale = np.max(np.abs(X), axis=1, initial=0.0, keepdims=True)
    scaled = np.divide(X, scale, out=np.zeros_like(X), where=scale > 0)
    norms = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, None]
    return np.divide(scaled, norms, out=scaled, where=norms > 0)


def linear_kernel(X: Any, Y: Any = None) -> np.ndarray:
    """Inner products ``<x, y>``, (n, m)."""
    X, Y = _two(X, Y)
    return X @ Y.T


def cosine_kernel(X: Any, Y: Any = None) -> np.ndarray:
    """Cosine similarities, (n, m); a zero row is unlike everything, itself included (0)."""
    A, B = _two(X, Y)
    U = unit_rows(A)
    K = U @ (U if B is A else unit_rows(B)).T
    return np.clip(K, -1.0, 1.0, out=K)


def rbf_kernel(X: Any, gamma: float | None = None, Y: Any = None) -> np.ndarray:
    """Gaussian kernel ``exp(-gamma ||x - y||^2)``, (n, m).

    Args:
        X: (n, d) rows.
        gamma: inverse squared width; None takes 1 / median squared distance of X (see :func:`median_gamma`).
        Y: (m, d) rows; None compares X with itself.
    """
    A, B = _two(X, Y)
    gamma = median_gamma(A) if gamma is None else _positive(gamma, "gamma")
    K = squared_distances(A, None if B is A else B)
    K *= -gamma
    return np.exp(K, out=K)


def laplacian_kernel(X: Any, gamma: float | None = None, Y: Any = None) -> np.ndarray:
    """Laplacian kernel ``exp(-gamma ||x - y||_1)``, (n, m); ``gamma=None`` takes 1 / median L1 distance of X."""
    from scipy.spatial.distance import cdist

    A, B = _two(X, Y)
    gamma = median_gamma(A, metric="l1") if gamma is None else _positive(gamma, "gamma")
    K = cdist(A, B, "cityblock").astype(A.dtype, copy=False)
    K *= -gamma
    return np.exp(K, out=K)


def polynomial_kernel(X: Any, degree: int = 3, coef0: float = 1.0, gamma: float = 1.0, Y: Any = None) -> np.ndarray:
    """Polynomial kernel ``(gamma <x, y> + coef0)^degree``, (n, m).

    Args:
        X: (n, d) rows; give unit rows for the polynomial of the cosine.
        degree: the power, a whole number from 1.
        coef0: the constant added to the inner product, at least 0.
        gamma: factor of the inner product.
        Y: (m, d) rows; None compares X with itself.
    """
    A, B = _two(X, Y)
    degree = _degree(degree)
    if coef0 < 0:
        raise BadInput(f"coef0 should be 0 or more, not {coef0}: the kernel would not be positive semi-definite")
    return (_positive(gamma, "gamma") * (A @ B.T) + coef0) ** degree


def squared_distances(X: Any, Y: Any = None) -> np.ndarray:
    """Squared Euclidean distances, (n, m), never negative; exactly 0 on the diagonal when Y is None."""
    A, B = _two(X, Y)
    # Moving the origin to the mean changes no distance and loses fewer digits to cancellation.
    mean = A.mean(axis=0, keepdims=True) if len(A) else 0.0
    C, D = A - mean, (B - mean if B is not A else None)
    if D is None:
        D = C
    K = C @ D.T
    K *= -2
    K += np.einsum("ij,ij->i", C, C)[:, None]
    K += np.einsum("ij,ij->i", D, D)[None, :]
    np.maximum(K, 0.0, out=K)
    if B is A:
        np.fill_diagonal(K, 0.0)
    return K


def median_gamma(X: Any, *, metric: str = "l2") -> float:
    """1 / median (squared L2, or L1) distance over distinct pairs of rows: the usual bandwidth when none is given.

    Above 1000 rows the median is that of a sample of 1000 drawn with seed 0. Where more than half of the pairs
    coincide it is the mean; where all do, 1.
    """
    X = as_matrix(X)
    if len(X) < 2:
        return 1.0
    if len(X) > BANDWIDTH_SAMPLE:
        X = X[np.sort(np.random.default_rng(0).choice(len(X), BANDWIDTH_SAMPLE, replace=False))]
    if metric == "l1":
        from scipy.spatial.distance import pdist

        distances = pdist(X, "cityblock")
    else:
        distances = squared_distances(X.astype(np.float64))[np.triu_indices(len(X), 1)]
    middle = float(np.median(distances))
    middle = middle if middle > 0 else float(np.mean(distances))
    return 1.0 / middle if middle > 0 else 1.0


def block_kernel(kernel: str | Block, X: Any, **options: Any) -> Block:
    """A kernel as a function of two blocks of rows, its bandwidth fixed from the whole of ``X``.

    Args:
        kernel: a name of ``KERNELS``, or a callable, which is given back.
        X: (n, d) rows, from which ``gamma=None`` is set.
        options: gamma, degree, coef0, as the kernel takes them.

    Raises:
        UnknownMethod: no kernel of that name.
        BadInput: the kernel has no such option.
    """
    if callable(kernel):
        return kernel
    functions: dict[str, Callable[..., np.ndarray]] = {
        "cosine": cosine_kernel,
        "linear": linear_kernel,
        "rbf": rbf_kernel,
        "laplacian": laplacian_kernel,
        "polynomial": polynomial_kernel,
    }
    if kernel not in functions:
        raise unknown("kernel", kernel, KERNELS)
    taken = {"rbf": ("gamma",), "laplacian": ("gamma",), "polynomial": ("degree", "coef0", "gamma")}.get(kernel, ())
    for option in options:
        if option not in taken:
            raise BadInput(f"kernel '{kernel}' has no option '{option}'; it takes {', '.join(taken) or 'none'}")
    if kernel in ("rbf", "laplacian") and options.get("gamma") is None:
        options["gamma"] = median_gamma(X, metric="l2" if kernel == "rbf" else "l1")
    function = functools.partial(functions[kernel], **options)
    return lambda A, B: function(A, Y=B)


def kernel_matrix(X: Any, kernel: str | Block = "cosine", **options: Any) -> np.ndarray:
    """The whole kernel matrix, (n, n): named kernels and options as in :func:`block_kernel`."""
    X = as_matrix(X)
    return block_kernel(kernel, X, **options)(X, X)


def kernel_matvec(
    X: Any, V: np.ndarray, kernel: str | Block = "cosine", block: int = 2048, **options: Any
) -> np.ndarray:
    """``K @ V`` without holding K: memory is one (block, block) tile.

    Linear and cosine kernels go through their features in O(n d); the others compute each tile above the diagonal
    once and use it for both of its sides.

    Args:
        X: (n, d) rows.
        V: (n,) or (n, m) vectors.
        kernel: a name of ``KERNELS`` or a symmetric callable of two blocks.
        block: rows of a tile.
        options: of the kernel (gamma, degree, coef0).

    Returns:
        Array of the shape of V.
    """
    X, V = as_matrix(X), np.asarray(V)
    if V.ndim not in (1, 2) or len(V) != len(X):
        raise BadInput(f"V should have the {len(X)} rows of X; it has shape {V.shape}")
    if kernel in ("linear", "cosine"):
        block_kernel(kernel, X, **options)
        Z = unit_rows(X) if kernel == "cosine" else X
        return Z @ (Z.T @ V)
    function = block_kernel(kernel, X, **options)
    out = np.zeros(V.shape, dtype=np.result_type(X, V))
    for rows, columns in tiles(len(X), block):
        K = function(X[rows], X[columns])
        out[rows] += K @ V[columns]
        if rows != columns:
            out[columns] += K.T @ V[rows]
    return out


def tiles(n: int, block: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the tiles on and above the diagonal of an (n, n) matrix."""
    if block < 1:
        raise BadInput(f"block should be 1 or more, not {block}")
    starts = range(0, n, block)
    for i in starts:
        for j in range(i, n, block):
            yield slice(i, min(i + block, n)), slice(j, min(j + block, n))


def polynomial_features(X: Any, degree: int = 3, coef0: float = 1.0, gamma: float = 1.0) -> np.ndarray:
    """Explicit features Z with ``Z @ Z.T`` equal to :func:`polynomial_kernel`, (n, C(d' + degree - 1, degree)).

    One column a monomial, weighted by the root of its multinomial coefficient; d' is d, and one more if coef0 > 0.
    """
    X, degree = as_matrix(X), _degree(degree)
    if coef0 < 0:
        raise BadInput(f"coef0 should be 0 or more, not {coef0}")
    X = X * math.sqrt(_positive(gamma, "gamma"))
    if coef0 > 0:
        X = np.hstack([X, np.full((len(X), 1), math.sqrt(coef0), dtype=X.dtype)])
    columns = list(combinations_with_replacement(range(X.shape[1]), degree))
    Z = np.empty((len(X), len(columns)), dtype=X.dtype)
    for c, monomial in enumerate(columns):
        repeats = math.prod(math.factorial(monomial.count(i)) for i in set(monomial))
        Z[:, c] = np.prod(X[:, monomial], axis=1) * math.sqrt(math.factorial(degree) / repeats)
    return Z


def random_fourier_features(
    X: Any,
    n_features: int = 1024,
    gamma: float | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    orthogonal: bool = False,
) -> np.ndarray:
    """Features whose inner products approximate the RBF kernel; every row has length 1 exactly.

    Cosine and sine of n_features / 2 Gaussian projections (Rahimi & Recht, 2007); ``orthogonal`` draws them in
    orthogonal blocks, which lowers the variance (Yu et al., 2016). The error falls as 1 / sqrt(n_features).

    Args:
        X: (n, d) rows.
        n_features: number of features D, even.
        gamma: of ``exp(-gamma ||x - y||^2)``; None as in :func:`rbf_kernel`.
        rng: a Generator or a seed.
        orthogonal: draw the projections orthogonally.

    Returns:
        (n, D) features.
    """
    X = as_matrix(X)
    if n_features < 2 or n_features % 2:
        raise BadInput(f"n_features should be even and at least 2, not {n_features}: a cosine and a sine each")
    gamma = median_gamma(X) if gamma is None else _positive(gamma, "gamma")
    rng, d, half = np.random.default_rng(rng), X.shape[1], n_features // 2
    W = rng.standard_normal((d, half))
    if orthogonal and d:
        for start in range(0, half, d):
            part = W[:, start : start + d]
            Q, _ = np.linalg.qr(rng.standard_normal((d, d)))
            W[:, start : start + d] = (
                Q[:, : part.shape[1]] * np.linalg.norm(rng.standard_normal((d, d)), axis=0)[: part.shape[1]]
            )
    projected = X @ (W * math.sqrt(2 * gamma)).astype(X.dtype)
    return np.hstack([np.cos(projected), np.sin(projected)]) / X.dtype.type(math.sqrt(half))


def feature_map(X: Any, kernel: str = "cosine", *, largest: int = 4096, **options: Any) -> np.ndarray | None:
    """Features Z with ``Z @ Z.T`` exactly the kernel; None where it has none, or more than ``largest`` columns."""
    X = as_matrix(X)
    block_kernel(kernel, X[:2], **options)
    if kernel == "cosine":
        return unit_rows(X)
    if kernel == "linear":
        return X
    if kernel == "polynomial":
        degree = _degree(options.get("degree", 3))
        width = X.shape[1] + (options.get("coef0", 1.0) > 0)
        if math.comb(width + degree - 1, degree) <= largest:
            return polynomial_features(X, **options)
    return None


def _two(X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
    A = as_matrix(X)
    if Y is None or Y is X:
        return A, A
    B = as_matrix(Y, "Y")
    if A.shape[1] != B.shape[1]:
        raise BadInput(f"X has {A.shape[1]} columns and Y has {B.shape[1]}; they should be of one space")
    return A, B


def _positive(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise BadInput(f"{name} should be a positive number, not {value}")
    return float(value)


def _degree(degree: int) -> int:
    if int(degree) != degree or degree < 1:
        raise BadInput(f"degree should be a whole number from 1, not {degree}")
    return int(degree)
