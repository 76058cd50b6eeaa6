"""Neighbours and close pairs against brute force, with duplicates, zero rows and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.space import neighbors
from polyculture.space.kernels import cosine_kernel, squared_distances
from polyculture.space.neighbors import nearest_neighbors, pairs_above, pairs_within


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_agrees_with_brute_force(X: np.ndarray, metric: str) -> None:
    D = 1 - cosine_kernel(X) if metric == "cosine" else np.sqrt(squared_distances(X))
    np.fill_diagonal(D, np.inf)
    distances, indices = nearest_neighbors(X, 5, metric=metric)
    assert distances.dtype == np.float32 and indices.dtype == np.int64
    np.testing.assert_array_equal(indices, np.argsort(D, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(distances, np.sort(D, axis=1)[:, :5], atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_own_row_is_left_out_but_not_its_duplicates(metric: str) -> None:
    X = np.array([[1.0, 0.0]] * 6 + [[0.0, 1.0]])
    distances, indices = nearest_neighbors(X, 5, metric=metric)
    for i in range(6):
        assert i not in indices[i] and set(indices[i]) == set(range(6)) - {i}
        assert (distances[i] == 0).all()
    distances, indices = nearest_neighbors(X, 2, metric=metric)
    assert all(i not in indices[i] for i in range(7))
    np.testing.assert_array_equal(indices[6] < 6, True)


def test_queries_and_keeping_self(X: np.ndarray) -> None:
    distances, indices = nearest_neighbors(X, 1, queries=X[:9])
    np.testing.assert_array_equal(indices[:, 0], np.arange(9))
    assert (distances == 0).all()
    assert (nearest_neighbors(X, 1, queries=X[:9], exclude_self=True)[1][:, 0] != np.arange(9)).all()
    assert (nearest_neighbors(X, 1, exclude_self=False)[1][:, 0] == np.arange(200)).all()


def test_blocks_do_not_change_the_answer(X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest_neighbors(X, 4)
    monkeypatch.setattr(neighbors, "QUERY_BLOCK", 7)
    parts = nearest_neighbors(X, 4)
    np.testing.assert_array_equal(whole[1], parts[1])


def test_zero_rows_are_at_one_by_cosine() -> None:
    X = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.9, 0.1]])
    distances, indices = nearest_neighbors(X, 3)
    np.testing.assert_allclose(distances[0], 1.0)
    np.testing.assert_array_equal(indices[1], [3, 0, 2])


def test_digits_far_from_the_origin() -> None:
    X = np.array([[1e4, 0.0], [1e4 + 0.02, 0.0], [1e4 + 0.05, 0.0]])
    distances, indices = nearest_neighbors(X, 1, metric="l2")
    np.testing.assert_array_equal(indices[:, 0], [1, 0, 1])
    np.testing.assert_allclose(distances[:, 0], [0.02, 0.02, 0.03], rtol=1e-3)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_approximate_finds_nearly_all(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "APPROXIMATE_FROM", 1000)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 16))[rng.integers(0, 50, 6000)] + 0.3 * rng.standard_normal((6000, 16))
    exact, near = (
        nearest_neighbors(X, 10, metric=metric)[1],
        nearest_neighbors(X, 10, metric=metric, approximate=True)[1],
    )
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, near, strict=True)])
    assert recall > 0.9
    assert all(i not in row for i, row in enumerate(near))


def test_pairs_above_and_within(X: np.ndarray) -> None:
    K = cosine_kernel(X)
    i, j, similarity = pairs_above(X, 0.8, block=33)
    expected = np.argwhere(np.triu(K >= 0.8, 1))
    np.testing.assert_array_equal(np.stack([i, j], 1), expected)
    np.testing.assert_allclose(similarity, K[i, j], atol=1e-6)
    D = np.sqrt(squared_distances(X))
    i, j, distance = pairs_within(X, 1.5, block=33)
    np.testing.assert_array_equal(np.stack([i, j], 1), np.argwhere(np.triu(D <= 1.5, 1)))
    np.testing.assert_allclose(distance, D[i, j], atol=1e-4)


def test_duplicates_are_pairs_at_a_threshold_of_one() -> None:
    X = np.random.default_rng(3).standard_normal((40, 384)).astype(np.float32)
    X[30] = 2 * X[4]
    i, j, _ = pairs_above(X, 1.0)
    assert list(zip(i, j, strict=True)) == [(4, 30)]
    assert all(len(part) == 0 for part in pairs_above(X[:0], 0.5))
    assert all(len(part) == 0 for part in pairs_above(X[:1], 0.5))


def test_bad_input_is_named(X: np.ndarray) -> None:
    with pytest.raises(BadInput, match="between 1 and 199"):
        nearest_neighbors(X, 200)
    with pytest.raises(BadInput, match="6 columns and queries have 3"):
        nearest_neighbors(X, 2, queries=X[:, :3])
    with pytest.raises(UnknownMethod, match="did you mean 'cosine'"):
        nearest_neighbors(X, 2, metric="cos")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="NaN or infinite"):
        nearest_neighbors(np.full((3, 2), np.nan), 1)
    with pytest.raises(BadInput, match="more than 5 pairs"):
        pairs_above(np.ones((10, 2)), 0.5, max_pairs=5)
