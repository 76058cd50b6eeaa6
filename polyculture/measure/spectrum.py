"""Spectra of similarity: the eigenvalues of A = D^(1/2) K D^(1/2), D = diag(p), from which every Vendi score is taken.

A kernel with features Z (K = Z Z^T) shares its non-zero eigenvalues with the d x d matrix Z^T D Z, which costs
O(n d^2) and is summed a block of rows at a time; any other kernel needs the n x n matrix and O(n^3).

Friedman & Dieng, The Vendi Score (2022), sections 3 and 4 (definition and the dual form).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent
from polyculture.space.kernels import Block, as_matrix, feature_map, kernel_matrix, unit_rows

BLOCK_ROWS = 4096
EXACT_ROWS = 10_000
"""Largest n whose n x n spectrum is computed without being asked to: about 2 GiB and a minute or two."""

DIAGONAL_TOLERANCE = 1e-6
INDEFINITE = -1e-6
SAFE = (1e-200, 1e200)
"""Squared lengths between which rows are divided by their length without a second look."""


def item_weights(p: Any, n: int) -> np.ndarray | None:
    """Weights as a checked (n,) float64 array, or None for equal weights.

    Raises:
        BadInput: wrong length, a negative, NaN or infinite weight, or a sum that is not 1 within 1e-6.
    """
    if p is None:
        return None
    w = np.asarray(p, dtype=np.float64)
    if w.shape != (n,):
        raise BadInput(f"p should hold a weight for each of the {n} items; it has shape {w.shape}")
    if not np.isfinite(w).all() or (w < 0).any():
        raise BadInput("p holds a negative, NaN or infinite weight; weights are probabilities")
    if abs(w.sum() - 1) > 1e-6:
        raise BadInput(f"the weights p sum to {w.sum():.8g}, not to 1; divide them by their sum")
    return w


class Gram:
    """The sum of w_i z_i z_i^T over rows seen so far: all that a feature kernel's spectrum needs of any number of rows.

    Args:
        normalize: divide each row by its length first (the cosine kernel); else rows must have length 1.
    """

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize
        self.matrix: np.ndarray | None = None
        self.weight = 0.0
        self.zero_rows = 0
        self.n = 0

    def add(self, Z: Any, weights: np.ndarray | None = None) -> Gram:
        """Add a block of rows, each of weight 1 if no weights are given; float32 is promoted to float64.

        Raises:
            BadInput: NaN or infinite entries, or rows that are not of length 1 without ``normalize``.
        """
        B = np.asarray(Z)
        if B.ndim != 2:
            raise BadInput(f"X should be (n, d), one candidate a row; this has shape {B.shape}")
        B = B.astype(np.float64, copy=False)
        squares = np.einsum("ij,ij->i", B, B)
        zero = squares == 0
        if not ((squares[~zero] > SAFE[0]) & (squares[~zero] < SAFE[1])).all() or (zero.any() and B[zero].any()):
            # Not a number, or a square that over- or underflows: the careful way.
            B = unit_rows(B) if self.normalize else as_matrix(B)
            squares = np.einsum("ij,ij->i", B, B)
            zero = squares == 0
        if not self.normalize and (np.abs(squares[~zero] - 1) > DIAGONAL_TOLERANCE).any():
            raise BadInput(
                "rows are not of length 1, so the trace is not 1 and the score has no meaning: normalize=True"
            )
        self.n += len(B)
        self.zero_rows += int(zero.sum())
        self.weight += float(len(B) if weights is None else weights.sum())
        factor = np.ones(len(B)) if weights is None else np.sqrt(weights)
        if self.normalize:
            np.divide(factor, np.sqrt(squares), out=factor, where=~zero)
        B = B * factor[:, None] if self.normalize or weights is not None else B
        part = B.T @ B
        self.matrix = part if self.matrix is None else self.matrix + part
        return self

    @classmethod
    def sum(cls, parts: Sequence[Gram]) -> Gram:
        """The sum over the rows of all parts, which are at least one and not empty."""
        whole = cls(normalize=parts[0].normalize)
        for part in parts:
            assert part.matrix is not None
            whole.matrix = part.matrix.copy() if whole.matrix is None else whole.matrix + part.matrix
            whole.weight += part.weight
            whole.n, whole.zero_rows = whole.n + part.n, whole.zero_rows + part.zero_rows
        return whole

    def without(self, other: Gram) -> Gram:
        """This sum less the rows of another: leave-a-group-out at no further cost."""
        rest = Gram(normalize=self.normalize)
        assert self.matrix is not None and other.matrix is not None
        rest.matrix = self.matrix - other.matrix
        rest.weight = self.weight - other.weight
        rest.n, rest.zero_rows = self.n - other.n, self.zero_rows - other.zero_rows
        return rest

    def eigenvalues(self) -> np.ndarray:
        """The d eigenvalues of A, ascending; those of n < d rows include d - n zeros."""
        if self.matrix is None or self.weight <= 0:
            raise BadInput("there are no items: the Vendi score of an empty set is undefined")
        warn_of_zero_rows(self.zero_rows, self.n)
        return np.linalg.eigvalsh(self.matrix / self.weight)


def feature_eigenvalues(
    Z: Any, *, p: Any = None, normalize: bool = True, block_rows: int = BLOCK_ROWS, progress: Progress = silent
) -> np.ndarray:
    """Eigenvalues of the kernel Z Z^T, exactly, from the smaller of its two forms, in float64.

    Args:
        Z: (n, d) features, one item a row; a memory map is read a block at a time.
        p: (n,) weights that sum to 1; None weighs all alike.
        normalize: divide each row by its length (cosine); else rows must have length 1.
        block_rows: rows held in float64 at once.
        progress: called after each block.

    Returns:
        min(n, d) eigenvalues, ascending.
    """
    if np.ndim(Z) != 2:
        raise BadInput(f"X should be (n, d), one candidate a row; this has shape {np.shape(Z)}")
    w = item_weights(p, len(Z))
    if w is not None and (w == 0).any():
        Z, w = np.asarray(Z)[w > 0], w[w > 0]
    n, d = np.shape(Z)
    if n == 0:
        raise BadInput("there are no items: the Vendi score of an empty set is undefined")
    if n > d:
        gram = Gram(normalize=normalize)
        for start in range(0, n, block_rows):
            rows = slice(start, start + block_rows)
            gram.add(Z[rows], None if w is None else w[rows])
            progress("similarity", min(start + block_rows, n), n)
        return gram.eigenvalues()
    B = as_matrix(Z).astype(np.float64, copy=False)
    B = unit_rows(B) if normalize else B
    return kernel_eigenvalues(B @ B.T, p=w)


def blocks_eigenvalues(blocks: Iterable[Any], *, normalize: bool = True) -> np.ndarray:
    """Eigenvalues of the feature kernel of rows that come a block at a time, such as from a file; equal weights."""
    gram = Gram(normalize=normalize)
    for block in blocks:
        gram.add(block)
    return gram.eigenvalues()


def kernel_eigenvalues(K: Any, *, p: Any = None, normalize: bool = False, unit_diagonal: bool = True) -> np.ndarray:
    """Eigenvalues of a kernel matrix, exactly, in float64.

    Args:
        K: (n, n) symmetric positive semi-definite similarities with K_ii = 1 (0 for an empty item, with a warning).
        p: (n,) weights that sum to 1; items of weight 0 are dropped. None weighs all alike.
        normalize: replace K_ij by K_ij / sqrt(K_ii K_jj) first.
        unit_diagonal: refuse a diagonal that is not 1.

    Returns:
        n eigenvalues, ascending, before clipping.

    Raises:
        BadInput: empty, not square, NaN, asymmetric, indefinite, or a diagonal that is not 1.
    """
    K = as_matrix(K, "K").astype(np.float64, copy=False)
    n = len(K)
    if K.shape != (n, n):
        raise BadInput(f"K should be (n, n) similarities; it has shape {K.shape}")
    if n == 0:
        raise BadInput("there are no items: the Vendi score of an empty set is undefined")
    w = item_weights(p, n)
    scale = max(1.0, float(K.max()), -float(K.min()))
    if asymmetry(K) > 1e-6 * scale:
        raise BadInput("K is not symmetric; give (K + K.T) / 2 if that is what is meant")
    if w is not None and (w == 0).any():
        keep = np.flatnonzero(w)
        K, w, n = K[np.ix_(keep, keep)], w[keep], len(keep)
    diagonal = np.diagonal(K).copy()
    if (diagonal < -DIAGONAL_TOLERANCE).any():
        raise BadInput("K has a negative diagonal entry; a kernel's diagonal is a squared length")
    zero = diagonal <= 0
    if normalize:
        roots = np.sqrt(np.where(zero, 1.0, diagonal))
        K = K / roots[:, None]
        K /= roots[None, :]
    elif unit_diagonal and (np.abs(diagonal[~zero] - 1) > DIAGONAL_TOLERANCE).any():
        raise BadInput("the diagonal of K is not 1, so the score has no meaning as a number of items: normalize=True")
    warn_of_zero_rows(int(zero.sum()), n)
    if w is None:
        eigenvalues = np.linalg.eigvalsh(K) / n
    else:
        A = K * np.sqrt(w)[:, None]
        A *= np.sqrt(w)[None, :]
        eigenvalues = np.linalg.eigvalsh(A)
    check_definite(eigenvalues)
    return eigenvalues


def asymmetry(K: np.ndarray, block: int = 256) -> float:
    """The largest ``|K_ij - K_ji|``, read in blocks that fit the cache.

    >>> asymmetry(np.array([[1.0, 0.5], [0.2, 1.0]]))
    0.3
    """
    worst = 0.0
    for i in range(0, len(K), block):
        for j in range(i, len(K), block):
            apart = K[i : i + block, j : j + block] - K[j : j + block, i : i + block].T
            worst = max(worst, float(apart.max()), -float(apart.min()))
    return worst


def check_definite(eigenvalues: np.ndarray) -> None:
    """Refuse a spectrum with an eigenvalue below -1e-6, which round-off does not explain."""
    if eigenvalues[0] < INDEFINITE:
        raise BadInput(
            f"K is not positive semi-definite (smallest eigenvalue of K/n {eigenvalues[0]:.3g}); "
            "use a similarity that is a kernel, such as cosine or rbf"
        )


def eigenvalues_of(
    X: Any,
    *,
    kernel: str | Block = "cosine",
    p: Any = None,
    normalize: bool = False,
    max_rows: int = EXACT_ROWS,
    progress: Progress = silent,
    **options: Any,
) -> np.ndarray:
    """Eigenvalues for embeddings under a kernel, or for a kernel matrix (kernel="precomputed"), by the cheaper route.

    Args:
        X: (n, d) embeddings, or (n, n) similarities.
        kernel: "cosine", "linear", "rbf", "laplacian", "polynomial", "precomputed", or a callable of two blocks.
        p: (n,) weights that sum to 1.
        normalize: scale the kernel to a diagonal of 1.
        max_rows: largest n for which an n x n matrix is made.
        progress: called while blocks are summed.
        options: of the kernel: gamma, degree, coef0; None means its default.

    Raises:
        BadInput: as its parts do, and where n exceeds ``max_rows`` for a kernel without features.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(kernel, str) and kernel == "precomputed":
        return kernel_eigenvalues(X, p=p, normalize=normalize)
    if isinstance(kernel, str) and kernel in ("cosine", "linear"):
        feature_map(np.zeros((0, 1)), kernel, **options)  # refuses options that the kernel does not take
        return feature_eigenvalues(X, p=p, normalize=normalize or kernel == "cosine", progress=progress)
    X = as_matrix(X).astype(np.float64, copy=False)
    if len(X) == 0:
        raise BadInput("there are no items: the Vendi score of an empty set is undefined")
    Z = feature_map(X, kernel, **options) if isinstance(kernel, str) and len(X) > X.shape[1] else None
    if Z is not None:
        return feature_eigenvalues(Z, p=p, normalize=normalize, progress=progress)
    if len(X) > max_rows:
        raise BadInput(
            f"{len(X)} items under a kernel without features need a {len(X)} x {len(X)} matrix; use vendi_estimate, "
            f"which states its error, kernel='cosine', which is exact at any size, or max_rows={len(X)}"
        )
    return kernel_eigenvalues(kernel_matrix(X, kernel, **options), p=p, normalize=normalize)


def warn_of_zero_rows(zero: int, n: int) -> None:
    """Warn that items without any content lower the trace, and so bias the score."""
    if zero:
        warnings.warn(
            f"{zero} of {n} items are like nothing, themselves included (zero rows): they count as absent, "
            "and the spectrum sums to less than 1",
            stacklevel=3,
        )
