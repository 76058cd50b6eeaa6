"""Generalise what a trained model does not look at: a tree that imitates the model says what that is.

Data Minimization for GDPR Compliance in Machine Learning Models (2020), as used by From Principle to Practice: Vertical
Data Minimization for Machine Learning (2023), Section 5, Apt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.base import Minimizer, Records, full_resolution, one_hot_full
from polyculture.privacy.classifier import TwoLayerNetwork
from polyculture.privacy.generalisation import Generalisation, Groups, Intervals, Part, renumber


@dataclass(eq=False)
class Apt(Minimizer):
    """Fit a tree to a model's answers, and prune it while the model stays as accurate on generalised data.

    The model is trained on full-resolution records and never again: it sees a generalised record as the representative
    (median, or most frequent category) of each bucket. Where even the whole tree costs too much accuracy, attributes
    are left as they are, the one that regains most first. Sensitive attributes play no part.

    Source: Vertical Data Minimization (2023), Section 5, Apt; Goldsteen et al. (2020), Algorithm 1.

    Args:
        target_accuracy: share of the model's accuracy on records set aside that must be kept, in [0, 1].
        max_depth: depth of the whole tree.
        min_samples_leaf: least records in a leaf of the tree.
        validation_share: share of the records set aside for measuring.
    """

    target_accuracy: float = 0.98
    max_depth: int = 8
    min_samples_leaf: int = 10
    validation_share: float = 0.3

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        from sklearn.tree import DecisionTreeClassifier

        if not 0 <= self.target_accuracy <= 1:
            raise BadInput(f"target_accuracy = {self.target_accuracy}, but it should be between 0 and 1")
        if self.max_depth < 1 or self.min_samples_leaf < 1:
            raise BadInput("max_depth and min_samples_leaf should be at least 1")
        if not 0 < self.validation_share < 1:
            raise BadInput(f"validation_share = {self.validation_share}, but it should be between 0 and 1")
        train, validation = records.split(self.validation_share, rng)
        X, owner = one_hot_full(train)
        model = TwoLayerNetwork(random_state=self.random_state).fit(X, train.y)
        tree = DecisionTreeClassifier(
            max_depth=self.max_depth, min_samples_leaf=self.min_samples_leaf, random_state=self.random_state
        ).fit(X, model.predict(X))

        def score(parts: Sequence[Part] | None) -> float:
            held = validation if parts is None else _representatives(train, validation, parts)
            return float(np.mean(model.predict(one_hot_full(held)[0]) == validation.y))

        least = self.target_accuracy * score(None)
        depths = _depths(tree.tree_)
        parts = self._parts(train, tree.tree_, owner, depths, tree.get_depth())
        if score(parts) < least:
            return _untouch(train, parts, score, least)
        for depth in range(tree.get_depth() - 1, -1, -1):
            coarser = self._parts(train, tree.tree_, owner, depths, depth)
            if score(coarser) < least:
                break
            parts = coarser
        return parts

    def _parts(self, records: Records, tree: Any, owner: np.ndarray, depths: np.ndarray, depth: int) -> list[Part]:
        """The buckets that the splits above ``depth`` make."""
        feature, threshold = tree.feature, tree.threshold
        used = np.flatnonzero((feature >= 0) & (depths < depth))
        parts: list[Part] = []
        for j, column in enumerate(records.columns):
            mine = [node for node in used if owner[feature[node]] == j]
            if column.categories is not None:
                tested = {int(feature[node] - np.flatnonzero(owner == j)[0]) for node in mine}
                count = len(column.categories)
                parts.append(Groups(column, renumber([c if c in tested else -1 for c in range(count)])))
            else:
                cuts = np.unique([column.low + float(threshold[n]) * (column.high - column.low) for n in mine])
                parts.append(Intervals(column, tuple(cuts.tolist())))
        return parts


def _depths(tree: Any) -> np.ndarray:
    """How deep each node of a scikit-learn tree is; parents come before their children."""
    left, right = tree.children_left, tree.children_right
    depths = np.zeros(len(left), dtype=np.int64)
    for node in range(len(left)):
        if left[node] >= 0:
            depths[left[node]] = depths[right[node]] = depths[node] + 1
    return depths


def _representatives(train: Records, records: Records, parts: Sequence[Part]) -> Records:
    """Records with every value replaced by its bucket's representative among the training records."""
    known = Generalisation(tuple(parts)).buckets(train.values)
    asked = Generalisation(tuple(parts)).buckets(records.values)
    values = records.values.copy()
    for j, part in enumerate(parts):
        for bucket in np.unique(asked[:, j]):
            members = train.values[known[:, j] == bucket, j]
            if not len(members):
                continue  # no training record to stand for it: the value stays
            if isinstance(part, Intervals):
                values[asked[:, j] == bucket, j] = np.median(members)
            else:
                values[asked[:, j] == bucket, j] = np.bincount(members.astype(np.int64)).argmax()
    return Records(values, records.y, records.columns, records.sensitive)


def _untouch(
    records: Records, parts: Sequence[Part], score: Callable[[Sequence[Part]], float], least: float
) -> list[Part]:
    """Leave attributes as they are, the one that regains most accuracy first, until the model is accurate enough."""
    held, left = list(parts), list(range(len(parts)))
    while left and score(held) < least:
        trials = [[*held[:j], full_resolution(records, j), *held[j + 1 :]] for j in left]
        best = int(np.argmax([score(trial) for trial in trials]))
        held = trials[best]
        left.pop(best)
    return held
