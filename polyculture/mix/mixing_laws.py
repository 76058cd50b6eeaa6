"""Data mixing laws: a loss is a constant plus the exponential of a linear function of the mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.mix.regression import RegressionMixer


def fit_law(P: np.ndarray, y: np.ndarray, *, starts: int = 4) -> np.ndarray:
    """Fit y = c + sign * exp(p . t) by least squares; on the simplex the factor before exp goes into t.

    Args:
        P: (n, m) mixtures.
        y: (n,) losses or scores.
        starts: how far below (or above) the data the constant starts, in that many steps, for either sign.

    Returns:
        (m + 2,): c, sign, t.
    """
    from scipy.optimize import least_squares

    spread = max(float(np.ptp(y)), 1e-9 * max(1.0, float(np.abs(y).max())))
    best: tuple[float, np.ndarray] | None = None
    for sign in (1.0, -1.0):
        for gap in np.geomspace(0.05, 3.0, starts):
            c = y.min() - gap * spread if sign > 0 else y.max() + gap * spread
            t = np.linalg.lstsq(P, np.log(sign * (y - c)), rcond=None)[0]

            def residual(theta: np.ndarray, sign: float = sign) -> np.ndarray:
                return (theta[0] + sign * _exp(P, theta) - y) / spread

            def slope(theta: np.ndarray, sign: float = sign) -> np.ndarray:
                return np.column_stack([np.ones(len(y)), sign * _exp(P, theta)[:, None] * P]) / spread

            # Levenberg-Marquardt wants at least as many rows as parameters; "trf" does not.
            method = "lm" if len(y) > P.shape[1] else "trf"
            found = least_squares(residual, np.r_[c, t], jac=slope, method=method, max_nfev=200)
            if best is None or found.cost < best[0]:
                best = (float(found.cost), np.r_[found.x[0], sign, found.x[1:]])
    assert best is not None
    return best[1]


def _exp(P: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.exp(np.clip(P @ theta[1:], -50, 50))


@dataclass(eq=False)
class MixingLaws(RegressionMixer):
    """Every score follows L(p) = c + k exp(t . p), fitted on the runs' last checkpoints.

    Source: Data Mixing Laws (2024), Eq. 6; a baseline of DaMo (2025), Table 3. A law has groups + 1 parameters.

    Args:
        starts: starting values of the constant that are tried, for either sign of k.
    """

    starts: int = 4

    uses_checkpoints: ClassVar[bool] = False

    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        return {"laws": np.array([fit_law(X, y, starts=self.starts) for y in Y.T])}

    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        laws = model["laws"]
        return laws[:, 0] + laws[:, 1] * np.exp(np.clip(X @ laws[:, 2:].T, -50, 50))
