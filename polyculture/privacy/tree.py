"""The privacy-aware tree: splits that tell the target and do not tell the sensitive attributes.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 4. The impurity of a node is

    I = (1 - alpha) Gini(y) + alpha (0.5 - (1/r) sum_j nG_j),    nG_j = Gini(s_j) K_j / (2 (K_j - 1)),

with Gini = 1 - sum_c p_c^2 and K_j the codes that sensitive attribute j has among all records, so that nG_j lies in
[0, 0.5]. A split should leave children that are pure in y and mixed in every s_j.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.generalisation import renumber

GAP = 1e-7  # values closer than this are one value, as in scikit-learn's trees
LEFT, RIGHT, ABSENT = 0, 1, 2


@dataclass(frozen=True)
class Split:
    """One split: values up to ``threshold`` go left, or each category where ``sides`` says.

    Args:
        feature: which column is split.
        threshold: midpoint between neighbouring values of a continuous feature.
        sides: per code of a categorical feature LEFT, RIGHT, or ABSENT from the node.
        gain: (n_t / n) (I_t - (n_L I_L + n_R I_R) / n_t).
    """

    feature: int
    threshold: float
    sides: tuple[int, ...]
    gain: float


@dataclass(frozen=True)
class Tree:
    """A grown tree, as far as a generalisation needs it.

    Args:
        splits: in the order they were made.
        root_impurity: I of all records.
        leaf_sizes: records in each leaf.
        leaf_impurities: I of each leaf, in the same order.
    """

    splits: tuple[Split, ...]
    root_impurity: float
    leaf_sizes: tuple[int, ...]
    leaf_impurities: tuple[float, ...]

    def borders(self, feature: int) -> tuple[float, ...]:
        """Every threshold used on a continuous feature anywhere in the tree, ascending."""
        return tuple(sorted({split.threshold for split in self.splits if split.feature == feature}))

    def mapping(self, feature: int, n_codes: int) -> tuple[int, ...]:
        """Buckets of a categorical feature: codes share one if every split treats them alike, absence included."""
        sides = [split.sides for split in self.splits if split.feature == feature]
        return renumber([tuple(side[code] for side in sides) for code in range(n_codes)])


@dataclass(frozen=True)
class Impurity:
    """The impurity of nodes, from the counts of their classes and sensitive codes.

    Args:
        y: (n,) class codes from 0.
        s: (n, r) codes of the sensitive attributes.
        alpha: weight of the sensitive part.
    """

    y: np.ndarray
    s: np.ndarray
    alpha: float
    one_hot: np.ndarray = field(init=False, repr=False)
    blocks: tuple[tuple[int, int, float], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        held, blocks, start = [], [], 0
        for j in range(-1, self.s.shape[1]):
            codes = np.unique(self.y if j < 0 else self.s[:, j], return_inverse=True)[1]
            k = int(codes.max()) + 1
            held.append(np.eye(k)[codes])
            norm = k / (2 * (k - 1)) if k > 1 else 0.0
            blocks.append((start, start + k, 1 - self.alpha if j < 0 else -self.alpha * norm / self.s.shape[1]))
            start += k
        object.__setattr__(self, "one_hot", np.concatenate(held, axis=1))
        object.__setattr__(self, "blocks", tuple(blocks))

    def of(self, counts: np.ndarray) -> np.ndarray:
        """I of nodes with these counts, (..., columns of ``one_hot``)."""
        found = np.full(counts.shape[:-1], 0.5 * self.alpha)
        for start, stop, weight in self.blocks:
            block = counts[..., start:stop]
            shares = block / block.sum(axis=-1, keepdims=True)
            found += weight * (1 - (shares**2).sum(axis=-1))
        return found

    def pure(self, rows: np.ndarray) -> bool:
        """Whether all these records have one class; no split of such a node can lower its impurity."""
        return bool((self.y[rows] == self.y[rows[0]]).all())


def grow_tree(
    X: np.ndarray,
    y: np.ndarray,
    s: np.ndarray,
    *,
    categorical: Mapping[int, int] | None = None,
    alpha: float = 0.7,
    max_leaf_nodes: int = 20,
    min_samples_leaf: int = 100,
) -> Tree:
    """Grow best first: the leaf whose best split improves most is split next.

    Args:
        X: (n, d) numbers; categorical features hold codes from 0.
        y: (n,) class codes from 0.
        s: (n, r) codes of the sensitive attributes.
        categorical: feature -> number of codes, for features that hold codes.
        alpha: weight of the sensitive attributes, in [0, 1].
        max_leaf_nodes: growth stops at this many leaves.
        min_samples_leaf: least records on each side of a split; where no split leaves that many, nothing is split.

    Returns:
        The tree. Of equally good splits the one of the first feature, the first threshold, is taken.

    Raises:
        BadInput: no records, a hyper-parameter out of range, or arrays that do not fit each other.
    """
    X, y, s = np.asarray(X, dtype=np.float64), np.asarray(y), np.asarray(s)
    if X.ndim != 2 or not len(X):
        raise BadInput("the tree needs at least one record")
    if len(y) != len(X) or s.ndim != 2 or len(s) != len(X):
        raise BadInput(f"{len(X)} records, but {len(y)} classes and sensitive attributes of shape {s.shape}")
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha = {alpha}, but it should be between 0 and 1")
    if max_leaf_nodes < 1 or min_samples_leaf < 1:
        raise BadInput("max_leaf_nodes and min_samples_leaf should be at least 1")
    impurity = Impurity(y, s, float(alpha))
    grower = _Grower(X, impurity, dict(categorical or {}), int(min_samples_leaf))
    everyone = np.arange(len(X))
    root = float(impurity.of(impurity.one_hot.sum(axis=0)))
    done: list[tuple[int, float]] = []
    frontier: list[tuple[float, int, np.ndarray, float, Split]] = []
    splits: list[Split] = []
    made = 0

    def place(rows: np.ndarray, own: float) -> None:
        nonlocal made
        split = grower.best(rows, own)
        if split is None:
            done.append((len(rows), own))
        else:
            heapq.heappush(frontier, (-split.gain, made, rows, own, split))
        made += 1

    place(everyone, root)
    while frontier and len(done) + len(frontier) < max_leaf_nodes:
        _, _, rows, _, split = heapq.heappop(frontier)
        splits.append(split)
        left = grower.goes_left(rows, split)
        for side in (rows[left], rows[~left]):
            place(side, float(impurity.of(impurity.one_hot[side].sum(axis=0))))
    done += [(len(rows), own) for _, _, rows, own, _ in frontier]
    return Tree(tuple(splits), root, tuple(size for size, _ in done), tuple(own for _, own in done))


@dataclass(frozen=True)
class _Grower:
    """The best split of a node."""

    X: np.ndarray
    impurity: Impurity
    categorical: Mapping[int, int]
    least: int

    def goes_left(self, rows: np.ndarray, split: Split) -> np.ndarray:
        values = self.X[rows, split.feature]
        if split.sides:
            return np.asarray(split.sides)[values.astype(np.int64)] == LEFT
        return values <= split.threshold

    def best(self, rows: np.ndarray, own: float) -> Split | None:
        """The split that maximises -(n_L I_L + n_R I_R), or None: too few records, one class, or it would do harm."""
        if len(rows) < 2 * self.least or self.impurity.pure(rows):
            return None
        found: Split | None = None
        lowest = np.inf
        for feature in range(self.X.shape[1]):
            search = self._codes if feature in self.categorical else self._thresholds
            cost, threshold, sides = search(rows, feature)
            if cost < lowest:
                lowest = cost
                gain = len(rows) / len(self.X) * (own - cost / len(rows))
                found = Split(feature, threshold, sides, gain)
        return found if found is not None and found.gain >= -np.finfo(np.float64).eps else None

    def _costs(self, counts: np.ndarray, n: np.ndarray, total: np.ndarray) -> np.ndarray:
        """n_L I_L + n_R I_R of splits whose left sides hold n records of these counts; inf where a side is small."""
        size = int(n[-1])
        allowed = (n >= self.least) & (size - n >= self.least)
        costs = np.full(len(n), np.inf)
        if allowed.any():
            left, right = counts[allowed], total - counts[allowed]
            costs[allowed] = n[allowed] * self.impurity.of(left) + (size - n[allowed]) * self.impurity.of(right)
        return costs

    def _thresholds(self, rows: np.ndarray, feature: int) -> tuple[float, float, tuple[int, ...]]:
        order = np.argsort(self.X[rows, feature], kind="stable")
        values = self.X[rows[order], feature]
        last = np.append(np.flatnonzero(np.diff(values) > GAP), len(values) - 1)  # the last record of each value
        counts = np.cumsum(self.impurity.one_hot[rows[order]], axis=0)[last]
        costs = self._costs(counts, last + 1, counts[-1])
        i = int(costs.argmin())
        if not np.isfinite(costs[i]):
            return np.inf, 0.0, ()
        a, b = values[last[i]], values[last[i] + 1]
        middle = a / 2 + b / 2
        return float(costs[i]), float(a if middle == b else middle), ()

    def _codes(self, rows: np.ndarray, feature: int) -> tuple[float, float, tuple[int, ...]]:
        n_codes = self.categorical[feature]
        codes = self.X[rows, feature].astype(np.int64)
        n = np.bincount(codes, minlength=n_codes)
        present = np.flatnonzero(n)
        counts = np.zeros((n_codes, self.impurity.one_hot.shape[1]))
        np.add.at(counts, codes, self.impurity.one_hot[rows])
        mean_y = np.bincount(codes, self.impurity.y[rows], n_codes)[present] / n[present]
        orders = [present[np.argsort(mean_y, kind="stable")]]
        if self.impurity.s.shape[1]:
            mean_s = np.bincount(codes, self.impurity.s[rows, 0], n_codes)[present] / n[present]
            orders.append(present[_interleaved(mean_y, mean_s)])
        lowest, sides = np.inf, np.full(n_codes, ABSENT)
        for order in orders:
            costs = self._costs(np.cumsum(counts[order], axis=0), np.cumsum(n[order]), counts.sum(axis=0))
            i = int(costs.argmin())
            if costs[i] < lowest:
                lowest = float(costs[i])
                sides[order[: i + 1]], sides[order[i + 1 :]] = LEFT, RIGHT
        return lowest, 0.0, tuple(int(side) for side in sides)


def _interleaved(mean_y: np.ndarray, mean_s: np.ndarray) -> np.ndarray:
    """Codes by their mean sensitive code, halved, each half by mean y, then one of each half in turn, the upper first.

    A prefix of that order has codes from both ends of the sensitive attribute on one side.
    """
    by_s = np.argsort(mean_s, kind="stable")
    half = len(by_s) // 2
    lower, upper = (part[np.argsort(mean_y[part], kind="stable")] for part in (by_s[:half], by_s[half:]))
    order = np.empty(len(by_s), dtype=np.int64)
    order[0::2], order[1::2] = upper, lower
    return order
