from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.kmq import KMQ, KMClosest, KMRandom
from polyculture.select.kmq_iterative import (
    IterativeKMQ,
    Rounds,
    cluster_scores,
    floored,
    ratio_weights,
    softmax_weights,
)


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], [60, 30, 10])
    centres = np.array([[0, 0], [20, 0], [0, 20]])
    return Pool.from_arrays(centres[groups] + rng.normal(size=(100, 2)), quality=rng.random(100), groups=groups)


def test_budget_by_size_or_equal(pool: Pool) -> None:
    for method in (KMQ, KMRandom, KMClosest):
        assert np.bincount(pool.groups[method(3).select(pool, 20, rng=0)]).tolist() == [12, 6, 2]
        equal = np.bincount(pool.groups[method(3, shares="equal").select(pool, 40, rng=0)])
        assert equal.tolist() == [15, 15, 10]


def test_quality_draws_inside_a_cluster(pool: Pool) -> None:
    drawn = [pool.q[KMQ(3).select(pool, 20, rng=s)].mean() for s in range(30)]
    assert np.mean(drawn) > pool.q.mean() + 0.08
    negative = pool.with_(quality=pool.q - 0.5)
    with pytest.raises(BadInput, match=r"shift it to 0 or more, or set quality_as to softmax"):
        KMQ(3).select(negative, 5)
    assert len(KMQ(3, quality_as="softmax").select(negative, 5, rng=0)) == 5


def test_closest_to_centroids(pool: Pool) -> None:
    chosen = KMClosest(3).select(pool, 10, rng=0)
    for group in range(3):
        X = pool.X[pool.groups == group]
        distances = np.linalg.norm(pool.X - X.mean(axis=0), axis=1)
        mine = chosen[pool.groups[chosen] == group]
        assert set(mine.tolist()) == set(np.argsort(distances)[: len(mine)].tolist())


def test_scores_and_weights() -> None:
    assert cluster_scores([1, 3, 5], [0, 0, 2], 3).tolist() == [2, 3, 5]  # none in cluster 1: the overall mean
    assert softmax_weights(np.array([1e4, 1e4])).tolist() == [0.5, 0.5]
    raw, weights = ratio_weights(np.array([1.0, 3.0]), np.array([0.5, 0.5]))
    assert raw.tolist() == [0.125, 0.375] and weights.tolist() == [0.25, 0.75]
    shifted = ratio_weights(np.array([-1.0, 1.0]), np.array([0.5, 0.5]))[1]
    assert shifted == pytest.approx([1e-3 / 2.002, 2.001 / 2.002])
    assert ratio_weights(np.zeros(4), np.full(4, 0.25))[1].tolist() == [0.25] * 4
    with pytest.raises(BadInput, match="NaN"):
        cluster_scores([np.nan], [0], 1)
    with pytest.raises(BadInput, match="one each"):
        cluster_scores([1.0], [0, 1], 2)


def test_floor_keeps_the_sum() -> None:
    lifted = floored(np.array([0.97, 0.02, 0.005, 0.005]), 0.1)
    assert lifted.sum() == pytest.approx(1) and lifted.min() == pytest.approx(0.025)
    assert floored(np.array([1.0, 0.0]), 1.0).tolist() == [0.5, 0.5]
    assert floored(np.array([0.6, 0.4]), 0.0).tolist() == [0.6, 0.4]


def test_rounds_follow_the_judge(pool: Pool) -> None:
    seen: list[int] = []

    def judge(rows: np.ndarray) -> np.ndarray:
        seen.append(len(rows))
        return np.where(pool.groups[rows] == 1, 5.0, 0.0)

    selector = IterativeKMQ(judge, 3, rounds=3)
    chosen = selector.select(pool, 31, rng=0)
    assert seen == [11, 21] and len(np.unique(chosen)) == 31
    first, *_, last = selector.history_
    assert first.weights == pytest.approx([1 / 3] * 3)
    group_of = pool.groups[[np.flatnonzero(selector.clusters_ == c)[0] for c in range(3)]]
    assert group_of[last.weights.argmax()] == 1 and last.weights.min() == pytest.approx(0.1 / 3)
    assert (pool.groups[last.added] == 1).sum() >= 8


def test_a_spent_cluster_passes_its_excess_on() -> None:
    clusters = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    rounds = Rounds(clusters, None, 8, n_rounds=2, rng=np.random.default_rng(0))
    assert np.bincount(clusters[rounds.ask()]).tolist() == [2, 2]
    with pytest.raises(BadInput, match="tell"):
        rounds.ask()
    rounds.tell(np.array([9.0] * 4))
    assert np.bincount(clusters[rounds.ask()], minlength=2).tolist() == [0, 4]
    assert rounds.done and sorted(rounds.selected.tolist()) == list(range(8))
    with pytest.raises(BadInput, match="used up"):
        rounds.ask()


def test_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match="n_clusters"):
        KMQ(0).select(pool, 3)
    with pytest.raises(BadInput, match="rounds should be"):
        Rounds(np.zeros(3, int), None, 2, n_rounds=0)
    with pytest.raises(KeyError, match="ratio"):
        Rounds(np.zeros(3, int), None, 2, weights_by="ratios")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="equal"):
        KMQ(3, shares="equals").select(pool, 3)  # type: ignore[arg-type]
