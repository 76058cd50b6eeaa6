from __future__ import annotations

import math

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.knn_entropy import knn_entropy, log_knn_distance


def test_close_to_the_entropy_of_a_gaussian() -> None:
    X = np.random.default_rng(0).normal(size=(4000, 2))
    assert knn_entropy(X) == pytest.approx(math.log(2 * math.pi * math.e), abs=0.05)
    assert knn_entropy(3 * X) - knn_entropy(X) == pytest.approx(2 * math.log(3))


def test_distances_by_hand() -> None:
    X = [[0.0], [1.0], [3.0], [3.0]]
    np.testing.assert_allclose(np.exp(log_knn_distance(X, 1)), [1, 1, 1e-8, 1e-8])
    np.testing.assert_allclose(np.exp(log_knn_distance(X, 2, floor=0.1)), [3, 2, 2, 2])


def test_refuses() -> None:
    with pytest.warns(UserWarning, match="more than k = 5"):
        assert math.isnan(knn_entropy(np.eye(3)))
    with pytest.raises(BadInput, match="number 1"):
        knn_entropy(np.eye(3), k=0)
    with pytest.raises(BadInput, match="k = 3"):
        log_knn_distance(np.eye(3), 3)
    with pytest.raises(BadInput, match="floor"):
        log_knn_distance(np.eye(3), 1, floor=0.0)
