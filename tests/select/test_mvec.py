"""MVec: symmetry of strategies, cells, coarse to fine, and the selector."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.mvec import Cells, MVec, cells_at, coarse_to_fine
from polyculture.select.strategy_symmetry import (
    alignment_similarity,
    attention_similarity,
    cell_symmetry,
    most_attended,
    positions,
)


def test_positions_by_hand() -> None:
    np.testing.assert_allclose(positions(2, 4), [[0, 1, 0, 1], [np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)]])
    assert positions(0, 3).shape == (0, 3) and positions(3, 5).shape == (3, 5)


def test_alignment_tells_order() -> None:
    A = 20 * np.eye(4, 6)
    same, reverse = alignment_similarity(A, A), alignment_similarity(A, A[::-1])
    assert same == pytest.approx(0.75, abs=1e-6)  # each step attends to one of four: 1 - 1/4
    assert reverse == pytest.approx((0.75 - 3 * 0.75) / 4, abs=1e-6)
    assert alignment_similarity(1e4 * A, 1e4 * A) == pytest.approx(0.75)  # large products don't overflow
    assert alignment_similarity(np.zeros((0, 6)), A) == 0 == alignment_similarity(A, np.zeros((0, 6)))
    assert alignment_similarity([], A) == 0 == alignment_similarity(A, [])
    with pytest.raises(BadInput, match="one width"):
        alignment_similarity(A, np.zeros((2, 5)))
    with pytest.raises(BadInput, match="NaN"):
        alignment_similarity(A, np.full((2, 6), np.nan))
    with pytest.raises(BadInput, match=r"\(steps, d\)"):
        alignment_similarity(A[0], A)


def test_attention_similarity() -> None:
    assert attention_similarity([1, 2], [1, 2, 0]) == pytest.approx(1)
    assert attention_similarity([1, 0], [0, 1, 5]) == 0
    assert attention_similarity([0, 0], [1, 2]) == 0 == attention_similarity([], [1.0])


def test_most_attended() -> None:
    attention = [[0.1, 0.5, 0.4, 0.5], [0.1, 0.5, 0.2, 0.5]]
    assert most_attended(attention, 0.5).tolist() == [1, 3]
    assert most_attended(attention, 0.01).tolist() == [1]  # at least one, of equals the earlier
    assert most_attended(attention, 0.0).tolist() == [1]
    assert most_attended(attention, 1.0).tolist() == [0, 1, 2, 3]
    assert most_attended(np.zeros((0, 0)), 0.5).tolist() == []
    for keep in (-0.1, 1.1, np.nan):
        with pytest.raises(BadInput, match="keep"):
            most_attended(attention, keep)
    with pytest.raises(BadInput, match=r"\(steps, L\)"):
        most_attended([0.1, 0.2], 0.5)


def test_cell_symmetry_averages_pairs_then_cells() -> None:
    def near(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (np.abs(one - other) == 1).astype(float)

    cells = [np.array([0, 1, 2]), np.array([5, 9]), np.array([7])]
    assert cell_symmetry(cells, near) == pytest.approx(0.5)
    assert cell_symmetry(cells, near, lambda a, b: np.zeros(len(a))) == pytest.approx(0.25)
    assert cell_symmetry([np.array([3])], near) == -np.inf


def events(n: int = 200) -> tuple[Pool, np.ndarray]:
    """Students of three kinds, one of them rare, on problems of two kinds; and the cell of each row, of six."""
    rng = np.random.default_rng(0)
    student = rng.choice(3, n, p=[0.85, 0.1, 0.05])
    problem = rng.choice(2, n, p=[0.8, 0.2])
    X = np.hstack([5 * np.eye(3)[student], 5 * np.eye(2)[problem]]) + 0.05 * rng.normal(size=(n, 5))
    return Pool.from_arrays(X), 2 * student + problem


@pytest.mark.parametrize("radii", [None, (2.0, 2.0)])
def test_draws_evenly_from_the_cells(radii: tuple[float, ...] | None) -> None:
    pool, cell = events()
    held = np.bincount(cell)
    chosen = MVec(split=3, radii=radii).select(pool, 24, rng=0)
    drawn = np.bincount(cell[chosen], minlength=6)
    np.testing.assert_array_equal(drawn >= np.minimum(4, held), True)
    assert np.bincount(cell[MVec(split=3, radii=radii).select(pool, 6, rng=1)], minlength=6).tolist() == [1] * 6


def test_in_turn_starts_with_the_largest_cell() -> None:
    cells = Cells((), (np.array([4]), np.array([0, 1, 2]), np.array([3, 5])), (1.0,), 0.0)
    rows = cells.in_turn(6, np.random.default_rng(0))
    assert rows[0] in (0, 1, 2) and rows[1] in (3, 5) and rows[2] == 4 and sorted(rows.tolist()) == [0, 1, 2, 3, 4, 5]


def test_coarse_to_fine_stops_when_symmetry_does_not_rise() -> None:
    X = np.array([[0.0], [1.0], [10.0], [11.0]])
    rows = (np.arange(4),)

    def alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return -np.abs(X[one, 0] - X[other, 0])

    found = coarse_to_fine((X,), rows, (alike,), start=(20.0,), shrink=0.5, finest=0.01, rng=0)
    assert sorted(map(len, found.members)) == [2, 2] and found.symmetry == -1 and found.radii[0] < 10
    flat = coarse_to_fine((X,), rows, (lambda a, b: np.ones(len(a)),), start=(20.0,), shrink=0.5, rng=0)
    assert flat.radii == (20.0,)
    few = coarse_to_fine((X,), rows, (alike,), start=(20.0,), shrink=0.5, finest=0.01, most_cells=1, rng=0)
    assert len(few.members) == 1


def test_many_entities_are_clustered_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyculture.select.mvec.MOST_ENTITIES", 30)
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], 100, axis=0) + 0.01 * np.arange(200)[:, None]
    found = cells_at((X,), (np.arange(200),), (4.0,), rng=0)
    assert sorted(map(len, found.members)) == [100, 100]


def test_bad_input() -> None:
    pool, _ = events()
    with pytest.raises(BadInput, match="split should be between 1 and 4"):
        MVec(split=5).select(pool, 3)
    with pytest.raises(BadInput, match="radii should be 2 numbers"):
        MVec(split=3, radii=(1.0,)).select(pool, 3)
    with pytest.raises(BadInput, match="radius should be 0 or more"):
        MVec(split=3, radii=(1.0, -1.0)).select(pool, 3)
    with pytest.raises(BadInput, match="shrink"):
        MVec(shrink=1.0).select(pool, 3)
    with pytest.raises(BadInput, match="finest"):
        MVec(finest=0.0).select(pool, 3)
