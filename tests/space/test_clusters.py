from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.space.clusters import choose_k, kmeans, silhouette


def blobs(k: int = 5, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(k), each)
    return 10 * rng.normal(size=(k, 6))[truth] + rng.normal(size=(k * each, 6)), truth


def test_finds_what_is_there() -> None:
    X, truth = blobs()
    found = kmeans(X, 5, rng=0)
    assert len({(a, b) for a, b in zip(found.labels, truth, strict=True)}) == 5
    for cluster in range(5):
        np.testing.assert_allclose(found.centroids[cluster], X[found.labels == cluster].mean(axis=0), atol=1e-4)
    assert found.inertia == pytest.approx(((X - found.centroids[found.labels]) ** 2).sum(), rel=1e-4)
    assert found.sizes.tolist() == [40] * 5


def test_far_from_the_origin() -> None:
    X, truth = blobs()
    found = kmeans(X + 1e4, 5, rng=0)
    assert len({(a, b) for a, b in zip(found.labels, truth, strict=True)}) == 5


def test_seed_decides() -> None:
    X = np.random.default_rng(0).normal(size=(300, 4))
    np.testing.assert_array_equal(kmeans(X, 9, rng=4).labels, kmeans(X, 9, rng=4).labels)


def test_no_cluster_is_empty() -> None:
    rng = np.random.default_rng(1)
    for k in (2, 5, 20, 50):
        X = np.repeat(rng.normal(size=(50, 3)), rng.integers(1, 30, size=50), axis=0)
        found = kmeans(X, k, rng=0, n_init=1)
        assert found.k == k and (found.sizes > 0).all()


def test_fewer_values_than_clusters() -> None:
    X = np.repeat(np.eye(3), 7, axis=0)
    found = kmeans(X, 10, rng=0)
    assert found.k == 3 and found.inertia == pytest.approx(0, abs=1e-9)
    assert kmeans(np.zeros((6, 2)), 4, rng=0).k == 1
    assert kmeans(X, 21, rng=0).k == 3


def test_refuses() -> None:
    with pytest.raises(BadInput, match=r"k = 4 clusters, but it should be between 1 and the 3 rows"):
        kmeans(np.eye(3), 4)
    with pytest.raises(BadInput, match="n_init"):
        kmeans(np.eye(3), 2, n_init=0)
    with pytest.raises(BadInput, match="grid"):
        choose_k(np.eye(3), [])


def test_silhouette_chooses_k() -> None:
    X, truth = blobs(8, 60)
    best, scores = choose_k(X, [2, 4, 8, 16, 32], rng=0)
    assert best == 8 and set(scores) == {2, 4, 8, 16, 32} and scores[8] == max(scores.values())
    assert choose_k(X, rng=0)[0] == 8
    assert choose_k(X[:2]) == (1, {})
    assert silhouette(X, np.zeros(len(X), int)) == -1
    assert silhouette(X, truth, sample=100, rng=0) == pytest.approx(silhouette(X, truth), abs=0.1)
