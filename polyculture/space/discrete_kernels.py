"""Kernels over things that are not vectors in a space: labels, distributions over labels, sets of bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.space.kernels import as_matrix


def class_kernel(labels: Sequence[Any] | np.ndarray, within: float = 1.0) -> np.ndarray:
    """Similarity of items known by their class alone, (n, n): 1 to itself, ``within`` to its class, 0 to the rest.

    Args:
        labels: n labels of any kind.
        within: similarity of two items of one class, in [0, 1].

    Raises:
        BadInput: ``within`` is out of range.

    >>> class_kernel(["a", "a", "b"], within=0.5).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if not 0 <= within <= 1:
        raise BadInput(f"within should be between 0 and 1, not {within}")
    names = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    codes = np.array([names[label] for label in labels], dtype=np.int64)
    K = np.where(codes[:, None] == codes[None, :], float(within), 0.0)
    np.fill_diagonal(K, 1.0)
    return K


def probability_product_kernel(P: Any, R: Any = None) -> np.ndarray:
    """Similarity of distributions, sum_y sqrt(p(y) r(y)), (n, m): for a classifier's outputs over labels.

    Args:
        P: (n, c) rows that sum to 1.
        R: (m, c) rows that sum to 1; None compares P with itself.

    Raises:
        BadInput: a negative entry, or a row that does not sum to 1 within 1e-4.
    """
    A, B = (_distributions(P), _distributions(P if R is None else R))
    return np.sqrt(A) @ np.sqrt(B).T


def tanimoto_kernel(A: Any, B: Any = None) -> np.ndarray:
    """Similarity of sets of bits, |a and b| / |a or b|, (n, m); an empty set is like nothing, itself included.

    Args:
        A: (n, bits) of zeros and ones, or booleans.
        B: (m, bits); None compares A with itself.

    Raises:
        BadInput: an entry is neither 0 nor 1.

    >>> tanimoto_kernel([[1, 1, 0], [0, 1, 1]]).tolist()
    [[1.0, 0.3333333333333333], [0.3333333333333333, 1.0]]
    """
    A, B = _bits(A), _bits(A if B is None else B)
    both = A @ B.T
    either = A.sum(axis=1)[:, None] + B.sum(axis=1)[None, :] - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def _distributions(P: Any) -> np.ndarray:
    P = as_matrix(P, "P").astype(np.float64, copy=False)
    if (P < 0).any() or (np.abs(P.sum(axis=1) - 1) > 1e-4).any():
        raise BadInput("each row should be a distribution: no negative entries, and a sum of 1")
    return P / P.sum(axis=1, keepdims=True)


def _bits(A: Any) -> np.ndarray:
    A = as_matrix(A, "A").astype(np.float64, copy=False)
    if not np.isin(A, (0.0, 1.0)).all():
        raise BadInput("bit vectors hold zeros and ones only")
    return A
