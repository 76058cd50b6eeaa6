import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.spread import (
    chamfer_distance,
    diversity_coefficient,
    mean_nn_distance,
    mean_novelty,
    mean_pairwise_distance,
    nearest_distances,
    novelty,
    remote_clique,
    task2vec_embedding,
)
from polyculture.measure.undefined import UndefinedMeasureWarning


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 5)) + 3


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pairs_and_neighbours_agree_with_scipy(X, metric):
    assert mean_pairwise_distance(X, metric=metric) == pytest.approx(pdist(X, metric).mean(), abs=1e-12)
    D = cdist(X, X, metric)
    np.fill_diagonal(D, np.inf)
    nearest = np.sort(D, axis=1)[:, :4]
    np.testing.assert_allclose(nearest_distances(X, 4, metric=metric), nearest, atol=1e-12)
    assert mean_nn_distance(X, metric=metric) == pytest.approx(nearest[:, 0].mean())
    np.testing.assert_allclose(novelty(X, metric=metric), nearest[:, :3].mean(axis=1), atol=1e-12)


def test_more_than_a_block_of_rows():
    X = np.random.default_rng(1).normal(size=(2100, 3))
    assert mean_pairwise_distance(X, metric="euclidean") == pytest.approx(pdist(X).mean(), rel=1e-12)


def test_a_zero_row_is_at_one_from_everything():
    X = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    expected = np.array([1, 2, 1, 1, 1, 1]).mean()
    assert mean_pairwise_distance(X) == pytest.approx(expected)
    assert chamfer_distance(X) == 1.0
    np.testing.assert_allclose(nearest_distances(X, 3, metric="cosine"), [[1, 1, 2], [1, 1, 1], [1, 1, 2], [1, 1, 1]])
    assert chamfer_distance(np.zeros((3, 2))) == 1.0


def test_duplicates_are_at_zero_even_far_from_the_origin():
    X = np.repeat(np.array([[1e6, 1e6 + 1], [1e6, 1e6 + 3]]), 2, axis=0)
    assert mean_nn_distance(X) == 0.0
    assert mean_pairwise_distance(X, metric="euclidean") == pytest.approx(2 * 4 / 6)
    assert mean_pairwise_distance(np.ones((4, 3))) == 0.0
    assert mean_pairwise_distance(np.ones((4, 3)), metric="euclidean") == 0.0


def test_float32_rows_give_float64_values(X):
    assert mean_nn_distance(X.astype(np.float32)) == pytest.approx(mean_nn_distance(X), rel=1e-6)


def test_fewer_rows_than_neighbours_take_all():
    X = np.array([[0.0], [1.0], [3.0]])
    np.testing.assert_allclose(novelty(X, k=10), [2.0, 1.5, 2.5])
    assert mean_novelty(X, k=10) == 2.0


def test_a_clique_counts_itself(X):
    n = len(X)
    assert remote_clique(X) == pytest.approx(mean_pairwise_distance(X) * (n - 1) / n)
    assert diversity_coefficient(X) == mean_pairwise_distance(X)


def test_one_row_and_none():
    one, none = np.ones((1, 3)), np.zeros((0, 3))
    for measure in (mean_pairwise_distance, mean_nn_distance, mean_novelty):
        with pytest.warns(UndefinedMeasureWarning, match="at least two rows"):
            assert math.isnan(measure(one))
        with pytest.raises(BadInput, match="X is empty"):
            measure(none)
    for measure in (remote_clique, chamfer_distance, diversity_coefficient):
        for X in (one, none, []):
            with pytest.warns(UndefinedMeasureWarning, match="at least two rows"):
                assert measure(X) == 0.0


def test_bad_input(X):
    with pytest.raises(UnknownMethod, match="did you mean 'euclidean'"):
        mean_pairwise_distance(X, metric="euclid")
    with pytest.raises(BadInput, match="has 59 others"):
        nearest_distances(X, 60)
    with pytest.raises(BadInput, match="k of at least 1"):
        novelty(X, k=0)
    X[3, 1] = np.nan
    with pytest.raises(BadInput, match="row 4"):
        mean_nn_distance(X)


def test_task2vec_is_the_expected_squared_gradient():
    rng = np.random.default_rng(2)
    hidden, logits = rng.normal(size=(7, 3)), rng.normal(size=(7, 5))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.zeros((5, 3))
    for t in range(7):
        for y in range(5):
            gradient = np.outer((np.arange(5) == y) - p[t], hidden[t])
            expected += p[t, y] * gradient**2 / 7
    np.testing.assert_allclose(task2vec_embedding(hidden, logits, block=3), expected.mean(axis=0), atol=1e-12)
    with pytest.raises(BadInput, match="7 positions and logits 6"):
        task2vec_embedding(hidden, logits[:6])
