"""How spread out a set is, as the differential entropy that distances to the k-th neighbour estimate.

Kozachenko and Leonenko, Sample estimate of the entropy of a random vector (1987); as the diversity of prompts in
Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models (FiFA, 2024).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.spread import nearest_distances
from polyculture.measure.undefined import undefined
from polyculture.space.kernels import as_matrix
from polyculture.space.neighbors import nearest_neighbors

FLOOR = 1e-8
"""Distances are not taken for less than this before the logarithm: duplicates are at 0."""


def log_knn_distance(X: Any, k: int = 5, *, floor: float = FLOOR, approximate: bool = False) -> np.ndarray:
    """Logarithm of the Euclidean distance of each row to its k-th nearest other row, (n,) float64: how isolated it is.

    Args:
        X: (n, d) embeddings, used as given.
        k: which neighbour, 1 to n - 1.
        floor: distances below it count as it.
        approximate: find neighbours through an inverted file, in float32, which pays above 200 000 rows; some are
            missed, and then a farther one counts.

    Raises:
        BadInput: k is out of range, floor is not above 0, or a value is NaN or infinite.
    """
    if not floor > 0:
        raise BadInput(f"floor is a distance before a logarithm and should be above 0, not {floor}")
    if approximate:
        distances = nearest_neighbors(X, k, metric="l2", approximate=True)[0].astype(np.float64)
    else:
        distances = nearest_distances(X, k)
    return np.log(np.maximum(distances[:, k - 1], floor))


def knn_entropy(X: Any, *, k: int = 5) -> float:
    """Differential entropy in nats: psi(n) - psi(k) + ln V_d + d * mean ln rho_k, V_d the volume of the unit ball.

    rho_k is the distance to the k-th nearest other row, at least 1e-8. It compares sets of one dimension d, and is
    dominated by duplicates where there are many. Source: Kozachenko and Leonenko (1987).

    Args:
        X: (n, d) embeddings; with k rows or fewer it is NaN, with a warning.
        k: which neighbour.

    Raises:
        BadInput: k is below 1, there is no row, or a value is NaN or infinite.
    """
    from scipy.special import digamma

    X = as_matrix(X)
    if k < 1:
        raise BadInput(f"k = {k}, but the nearest neighbour is number 1")
    n, d = X.shape
    if n <= k:
        return undefined("knn_entropy", f"it needs more than k = {k} rows")
    ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    return float(digamma(n) - digamma(k) + ball + d * float(log_knn_distance(X, k).mean()))
