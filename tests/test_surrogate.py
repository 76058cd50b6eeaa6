from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.surrogate import LossModel, distinct_settings, mean_of_lowest


def test_learns_a_loss_and_stops_early() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((400, 3))
    y = X[:, 0] + 0.01 * rng.normal(size=400)
    model = LossModel(learning_rate=0.1).fit(X[:300], y[:300], X[300:], y[300:])
    assert model.best_iteration_ is not None and model.best_iteration_ < 1000
    assert np.corrcoef(model.predict(X[300:]), y[300:])[0, 1] > 0.98
    again = LossModel(learning_rate=0.1).fit(X[:300], y[:300], X[300:], y[300:])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert LossModel(trees=10).fit(X, y).best_iteration_ is None
    np.testing.assert_array_equal(LossModel.of_text(model.text).predict(X), model.predict(X))


def test_small_leaves_let_few_runs_teach() -> None:
    X = np.arange(12.0)[:, None]
    y = (X[:, 0] > 5).astype(float)
    assert np.ptp(LossModel(trees=20).fit(X, y).predict(X)) == 0
    assert np.ptp(LossModel(trees=20, smallest_leaf=2).fit(X, y).predict(X)) > 0.1


def test_mean_of_lowest() -> None:
    mean, spread = mean_of_lowest([[1.0, 0], [3.0, 0], [9.0, 9]], [0.1, 0.1, 0.5], 2)
    assert mean.tolist() == [2.0, 0.0] and spread.tolist() == [1.0, 0.0]
    assert mean_of_lowest([[1.0], [2.0]], [0.5, 0.5], 1)[0].tolist() == [1.0], "ties go to the first row"
    with pytest.raises(BadInput, match="between 1 and the 2"):
        mean_of_lowest([[1.0], [2.0]], [0.5, 0.5], 3)


def test_distinct_settings() -> None:
    rows = [[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.500001, 0.499999]]
    assert distinct_settings(rows).tolist() == [[0.500001, 0.499999], [0.2, 0.8]]
    assert distinct_settings(np.zeros((0, 2))).shape == (0, 2)
    with pytest.raises(BadInput, match="one a row"):
        distinct_settings([1.0, 2.0])


def test_refuses() -> None:
    with pytest.raises(BadInput, match="settings and"):
        LossModel().fit([[1.0]], [1.0, 2.0])
    with pytest.raises(BadInput, match="leave that run out"):
        LossModel().fit([[1.0], [2.0]], [1.0, np.nan])
