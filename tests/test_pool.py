from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool, encode_groups


def test_take_keeps_every_field_in_step() -> None:
    pool = Pool.from_arrays(np.eye(3), quality=[1, 2, 3], groups=["b", "a", "b"], texts=["x", "y", "z"])
    part = pool.take([2, 0])
    assert part.q.tolist() == [3, 1]
    assert part.texts is not None and part.texts.to_list() == ["z", "x"]
    assert part.groups is not None and [part.group_names[g] for g in part.groups] == ["b", "b"]
    np.testing.assert_array_equal(part.X, np.eye(3)[[2, 0]])
    assert part.records.row(0) == {"row": 2}


def test_lengths_must_agree() -> None:
    with pytest.raises(BadInput, match="quality has 2 rows, the pool has 3"):
        Pool.from_arrays(np.eye(3), quality=[1, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_named_with_their_row(value: float) -> None:
    X = np.eye(4)
    X[2, 1] = value
    with pytest.raises(BadInput, match=r"embeddings is NaN or infinite in 1 of 4 rows \(row 3\)"):
        Pool.from_arrays(X)


def test_large_finite_values_are_not_taken_for_infinite() -> None:
    assert len(Pool.from_arrays(np.full((4, 2), 1e308))) == 4


def test_a_pool_says_what_it_lacks() -> None:
    with pytest.raises(BadInput, match="needs quality; give it with --quality"):
        _ = Pool.from_arrays(np.eye(2)).q
    with pytest.raises(BadInput, match="at least one of"):
        Pool.from_arrays()
    with pytest.raises(BadInput, match=r"shape \(3,\)"):
        Pool.from_arrays(np.zeros(3))


def test_missing_labels_are_a_group_of_their_own() -> None:
    codes, names = encode_groups(["b", None, float("nan"), "a"])
    assert names == ("(none)", "a", "b")
    assert codes.tolist() == [2, 0, 0, 1]
