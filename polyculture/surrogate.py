"""A cheap stand-in for an expensive run: boosted trees from what was set to what it scored.

RegMix: Data Mixture as Regression for Language Model Pre-training (2024), Sections 3.2 and 3.3, and its released
regression notebook for the settings; QuaDMix (2025), Section 3.3, uses the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyculture.errors import BadInput, need


@dataclass(eq=False)
class LossModel:
    """LightGBM regression of a loss, stopped early on runs held out.

    Training stops as soon as either the absolute or the squared error on the held-out runs has not improved for
    ``patience`` rounds, and predictions use the best round. Without held-out runs all trees are used.

    Args:
        trees: most boosting rounds.
        learning_rate: step of each.
        patience: rounds without improvement before training stops.
        seed: of LightGBM.
        smallest_leaf: fewest runs in a leaf; with fewer than twice as many runs there is nothing to split.
    """

    trees: int = 1000
    learning_rate: float = 0.01
    patience: int = 3
    seed: int = 42
    smallest_leaf: int = 20
    best_iteration_: int | None = field(default=None, init=False)
    _model: Any = field(default=None, init=False, repr=False)

    def fit(self, X: Any, y: Any, X_held: Any = None, y_held: Any = None) -> LossModel:
        """Learn the loss of settings.

        Args:
            X: (n, p) settings.
            y: (n,) losses.
            X_held: (m, p) settings to stop by; None trains all trees.
            y_held: (m,) their losses.

        Raises:
            BadInput: shapes differ, there are no runs, or a loss is NaN or infinite.
        """
        lightgbm = need("lightgbm", "train")
        data = lightgbm.Dataset(*_checked(X, y))
        held = [] if X_held is None else [lightgbm.Dataset(*_checked(X_held, y_held), reference=data)]
        stop = lightgbm.early_stopping(self.patience, first_metric_only=False, verbose=False)
        settings = {
            "objective": "regression",
            "metric": ["l1", "l2"],
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.smallest_leaf,
            "seed": self.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        self._model = lightgbm.train(
            settings, data, num_boost_round=self.trees, valid_sets=held, callbacks=[stop] if held else []
        )
        self.best_iteration_ = self._model.best_iteration if held else None
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted losses, (n,) float64."""
        return np.asarray(self._model.predict(np.asarray(X, dtype=np.float64), num_threads=1), dtype=np.float64)

    @property
    def text(self) -> str:
        """The trees up to the best round as LightGBM's text, for :meth:`of_text`."""
        return str(self._model.model_to_string())

    @classmethod
    def of_text(cls, text: str) -> LossModel:
        """A model that predicts as the one whose ``text`` this is."""
        model = cls()
        model._model = need("lightgbm", "train").Booster(model_str=text)
        return model


def mean_of_lowest(candidates: Any, predicted: Any, best: int) -> tuple[np.ndarray, np.ndarray]:
    """Component-wise mean and standard deviation of the candidates with the lowest predictions.

    Args:
        candidates: (n, p) settings, all drawn from one prior: a mean of others need not be a sensible setting.
        predicted: (n,) predicted losses; equal ones count in row order.
        best: how many are averaged, at most n.

    Returns:
        Mean and standard deviation, (p,) each.

    Raises:
        BadInput: ``best`` is not in 1..n.
    """
    rows = np.asarray(candidates, dtype=np.float64)
    if not 1 <= best <= len(rows):
        raise BadInput(f"best = {best}, but it should be between 1 and the {len(rows)} candidates")
    lowest = rows[np.argsort(np.asarray(predicted), kind="stable")[:best]]
    return lowest.mean(axis=0), lowest.std(axis=0)


def distinct_settings(settings: Any, threshold: float = 1e-5) -> np.ndarray:
    """Sort rows by their last column, then the one before it, and so on, and drop near-copies of the last row kept.

    Args:
        settings: (n, p).
        threshold: L1 distance to the last kept row up to which a row is dropped.

    Returns:
        (m, p) the rows kept, sorted. Source: RegMix's released code, ``sort_and_deduplicate``.
    """
    rows = np.asarray(settings, dtype=np.float64)
    if rows.shape == (0,):
        return rows.reshape(0, 0)
    if rows.ndim != 2:
        raise BadInput(f"settings should be (n, p), one a row, not of shape {rows.shape}")
    kept: list[np.ndarray] = []
    for row in rows[np.lexsort(rows.T)]:
        if not kept or np.abs(row - kept[-1]).sum() > threshold:
            kept.append(row)
    return np.array(kept).reshape(-1, rows.shape[1])


def _checked(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if X.ndim != 2 or y.shape != (len(X),) or not len(X):
        raise BadInput(f"runs should be (n, p) settings and (n,) losses, one or more, not {X.shape} and {y.shape}")
    if not (np.isfinite(y).all() and np.isfinite(X).all()):
        raise BadInput("a setting or a loss of a run is NaN or infinite; leave that run out")
    return X, y
