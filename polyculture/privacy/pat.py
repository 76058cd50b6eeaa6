"""PAT: the privacy-aware tree as a minimizer.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 4.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.base import Minimizer, Records
from polyculture.privacy.generalisation import Groups, Intervals, Part
from polyculture.privacy.tree import Tree, grow_tree


@dataclass(eq=False)
class PAT(Minimizer):
    """Read the coarser form off a tree whose splits tell the target but not the sensitive attributes.

    What no split needs is not collected: where the target is constant, alpha is high, or no split leaves
    ``min_samples_leaf`` records on both sides (a warning), every attribute has one bucket. ``tree_`` holds the tree.

    Source: Vertical Data Minimization (2023), Section 4.

    Args:
        alpha: weight of the sensitive attributes against the target, in [0, 1].
        max_leaf_nodes: leaves of the tree; more give finer buckets.
        min_samples_leaf: least records on each side of a split.
        sensitive_bins: equal-width bins of a sensitive attribute that is continuous.
    """

    alpha: float = 0.7
    max_leaf_nodes: int = 20
    min_samples_leaf: int = 100
    sensitive_bins: int = 6

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        if self.sensitive_bins < 1:
            raise BadInput(f"sensitive_bins = {self.sensitive_bins}, but it should be at least 1")
        if len(records.y) < 2 * self.min_samples_leaf:
            warnings.warn(
                f"min_samples_leaf = {self.min_samples_leaf} leaves nothing to split of {len(records.y)} records; "
                "every attribute gets one bucket",
                stacklevel=3,
            )
        discrete = {j: len(c.categories) for j, c in enumerate(records.columns) if c.categories is not None}
        self.tree_ = grow_tree(
            records.values,
            records.y,
            records.sensitive_codes(self.sensitive_bins),
            categorical=discrete,
            alpha=self.alpha,
            max_leaf_nodes=self.max_leaf_nodes,
            min_samples_leaf=self.min_samples_leaf,
        )
        return [read_off(self.tree_, records, j) for j in range(len(records.columns))]


def read_off(tree: Tree, records: Records, j: int) -> Part:
    """The buckets of attribute j that the tree's splits make."""
    column = records.columns[j]
    if column.categories is None:
        return Intervals(column, tree.borders(j))
    return Groups(column, tree.mapping(j, len(column.categories)))
