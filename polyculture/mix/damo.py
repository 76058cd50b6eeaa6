"""DaMo: a small network predicts every task's score from the mixture and the progress of training.

DaMo: Data Mixing Optimizer in Fine-tuning Multimodal LLMs for Mobile Phone Agents (2025), arXiv 2510.19336, Section 3.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.mix.regression import RegressionMixer


def fit_network(
    X: Any,
    Y: Any,
    *,
    hidden: tuple[int, ...] = (100, 100),
    max_iter: int = 1500,
    tol: float = 1e-6,
    seed: int = 1,
    standardise: bool = True,
) -> dict[str, Any]:
    """A ReLU network from (n, m) features to (n, k) targets under squared loss, by Adam.

    Args:
        X: features.
        Y: targets.
        hidden: units of the hidden layers.
        max_iter: epochs at most.
        tol: stop when ten epochs in a row improve the loss by less.
        seed: of the initial weights and the order of rows.
        standardise: fit targets of mean 0 and deviation 1; without it large raw scores make Adam slow.

    Returns:
        The network as arrays, for :func:`apply_network`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    features, targets = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    mean, scale = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
    if standardise:
        mean, scale = targets.mean(axis=0), targets.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
    network = MLPRegressor(hidden_layer_sizes=tuple(hidden), random_state=seed, max_iter=max_iter, tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping at max_iter is the method, not an accident
        scaled = (targets - mean) / scale
        network.fit(features, scaled[:, 0] if scaled.shape[1] == 1 else scaled)
    return {"coefs": list(network.coefs_), "intercepts": list(network.intercepts_), "mean": mean, "scale": scale}


def apply_network(network: dict[str, Any], X: Any) -> np.ndarray:
    """(n, k) predictions of a network from :func:`fit_network`."""
    held = np.asarray(X, dtype=np.float64)
    layers = list(zip(network["coefs"], network["intercepts"], strict=True))
    for W, b in layers[:-1]:
        held = np.maximum(held @ W + b, 0.0)
    W, b = layers[-1]
    return (held @ W + b) * network["scale"] + network["mean"]


@dataclass(eq=False)
class DaMo(RegressionMixer):
    """A network of two hidden layers learns score = f(mixture x progress); the best mixture of the grid is the answer.

    The features are the share of the whole schedule that each group has had, so that every checkpoint of a run teaches.
    Validation keeps the checkpoints of a mixture together: split by row, R^2 is far too high. :meth:`calibrate` carries
    the predictor to another model with about 20 of its runs. Source: DaMo (2025), Section 3, Eq. 4 and Appendix C.

    Args:
        hidden: units of the hidden layers.
        max_iter: epochs at most.
        tol: stop when ten epochs in a row improve the squared loss by less.
        official: fit raw scores instead of standardised ones, as the released code does.
        search_steps: search for the best checkpoint too (Eq. 4), among those of the runs.
    """

    hidden: tuple[int, ...] = (100, 100)
    max_iter: int = 1500
    tol: float = 1e-6
    official: bool = False
    search_steps: bool = False

    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        return fit_network(
            X,
            Y,
            hidden=self.hidden,
            max_iter=self.max_iter,
            tol=self.tol,
            seed=self.seed,
            standardise=not self.official,
        )

    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        return apply_network(model, X)
