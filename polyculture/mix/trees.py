"""Boosted trees from mixtures to several scores, as text that JSON can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyculture.surrogate import LossModel

SMALLEST_HELD_OUT = 5


def fit_trees(
    X: np.ndarray,
    Y: np.ndarray,
    mixture: np.ndarray,
    *,
    trees: int = 1000,
    learning_rate: float = 0.01,
    patience: int = 3,
    seed: int = 42,
) -> dict[str, Any]:
    """One LightGBM model a column of Y.

    A tenth of the mixtures stops the boosting early, where that makes at least five; with fewer runs than leaves are
    made for (LightGBM asks for 20 rows a leaf) a leaf may be a tenth of the rows, at least 2.

    Args:
        X: (n, m) mixtures.
        Y: (n, k) scores.
        mixture: (n,) codes of mixtures, whose rows stay on one side.
        trees: at most.
        learning_rate: of the boosting.
        patience: rounds without improvement before it stops.
        seed: of LightGBM and of what is held out.

    Returns:
        The models as text, for :func:`apply_trees`.
    """
    codes = np.unique(mixture)
    held = np.random.default_rng(seed).permutation(codes)[: len(codes) // 10]
    test = np.isin(mixture, held) if len(held) >= SMALLEST_HELD_OUT else np.zeros(len(X), dtype=bool)
    leaf = max(2, min(20, len(X) // 10))
    models = []
    for y in Y.T:
        model = LossModel(trees, learning_rate, patience, seed, leaf)
        stop = (X[test], y[test]) if test.any() else (None, None)
        models.append(model.fit(X[~test], y[~test], *stop).text)
    return {"trees": models}


def apply_trees(model: dict[str, Any], X: np.ndarray) -> np.ndarray:
    """(n, k) predictions of the models from :func:`fit_trees`."""
    return np.column_stack([LossModel.of_text(text).predict(X) for text in model["trees"]])
