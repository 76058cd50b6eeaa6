"""The linear baseline: every task's score is a weighted sum of the groups' shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.mix.regression import RegressionMixer


@dataclass(eq=False)
class LinearMixer(RegressionMixer):
    """Ridge regression from mixture x progress to the scores; its penalty is chosen by leave-one-out.

    A linear score is best at a corner of the simplex: what this proposes is a group, not a mixture. It is there to be
    compared with. Source: baseline of DaMo (2025) and RegMix (2024), Section 3.

    Args:
        penalties: lowest and highest ridge penalty tried, 17 of them evenly in the log.
    """

    penalties: tuple[float, float] = (1e-6, 1e2)

    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        from sklearn.linear_model import RidgeCV

        tried = np.geomspace(*self.penalties, 17)
        ridges = [RidgeCV(alphas=tried).fit(X, y) for y in Y.T]
        return {
            "coef": np.array([r.coef_ for r in ridges]),
            "intercept": np.array([float(r.intercept_) for r in ridges]),
        }

    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        return X @ model["coef"].T + model["intercept"]
