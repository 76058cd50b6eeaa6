"""RegMix: boosted trees on many small runs, and the mean of the mixtures they like best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.mix.candidates import CHUNK, dirichlet_mixtures
from polyculture.mix.regression import RegressionMixer
from polyculture.mix.trees import apply_trees, fit_trees


@dataclass(eq=False)
class RegMix(RegressionMixer):
    """LightGBM from mixtures to scores; the answer is the mean of the best 128 of 100 000 simulated mixtures.

    Candidates are Dirichlet around the mean mixture of the runs. ``batch`` is not used. Source: RegMix: Data Mixture as
    Regression (2024), Section 3, with the settings of its released notebook; a baseline of TiKMiX (2025), Table 1.

    Args:
        trees: at most.
        learning_rate: of the boosting.
        patience: rounds without improvement before it stops.
        best: how many of the best candidates are averaged.
    """

    seed: int = 42
    trees: int = 1000
    learning_rate: float = 0.01
    patience: int = 3
    best: int = 128

    uses_checkpoints: ClassVar[bool] = False

    def _combined(self) -> int:
        return self.best

    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        return fit_trees(
            X,
            Y,
            mixture,
            trees=self.trees,
            learning_rate=self.learning_rate,
            patience=self.patience,
            seed=self.seed,
        )

    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        return apply_trees(model, X)

    def _candidates(self) -> Iterator[np.ndarray]:
        known = self.columns_[self.seen_[self.columns_]]
        prior = self.centre_[known]
        drawn = dirichlet_mixtures(prior, self.n_candidates, np.random.default_rng(self.seed))
        for start in range(0, len(drawn), CHUNK):
            yield self._spread(drawn[start : start + CHUNK], known)
