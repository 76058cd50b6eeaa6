"""Collect the k attributes that tell most about the target, and nothing of the others.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 5, Feature selection.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.privacy.base import Minimizer, Records, full_resolution, one_bucket, one_hot_full
from polyculture.privacy.generalisation import Part


@dataclass(eq=False)
class FeatureSelection(Minimizer):
    """Keep the k attributes of the best score at full resolution; the others get one bucket.

    A categorical attribute's chi-squared score is the sum over its categories, its ANOVA score that of its best
    category.

    Source: Vertical Data Minimization (2023), Section 5, Feature selection.

    Args:
        k: how many attributes are kept; all of them if there are fewer.
        score: "chi2", "anova" (F value) or "mutual-information" with the target.
        resolution: quantile buckets of a continuous attribute that is kept.
    """

    k: int = 2
    score: Literal["chi2", "anova", "mutual-information"] = "chi2"
    resolution: int = 100

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        if self.k < 0:
            raise BadInput(f"k = {self.k}, but it should be at least 0")
        if self.resolution < 1:
            raise BadInput(f"resolution = {self.resolution}, but it should be at least 1")
        self.scores_ = self._scores(records)
        kept = set(np.argsort(-self.scores_, kind="stable")[: self.k].tolist())
        return [
            full_resolution(records, j, self.resolution) if j in kept else one_bucket(column)
            for j, column in enumerate(records.columns)
        ]

    def _scores(self, records: Records) -> np.ndarray:
        """(d,) scores; 0 where nothing can be told, as with one class or a constant attribute."""
        from sklearn.feature_selection import chi2, f_classif, mutual_info_classif

        d, found = len(records.columns), np.zeros(len(records.columns))
        if self.score not in ("chi2", "anova", "mutual-information"):
            raise unknown("score", self.score, ("chi2", "anova", "mutual-information"))
        if len(np.unique(records.y)) < 2:
            return found
        if self.score == "mutual-information":
            scaled = np.stack(
                [records.scaled(j) if c.continuous else records.values[:, j] for j, c in enumerate(records.columns)],
                axis=1,
            )
            discrete = np.array([not column.continuous for column in records.columns])
            smallest = min(3, len(scaled) - 1)
            found[:] = mutual_info_classif(
                scaled, records.y, discrete_features=discrete, n_neighbors=smallest, random_state=self.random_state
            )
            return found
        X, owner = one_hot_full(records)
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Features .* are constant")  # they score 0
            each = np.nan_to_num((chi2 if self.score == "chi2" else f_classif)(X, records.y)[0], nan=0.0)
        for j in range(d):
            found[j] = each[owner == j].sum() if self.score == "chi2" else each[owner == j].max()
        return found
