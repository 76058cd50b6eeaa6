from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.select.divergen import DiverGen, balanced_probability, filter_by_similarity


def test_filter_by_hand() -> None:
    similarity = [0.7, 0.5, 0.6, np.nan, 0.1, 0.2]
    groups = [0, 0, 0, 0, 1, 1]
    found = filter_by_similarity(similarity, groups)
    assert found.kept.tolist() == [0, 2] and found.emptied.tolist() == [1] and not len(found.rescued)
    found = filter_by_similarity(similarity, groups, min_keep=1)
    assert found.kept.tolist() == [0, 2, 5] and found.rescued.tolist() == [5]
    found = filter_by_similarity(similarity, groups, min_keep=9)
    assert found.kept.tolist() == [0, 1, 2, 4, 5], "what has no similarity is never kept"
    assert filter_by_similarity(similarity, groups, quantile=0.5).kept.tolist() == [0, 2, 5]
    assert filter_by_similarity([], []).kept.tolist() == []
    assert filter_by_similarity([np.nextafter(0.6, 0), 0.6, 0.59]).kept.tolist() == [0, 1]


def test_categories_share_evenly_as_far_as_they_can() -> None:
    groups = np.repeat([0, 1, 2], [50, 30, 4])
    pool = Pool.from_arrays(quality=np.full(84, 0.9), groups=groups)
    chosen = DiverGen().select(pool, 24, rng=0)
    assert np.bincount(groups[chosen]).tolist() == [10, 10, 4]
    assert np.bincount(groups[chosen[:9]]).tolist() == [3, 3, 3], "a first part of the choice is balanced too"
    assert balanced_probability([2, 0, 10]).tolist() == [0.5, 0, 0.5]


def test_shares_of_generators_and_prompts() -> None:
    rng = np.random.default_rng(0)
    maker = rng.choice(["sd", "if"], 200, p=[0.9, 0.1])
    pool = with_columns(Pool.from_arrays(quality=np.ones(200), groups=np.zeros(200)), maker=maker.tolist())
    selector = build("select", "divergen", within="maker")
    chosen = selector.select(pool, 20, rng=0)
    assert sorted(np.unique(maker[chosen], return_counts=True)[1]) == [10, 10]
    assert len(set(chosen.tolist())) == 20
    with pytest.raises(BadInput, match="no row has the column 'model'"):
        DiverGen(within=("model",)).select(pool, 2)


def test_order_by_similarity() -> None:
    pool = Pool.from_arrays(quality=[0.7, 0.9, 0.8, 0.95], groups=[0, 0, 1, 1])
    assert DiverGen(order="similarity").select(pool, 3).tolist() == [1, 3, 0]


def test_what_passes_is_all_that_comes_back() -> None:
    pool = Pool.from_arrays(quality=[0.7, 0.1, 0.2, 0.65], groups=[0, 0, 1, 1], source="crops.jsonl")
    assert set(DiverGen(min_keep=0).select(pool, 4, rng=0).tolist()) == {0, 3}
    with pytest.warns(UserWarning, match=r"no row of 1 categories \(1\) reaches similarity 0.68"):
        assert set(DiverGen(threshold=0.68, min_keep=1).select(pool, 4, rng=0).tolist()) == {0, 3}
    with pytest.raises(BadInput, match="no row reaches similarity"), pytest.warns(UserWarning):
        DiverGen(threshold=0.99, min_keep=0).select(pool, 1)


def test_refuses() -> None:
    pool = Pool.from_arrays(quality=[0.7], groups=[0])
    with pytest.raises(UnknownMethod, match="order"):
        DiverGen(order="best").select(pool, 1)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="min_keep"):
        filter_by_similarity([0.5], min_keep=-1)
    with pytest.raises(BadInput, match="one number a row"):
        filter_by_similarity([0.5], [0, 1])
    with pytest.raises(BadInput, match="one category should hold"):
        balanced_probability([0, 0])
