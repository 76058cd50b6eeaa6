"""The privacy-aware tree against hand-made records and a slow search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.privacy.tree import ABSENT, LEFT, RIGHT, Impurity, _interleaved, grow_tree


def gini(codes: np.ndarray) -> float:
    return 1 - sum(np.mean(codes == c) ** 2 for c in np.unique(codes))


def impurity(y: np.ndarray, s: np.ndarray, alpha: float, sizes: list[int]) -> float:
    normalised = [gini(s[:, j]) * k / (2 * (k - 1)) if k > 1 else 0 for j, k in enumerate(sizes)]
    return (1 - alpha) * gini(y) + alpha * (0.5 - np.mean(normalised))


def test_impurity_by_hand() -> None:
    y, s = np.array([0, 0, 1, 1]), np.array([[0, 7], [1, 7], [2, 7], [3, 7]])
    found = Impurity(y, s, 0.4)
    everyone = found.one_hot.sum(axis=0)
    # y: Gini 0.5; first s: evenly spread, so 0.5; second s: one code only, so 0
    assert found.of(everyone) == pytest.approx(0.6 * 0.5 + 0.4 * (0.5 - (0.5 + 0) / 2))
    assert float(found.of(found.one_hot[0])) == pytest.approx(0.4 * 0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_first_split_is_the_best_of_a_slow_search(alpha: float) -> None:
    rng = np.random.default_rng(3)
    X, s = rng.random((60, 3)).round(2), rng.integers(0, 3, (60, 2))
    y = ((X[:, 1] > 0.4) ^ (rng.random(60) < 0.2)).astype(int)
    sizes = [3, 3]
    best = (np.inf, -1, 0.0)
    for j in range(3):
        values = np.unique(X[:, j])
        for a, b in itertools.pairwise(values):
            left = X[:, j] <= (a + b) / 2
            if min(left.sum(), (~left).sum()) < 8:
                continue
            cost = sum(part.sum() * impurity(y[part], s[part], alpha, sizes) for part in (left, ~left))
            if cost < best[0] - 1e-12:
                best = (cost, j, (a + b) / 2)
    tree = grow_tree(X, y, s, alpha=alpha, max_leaf_nodes=2, min_samples_leaf=8)
    root = impurity(y, s, alpha, sizes)
    assert tree.root_impurity == pytest.approx(root)
    if best[0] / 60 <= root:
        assert (tree.splits[0].feature, tree.splits[0].threshold) == (best[1], pytest.approx(best[2]))
        assert tree.splits[0].gain == pytest.approx(root - best[0] / 60)
    else:
        assert not tree.splits


def test_alpha_zero_is_a_plain_tree() -> None:
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(0)
    X = rng.random((300, 4)).astype(np.float32).astype(np.float64)
    y = (X[:, 0] + X[:, 1] > 1).astype(int)
    mine = grow_tree(X, y, np.zeros((300, 1), int), alpha=0, max_leaf_nodes=7, min_samples_leaf=10)
    peer = DecisionTreeClassifier(max_leaf_nodes=7, min_samples_leaf=10).fit(X, y).tree_
    assert sorted(mine.leaf_sizes) == sorted(peer.n_node_samples[peer.children_left < 0])
    inner = peer.children_left >= 0
    for j in range(4):
        assert mine.borders(j) == pytest.approx(sorted(peer.threshold[inner & (peer.feature == j)]))


def test_leaves_hold_everyone_and_enough() -> None:
    rng = np.random.default_rng(1)
    X, y, s = rng.random((200, 3)), rng.integers(0, 2, 200), rng.integers(0, 4, (200, 1))
    tree = grow_tree(X, y, s, alpha=0.2, max_leaf_nodes=9, min_samples_leaf=11)
    assert sum(tree.leaf_sizes) == 200 and min(tree.leaf_sizes) >= 11
    assert len(tree.leaf_sizes) == len(tree.splits) + 1 <= 9


@pytest.mark.parametrize(
    ("y", "s", "hyper"),
    [
        (np.zeros(40, int), np.arange(40)[:, None] % 3, {}),  # one class
        (np.arange(40) % 2, np.arange(40)[:, None] % 3, {"min_samples_leaf": 21}),
        (np.arange(40) % 2, np.arange(40)[:, None] % 3, {"max_leaf_nodes": 1}),
        (np.zeros(40, int), np.zeros((40, 1), int), {"alpha": 1}),
    ],
)
def test_nothing_to_split(y: np.ndarray, s: np.ndarray, hyper: dict[str, float]) -> None:
    tree = grow_tree(np.arange(40.0)[:, None], y, s, **({"min_samples_leaf": 2} | hyper))
    assert not tree.splits and tree.leaf_sizes == (40,) and tree.borders(0) == ()


def test_high_alpha_keeps_the_sensitive_attribute_mixed() -> None:
    x = np.linspace(0, 1, 80)
    y = s = (x > 0.5).astype(int)
    assert grow_tree(x[:, None], y, s[:, None], alpha=0.1, min_samples_leaf=5).borders(0)
    assert not grow_tree(x[:, None], y, s[:, None], alpha=0.9, min_samples_leaf=5).splits


def test_categories() -> None:
    codes = np.repeat([0, 1, 2, 3], 10)
    y = np.isin(codes, [1, 3]).astype(int)
    s = np.zeros((40, 1), int)
    tree = grow_tree(codes[:, None], y, s, categorical={0: 5}, alpha=0.5, min_samples_leaf=5)
    assert tree.splits[0].sides == (LEFT, RIGHT, LEFT, RIGHT, ABSENT)
    assert tree.mapping(0, 5) == (0, 1, 0, 1, 2)


def test_interleaved_order() -> None:
    mean_s, mean_y = np.array([0, 1, 2, 3, 4.0]), np.array([0.9, 0.1, 0.5, 0.2, 0.3])
    # lower half by s: 0 and 1, by y: 1, 0; upper: 2, 3, 4, by y: 3, 4, 2
    assert _interleaved(mean_y, mean_s).tolist() == [3, 1, 4, 0, 2]


def test_interleaving_finds_splits_that_hide_the_sensitive_attribute() -> None:
    codes = np.repeat(np.arange(4), 20)
    y, s = codes % 2, (codes // 2)[:, None]  # codes 1 and 3 mean y = 1; s tells 0, 1 from 2, 3
    tree = grow_tree(codes[:, None], y, s, categorical={0: 4}, alpha=0.5, min_samples_leaf=5, max_leaf_nodes=2)
    assert tree.mapping(0, 4) == (0, 1, 0, 1)


def test_bad_input() -> None:
    X, y, s = np.zeros((3, 1)), np.zeros(3, int), np.zeros((3, 1), int)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput, match="alpha"):
            grow_tree(X, y, s, alpha=alpha)
    with pytest.raises(BadInput, match="at least 1"):
        grow_tree(X, y, s, min_samples_leaf=0)
    with pytest.raises(BadInput, match="at least one record"):
        grow_tree(X[:0], y[:0], s[:0])
    with pytest.raises(BadInput, match="3 records, but 2 classes"):
        grow_tree(X, y[:2], s)
