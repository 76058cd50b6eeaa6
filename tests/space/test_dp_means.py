"""DP-means against a row-by-row loop, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.space.dp_means import dp_means


def row_by_row(X: np.ndarray, radius: float, first: int, sweeps: int) -> tuple[list[int], np.ndarray]:
    centroids = [X[first]]
    for sweep in range(sweeps):
        labels = []
        for x in X:
            distance = [np.linalg.norm(x - c) for c in centroids]
            nearest = int(np.argmin(distance))
            if distance[nearest] > radius:
                centroids.append(x)
                nearest = len(centroids) - 1
            labels.append(nearest)
        if sweep < sweeps - 1:
            members = [X[np.array(labels) == k] for k in range(len(centroids))]
            centroids = [m.mean(axis=0) if len(m) else c for m, c in zip(members, centroids, strict=True)]
    return labels, np.array(centroids)


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5])
def test_against_a_loop_over_rows(radius: float) -> None:
    X = np.random.default_rng(0).normal(size=(80, 3))
    for sweeps in (1, 2, 4):
        found = dp_means(X, radius, first=7, max_iter=sweeps, tol=-1.0)
        labels, before = row_by_row(X, radius, 7, sweeps)
        assert found.labels.tolist() == labels and found.k == len(before)


def test_far_groups_are_found_whatever_the_first_row() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], 20)
    X = np.array([[0, 0], [10, 0], [0, 10]])[truth] + 0.1 * rng.normal(size=(60, 2))
    for first in (0, 25, 59):
        found = dp_means(X, 3.0, first=first)
        assert found.k == 3 and len({(a, b) for a, b in zip(truth, found.labels, strict=True)}) == 3
        assert found.assign(X).tolist() == found.labels.tolist()


def test_limits() -> None:
    X = np.random.default_rng(2).normal(size=(50, 2))
    assert dp_means(X, 1e9, rng=0).k == 1
    assert dp_means(X, 1e-9, rng=0, max_iter=1).k in (50, 51) and dp_means(X, 1e-9, max_clusters=4, rng=0).k == 4
    assert dp_means(np.zeros((5, 2)), 1.0, rng=0).labels.tolist() == [0] * 5
    assert dp_means(X[:1], 1.0).k == 1
    assert dp_means([[1.0], [2.0], [1.0]], 0.0, first=0).labels.tolist() == [0, 1, 0]
    same = [dp_means(X, 1.0, rng=5).labels.tolist() for _ in range(2)]
    assert same[0] == same[1]


def test_bad_input() -> None:
    for radius in (-1.0, np.nan):
        with pytest.raises(BadInput, match="radius should be 0 or more"):
            dp_means(np.ones((3, 2)), radius)
    with pytest.raises(BadInput, match="no rows"):
        dp_means(np.ones((0, 2)), 1.0)
    with pytest.raises(BadInput, match="rows go from 0 to 2"):
        dp_means(np.ones((3, 2)), 1.0, first=3)
    with pytest.raises(BadInput, match="NaN"):
        dp_means([[np.nan, 1.0]], 1.0)
