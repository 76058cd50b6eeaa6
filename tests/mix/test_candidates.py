"""Grids of mixtures, draws from them, and the search on grids too large to list."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.candidates import (
    dirichlet_mixtures,
    grid_chunks,
    grid_size,
    local_search,
    mixture_grid,
    random_grid,
)


@pytest.mark.parametrize(("m", "b"), [(1, 4), (2, 1), (3, 5), (5, 4)])
def test_the_grid_is_every_mixture_once_in_order(m: int, b: int) -> None:
    grid = mixture_grid(m, b)
    assert grid.shape == (grid_size(m, b), m)
    np.testing.assert_allclose(grid.sum(axis=1), 1)
    rows = [tuple(row) for row in np.rint(grid * b).astype(int)]
    assert rows == sorted(set(rows))
    np.testing.assert_array_equal(np.concatenate(list(grid_chunks(m, b, chunk=7))), grid)


def test_a_grid_that_explodes_is_not_listed() -> None:
    with pytest.raises(BadInput, match="13,037,895 mixtures, too many to list"):
        mixture_grid(12, 16)
    for m, b in ((0, 4), (3, 0)):
        with pytest.raises(BadInput, match="at least one group"):
            grid_size(m, b)


def test_random_grid_points_are_even_over_the_grid() -> None:
    drawn = random_grid(3, 2, 6000, np.random.default_rng(0))
    grid = mixture_grid(3, 2)
    counts = (drawn[:, None] == grid[None]).all(axis=2).sum(axis=0)
    assert counts.sum() == 6000 and np.abs(counts - 1000).max() < 120


def test_local_search_climbs_to_the_top_of_a_concave_score() -> None:
    target = np.array([0.5, 0.25, 0.25, 0.0])
    end, score = local_search(np.array([0, 0, 0, 1.0]), 4, lambda P: -((P - target) ** 2).sum(axis=1))
    np.testing.assert_allclose(end, target)
    assert score == pytest.approx(0)
    assert local_search(np.ones(1), 4, lambda P: P[:, 0])[0].tolist() == [1]


def test_dirichlet_mixtures_lie_on_the_simplex_around_the_prior() -> None:
    prior = np.array([0.7, 0.2, 0.1])
    drawn = dirichlet_mixtures(prior, 5000, np.random.default_rng(0), temperature=1.0)
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    np.testing.assert_allclose(drawn.mean(axis=0), prior, atol=0.03)
    weak = dirichlet_mixtures(prior, 200, np.random.default_rng(0), strengths=(1e-7, 1e-7, 1))
    assert np.isfinite(weak).all() and np.allclose(weak.sum(axis=1), 1)
