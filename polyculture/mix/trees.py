"""Boosted trees from mixtures to a score, as text that JSON can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyculture.errors import need

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
    lightgbm = need("lightgbm", "train")
    codes = np.unique(mixture)
    held = np.random.default_rng(seed).permutation(codes)[: len(codes) // 10]
    stops = len(held) >= SMALLEST_HELD_OUT
    test = np.isin(mixture, held) if stops else np.zeros(len(X), dtype=bool)
    options = {
        "objective": "regression",
        "metric": ["l1", "l2"],
        "learning_rate": learning_rate,
        "min_data_in_leaf": max(2, min(20, len(X) // 10)),
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    models = []
    for y in Y.T:
        train = lightgbm.Dataset(X[~test], y[~test])
        extra: dict[str, Any] = {}
        if stops:
            extra = {
                "valid_sets": [lightgbm.Dataset(X[test], y[test], reference=train)],
                "callbacks": [lightgbm.early_stopping(patience, verbose=False)],
            }
        models.append(lightgbm.train(options, train, num_boost_round=trees, **extra).model_to_string())
    return {"trees": models}


def apply_trees(model: dict[str, Any], X: np.ndarray) -> np.ndarray:
    """(n, k) predictions of the models from :func:`fit_trees`."""
    lightgbm = need("lightgbm", "train")
    found = [lightgbm.Booster(model_str=text).predict(X, num_threads=1) for text in model["trees"]]
    return np.column_stack([np.asarray(f, dtype=np.float64) for f in found])
