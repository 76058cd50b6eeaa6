from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.energy import free_energy, train_validation_gap


def test_by_hand_and_without_overflow() -> None:
    assert free_energy([[0.0, 0.0]], temperature=1.0)[0] == pytest.approx(-np.log(2))
    assert free_energy([[1e5, 0.0]], temperature=0.9)[0] == pytest.approx(-1e5)
    assert free_energy([[-np.inf, 2.0]])[0] == pytest.approx(-2.0)


def test_gap_in_all_and_by_group() -> None:
    train, validation = np.array([[3.0], [1.0], [2.0]]), np.array([[0.0], [2.0]])
    assert train_validation_gap(train, validation) == pytest.approx(1.0)
    found = train_validation_gap(
        train, validation, groups_train=["rare", "common", "common"], groups_validation=["rare", "common"]
    )
    assert found == {"common": pytest.approx(0.5), "rare": pytest.approx(3.0)}


def test_refuses() -> None:
    with pytest.raises(BadInput, match="classes"):
        free_energy([1.0, 2.0])
    with pytest.raises(BadInput, match="NaN"):
        free_energy([[np.nan]])
    with pytest.raises(BadInput, match="above 0"):
        free_energy([[1.0]], temperature=0.0)
    with pytest.raises(BadInput, match="one row of each"):
        train_validation_gap([[1.0]], np.zeros((0, 1)))
    with pytest.raises(BadInput, match="both sets"):
        train_validation_gap([[1.0]], [[1.0]], groups_train=["a"])
    with pytest.raises(BadInput, match="one label"):
        train_validation_gap([[1.0]], [[1.0]], groups_train=["a", "b"], groups_validation=["a"])
