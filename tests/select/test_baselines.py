from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.deita import Deita, best_apart
from polyculture.select.determinantal import Determinantal, greedy_volume
from polyculture.select.k_center import KCenter
from polyculture.select.near_duplicates import NearDuplicates, duplicate_groups, nearest_duplicates
from polyculture.select.simple import Random, TopQuality
from polyculture.select.stratified import Stratified


def test_top_quality_breaks_ties_by_row() -> None:
    assert TopQuality().select(Pool.from_arrays(quality=[1, 3, 3, 2]), 3).tolist() == [1, 2, 3]


def test_random_is_uniform() -> None:
    pool = Pool.from_arrays(quality=np.zeros(5))
    counts = np.bincount(np.concatenate([Random().select(pool, 2, rng=s) for s in range(2000)]), minlength=5)
    np.testing.assert_allclose(counts / 2000, 0.4, atol=0.04)


def test_k_center_starts_at_the_middle_and_goes_farthest() -> None:
    pool = Pool.from_arrays(np.array([[0.0], [1.0], [10.0], [-9.0], [4.0]]))  # the mean is 1.2
    assert KCenter().select(pool, 4).tolist() == [1, 3, 2, 4]


def test_determinantal_maximises_the_determinant_greedily() -> None:
    X = np.random.default_rng(0).normal(size=(50, 8))
    q = np.random.default_rng(1).uniform(0.2, 1, 50)
    B = X / np.linalg.norm(X, axis=1, keepdims=True) * (q**1.5)[:, None]
    L = B @ B.T
    expected: list[int] = []
    for _ in range(8):
        values = [
            -1.0 if i in expected else np.linalg.det(L[np.ix_([*expected, i], [*expected, i])]) for i in range(50)
        ]
        expected.append(int(np.argmax(values)))
    assert Determinantal(alpha=1.5).select(Pool.from_arrays(X, quality=q), 8).tolist() == expected


def test_jitter_is_added_to_the_diagonal() -> None:
    B = np.random.default_rng(0).normal(size=(30, 5))
    L = B @ B.T + 0.5 * (B**2).sum(axis=1).max() * np.eye(30)
    expected: list[int] = []
    for _ in range(5):
        values = [
            -1.0 if i in expected else np.linalg.det(L[np.ix_([*expected, i], [*expected, i])]) for i in range(30)
        ]
        expected.append(int(np.argmax(values)))
    assert greedy_volume(B, 5, jitter=0.5).tolist() == expected


def test_determinantal_past_the_rank_leaves_copies_for_last() -> None:
    X = np.random.default_rng(0).normal(size=(12, 3))
    pool = Pool.from_arrays(np.vstack([X, X]))
    chosen = Determinantal().select(pool, 24)
    assert len({int(i) % 12 for i in chosen[:12]}) == 12
    assert sorted(chosen.tolist()) == list(range(24))
    with pytest.raises(BadInput, match=r"row 1 has -1; shift"):
        Determinantal(alpha=1.0).select(Pool.from_arrays(np.eye(2), quality=[1, -1]), 1)


def test_deita_is_the_plain_scan() -> None:
    rng = np.random.default_rng(0)
    X, q = rng.normal(size=(1500, 4)), rng.random(1500)
    U = X / np.linalg.norm(X, axis=1, keepdims=True)
    kept: list[int] = []
    for i in np.argsort(-q):
        if all(((U[i] - U[j]) ** 2).sum() >= 0.3 for j in kept):
            kept.append(int(i))
    chosen = Deita(threshold=0.3).select(Pool.from_arrays(X, quality=q), 1500)
    assert chosen.tolist() == kept and len(kept) < 1500
    assert Deita(threshold=0.3).select(Pool.from_arrays(X, quality=q), 5).tolist() == kept[:5]


def test_deita_threshold_is_inclusive() -> None:
    pool = Pool.from_arrays([[0.0], [1.0], [1.9]], quality=[3, 2, 1])
    assert Deita(threshold=1.0, normalize=False).select(pool, 3).tolist() == [0, 1]


def test_best_rows_apart_of_none_and_of_more_than_there_are() -> None:
    assert best_apart([], [], 3).tolist() == [] and best_apart([[1.0]], [2.0], 0).tolist() == []
    assert best_apart([[0.0], [2.0], [2.1]], [1, 2, 3], 9, threshold=1, normalize=False).tolist() == [2, 0]
    with pytest.raises(BadInput, match="0 or more"):
        best_apart([[1.0]], [2.0], -1)
    with pytest.raises(BadInput, match="one a row"):
        best_apart([[1.0]], [2.0, 1.0], 1)


TEXTS = [
    "Name the capital of France and say why it matters to trade in the north of the country today.",
    "Write a haiku about rain falling on a quiet barley field before the harvest moon rises at last.",
    "name the capital of France and say why it matters to trade in the north of the country today.",
    "Name the capital of France and say why it matters to trade in the south of the country today.",
    "What is 5 - 3?",
    "What is 5 + 3?",
]


def test_near_duplicates_by_text() -> None:
    pool = Pool.from_arrays(texts=TEXTS, quality=[1, 1, 1, 2, 1, 1])
    i, j, similarity = nearest_duplicates(pool, 0.6)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 2), (0, 3)]
    assert similarity[0] == 1 and 0.6 <= similarity[1] < 1
    assert duplicate_groups(pool, 0.6).tolist() == [3, 1, 3, 3, 4, 5]
    assert NearDuplicates(0.6).select(pool, 6).tolist() == [3, 1, 4, 5]
    assert NearDuplicates(0.6).select(pool, 2).tolist() == [3, 1]


def test_near_duplicates_by_embedding() -> None:
    X = np.array([[1, 0], [0, 1], [1, 0.05], [1, 0], [0, 1.0]])
    pool = Pool.from_arrays(X)
    i, j, similarity = nearest_duplicates(pool, 0.99, by="embeddings")
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 2), (0, 3), (1, 4)]
    assert similarity[1] == 1
    assert NearDuplicates(0.99, by="embeddings").select(pool, 5).tolist() == [0, 1]
    with pytest.raises(BadInput, match="threshold"):
        nearest_duplicates(pool, 0.0, by="embeddings")
    with pytest.raises(BadInput, match="needs texts"):
        NearDuplicates().select(pool, 2)


def test_no_dropped_row_without_a_kept_twin() -> None:
    angles = np.linspace(0, 1, 60)  # a chain: each row near the next, the ends far apart
    pool = Pool.from_arrays(np.c_[np.cos(angles), np.sin(angles)], quality=np.random.default_rng(0).random(60))
    groups = duplicate_groups(pool, 0.995, by="embeddings")
    kept = groups == np.arange(60)
    cosine = pool.X @ pool.X.T
    assert (cosine[np.arange(60), groups] >= 0.995 - 1e-9).all()
    assert (cosine[np.ix_(kept, kept)] - np.eye(kept.sum()) < 0.995).all()
    assert (pool.q[groups] >= pool.q).all()


def test_many_copies_make_few_pairs() -> None:
    pool = Pool.from_arrays(np.ones((3000, 4)), texts=["the same words again and again"] * 3000)
    for by in ("texts", "embeddings"):
        i, _, _ = nearest_duplicates(pool, by=by)
        assert len(i) == 2999 and set(i.tolist()) == {0}


def test_stratified_shares() -> None:
    groups = ["a"] * 80 + ["b"] * 16 + ["c"] * 4
    pool = Pool.from_arrays(np.random.default_rng(0).normal(size=(100, 3)), quality=np.arange(100.0), groups=groups)
    for tempering, expected in ((0.0, [13, 13, 4]), (1.0, [24, 5, 1]), (0.5, [18, 8, 4])):
        chosen = Stratified("top-quality", tempering).select(pool, 30)
        assert np.bincount(pool.groups[chosen]).tolist() == expected
    assert set(pool.groups[Stratified("top-quality").select(pool, 30)[:8]].tolist()) == {0, 1, 2}
    with pytest.raises(BadInput, match="itself"):
        Stratified("stratified").select(pool, 3)
    with pytest.raises(BadInput, match="needs quality"):
        Stratified("top-quality").select(pool.with_(quality=None), 3)
