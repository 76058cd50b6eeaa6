"""The map: who is on it, and that it says so."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.pool import Pool
from polyculture.report.points import map_points, sample_rows, texts_of


def pool(n: int, d: int = 6, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + np.eye(d)[np.arange(n) % 3] * 4
    return Pool.from_arrays(X, quality=rng.random(n), groups=[f"g{i % 3}" for i in range(n)], texts=map(str, range(n)))


def test_a_small_pool_is_shown_whole() -> None:
    assert sample_rows(7, np.array([1]), None, 10, np.random.default_rng(0)).tolist() == list(range(7))


def test_chosen_rows_are_kept_and_the_others_keep_their_groups_shares() -> None:
    groups = np.repeat([0, 1, 2], [8900, 1090, 10])
    chosen = np.arange(0, 10_000, 50)
    rows = sample_rows(10_000, chosen, groups, 1200, np.random.default_rng(0))
    assert len(rows) == 1200 == len(np.unique(rows))
    assert np.isin(chosen, rows).all()
    others = np.setdiff1d(rows, chosen)
    counts = np.bincount(groups[others])
    assert counts[2] >= 1
    assert counts[0] / len(others) == pytest.approx(0.89, abs=0.01)


def test_so_many_chosen_leave_room_for_others() -> None:
    rows = sample_rows(10_000, np.arange(8000), None, 1000, np.random.default_rng(0))
    assert len(rows) == 1000 and (rows < 8000).sum() == 600


def test_the_others_fill_what_few_of_them_need() -> None:
    rows = sample_rows(2000, np.arange(1990), None, 1000, np.random.default_rng(0))
    assert (rows >= 1990).sum() == 10 and len(rows) == 1000


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_map_says_how_it_was_made_and_what_it_shows(method) -> None:
    points = map_points(pool(60), np.array([5, 3]), method=method, max_points=30)
    assert len(points.x) == 30 and np.isfinite(points.x).all() and np.isfinite(points.y).all()
    assert ("PCA" if method == "pca" else "t-SNE") in points.method
    assert points.shown.startswith("The map shows 30 of 60 records: all 2 chosen ones and 28 of the 58 others")
    assert [points.order[points.row.index(row)] for row in (5, 3)] == [1, 2]


def test_the_same_seed_gives_the_same_map() -> None:
    one, two = (map_points(pool(200), np.arange(5), max_points=50, rng=3) for _ in range(2))
    assert one == two


def test_pca_shows_clusters_apart() -> None:
    points = map_points(pool(300), np.arange(5))
    xy = np.column_stack([points.x, points.y])
    centres = np.array([xy[np.arange(300) % 3 == g].mean(axis=0) for g in range(3)])
    spread = max(xy[np.arange(300) % 3 == g].std() for g in range(3))
    assert min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > spread


def test_each_point_is_told_of_the_nearest_chosen_row() -> None:
    held = Pool.from_arrays([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], quality=[0.1, 0.2, 0.3])
    said = map_points(held, np.array([0, 2]), reasons={2: "It was alone."}).reasons
    assert said[1].startswith("The nearest chosen record is row 0 (similarity 1.00).")
    assert said[1].endswith("above that of 33 % of the pool.")
    assert said[0].startswith("The nearest other chosen record is row 2 (similarity 0.00).")
    assert said[2].startswith("It was alone. ")


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_the_smallest_pools_have_a_map(rows: int) -> None:
    for method in ("pca", "tsne"):
        points = map_points(Pool.from_arrays(np.ones((rows, 4))), np.array([0]), method=method)
        assert len(points.x) == rows and np.isfinite(points.x).all()


def test_one_direction_is_a_line() -> None:
    assert set(map_points(Pool.from_arrays([[1.0], [-2.0], [3.0]]), np.array([0])).y) == {0.0}


def test_a_long_text_says_how_much_is_left_out() -> None:
    assert texts_of(Pool.from_arrays(texts=["x" * 12]), np.array([0]), 5) == ["xxxxx… (7 more characters)"]
    assert texts_of(Pool.from_arrays([[1.0]]), np.array([0]), 5) == ["row 0"]


def test_bad_input_is_named() -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'tsne'"):
        map_points(pool(5), np.array([0]), method="t-sne")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="needs embeddings"):
        map_points(Pool.from_arrays(texts=["a"]), np.array([0]))
