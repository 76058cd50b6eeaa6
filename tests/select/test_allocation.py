from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.select.allocation import draw_within, largest_remainder, quasi_uniform


def test_largest_remainder_sums_to_the_budget_within_capacity() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        m = int(rng.integers(1, 12))
        room = rng.integers(0, 9, size=m)
        budget = int(rng.integers(0, room.sum() + 1))
        given = largest_remainder(rng.random(m) * (rng.random(m) < 0.7), budget, room)
        assert given.sum() == budget and (given <= room).all() and (given >= 0).all()


def test_remainders_go_to_the_largest_and_ties_to_the_first() -> None:
    assert largest_remainder([1, 1, 1], 4).tolist() == [2, 1, 1]
    assert largest_remainder([0.6, 0.3, 0.1], 10).tolist() == [6, 3, 1]
    assert largest_remainder([0, 0, 0], 3).tolist() == [1, 1, 1]
    assert largest_remainder([1, 0], 3, [1, 5]).tolist() == [1, 2]


def test_largest_remainder_refuses() -> None:
    with pytest.raises(BadInput, match="does not fit"):
        largest_remainder([1, 1], 5, [2, 2])
    with pytest.raises(BadInput, match="finite"):
        largest_remainder([1, np.nan], 2)


def test_quasi_uniform_closes_full_parts_and_leaves_the_rest() -> None:
    assert quasi_uniform([3, 3, 3], 2).tolist() == [0, 0, 0]
    assert quasi_uniform([1, 1], 9).tolist() == [1, 1]
    assert quasi_uniform([], 4).tolist() == []


def test_draws_follow_quality_and_keep_to_their_part() -> None:
    rng = np.random.default_rng(0)
    parts = np.array([0, 0, 1, 1, 1, -1])
    quality = np.array([3.0, 1.0, 1.0, 0.0, 2.0, 9.0])
    counts = np.zeros(6)
    for _ in range(3000):
        rows = draw_within(parts, np.array([1, 1]), quality, rng)
        assert sorted(parts[rows]) == [0, 1]
        counts[rows] += 1
    np.testing.assert_allclose(counts / 3000, [0.75, 0.25, 1 / 3, 0, 2 / 3, 0], atol=0.03)
