from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.compare import compare
from polyculture.select.k_center import KCenter
from polyculture.select.reasons import reasons
from polyculture.select.simple import Random, TopQuality


def test_each_reason() -> None:
    X = np.array([[1, 0, 0], [1, 0.01, 0], [1, 1, 0], [1, 0.9, 0], [0, 0, 1]])
    pool = Pool.from_arrays(X, quality=[0.5, 0.9, 0.2, 0.6, 0.8])
    found = reasons(pool, [0])
    assert [r.row for r in found] == [1, 2, 3, 4] and len(found) == 4
    assert [r.kind for r in found] == ["near-duplicate", "lower quality", "covered", "not needed"]
    assert found[0].text == "near-duplicate of row 0 (similarity 1.00)"
    assert found[1].text == "lower quality (0.2) than the chosen row most like it (row 0, 0.5; similarity 0.71)"
    assert found[2].text == "its neighbourhood is covered by row 0 (similarity 0.74)"
    assert found[-1].text == "not needed: budget of 1 reached (most like row 0, similarity 0.00)"
    assert found[2].nearest == 0 and found[2].similarity == pytest.approx(0.743, abs=1e-3)
    assert [r.row for r in found[1:3]] == [2, 3]


def test_rows_of_a_part_are_called_what_they_are_in_the_whole() -> None:
    whole = Pool.from_arrays([[0.0, 1.0], [1.0, 0.0], [1.0, 0.01]], quality=[0.1, 0.9, 0.5])
    part = np.array([1, 2])
    (only,) = reasons(whole.take(part), [0], numbers=part)
    assert (only.row, only.nearest, only.text) == (2, 1, "near-duplicate of row 1 (similarity 1.00)")
    (only,) = reasons(whole.take(part).with_(embeddings=None), [0], numbers=part)
    assert (only.row, only.kind) == (2, "lower quality")
    with pytest.raises(BadInput, match="one a row: 2"):
        reasons(whole.take(part), [0], numbers=[1])


def test_without_embeddings_only_quality_speaks() -> None:
    found = reasons(Pool.from_arrays(quality=[1.0, 0.2, 3.0]), [0])
    assert found[0].text == "lower quality (0.2) than every chosen row (from 1)"
    assert found[1].text == "not needed: budget of 1 reached" and found[1].nearest is None
    assert [r.kind for r in found] == ["lower quality", "not needed"]
    with pytest.raises(IndexError):
        found[2]
    with pytest.raises(BadInput, match="not among the 3 rows"):
        reasons(Pool.from_arrays(quality=[1.0, 0.2, 3.0]), [3])


def test_blocks_agree_with_single_rows() -> None:
    rng = np.random.default_rng(0)
    pool = Pool.from_arrays(rng.normal(size=(20_000, 4)).astype(np.float32))
    chosen = np.arange(0, 20_000, 500)
    found = reasons(pool, chosen)
    walked = list(found)
    assert len(walked) == len(found) == 19_960
    for place in (0, 7, 9000, 19_959):
        assert walked[place].row == found[place].row and walked[place].nearest == found[place].nearest
    U = pool.X / np.linalg.norm(pool.X, axis=1, keepdims=True)
    assert walked[9000].nearest == chosen[(U[chosen] @ U[walked[9000].row]).argmax()]


def test_compare() -> None:
    rng = np.random.default_rng(0)
    pool = Pool.from_arrays(rng.normal(size=(80, 4)), quality=rng.random(80), groups=np.arange(80) % 4)
    table = compare(pool, {"random": Random(), "top": TopQuality(), "k-center": KCenter()}, [5, 10], rng=3)
    assert [(r.selector, r.k) for r in table.rows][:3] == [("random", 5), ("top", 5), ("k-center", 5)]
    assert table.rows[1].values["mean quality"] == max(r.values["mean quality"] for r in table.rows)
    assert 1 <= table.rows[3].values["vendi"] <= 10 and table.pool["effective groups"] == pytest.approx(4)
    assert table.to_dict()["rows"][0]["chosen"] == 5
    bare = compare(pool.with_(groups=None), {"random": Random()}, 3)
    assert set(bare.skipped) == {"group coverage", "effective groups"} and "groups" in bare.skipped["group coverage"]
    only = compare(pool, {"random": Random()}, 3, measures={"size": lambda whole, part: float(len(part))})
    assert only.rows[0].values == {"size": 3.0}
    with pytest.raises(BadInput, match="at least one"):
        compare(pool, {}, 3)
