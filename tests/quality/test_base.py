"""Scorers by name, functions and objects; the cache, the engine, and scores that are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.functions import named_function
from polyculture.pool import Pool
from polyculture.quality.base import FunctionQuality, LengthQuality, make_scorer, score_pool
from polyculture.quality.heuristic import HeuristicQuality


@pytest.fixture
def pool() -> Pool:
    return Pool.from_arrays(texts=["one", "three", "one", "", "seventeen"])


def test_length_by_hand(pool: Pool) -> None:
    assert score_pool(pool, "length").q.tolist() == [3, 5, 3, 0, 9]
    assert score_pool(pool, make_scorer("length", most=4)).q.tolist() == [3, 4, 3, 0, 4]


def test_scorers_by_name_object_and_function(pool: Pool) -> None:
    assert isinstance(make_scorer("heuristic"), HeuristicQuality)
    scorer = LengthQuality()
    assert make_scorer(scorer) is scorer
    got = score_pool(pool, lambda texts: [text.count("e") for text in texts])
    assert got.q.tolist() == [1, 2, 1, 0, 4] and got.q.dtype == np.float64


def test_function_of_a_module(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scorers.py").write_text("level = 3\ndef brevity(texts):\n    return [-len(t) for t in texts]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    scorer = make_scorer("python:my_scorers:brevity")
    assert isinstance(scorer, FunctionQuality) and scorer.name == "python:my_scorers:brevity"
    assert score_pool(pool, scorer).q.tolist() == [-3, -5, -3, 0, -9]
    with pytest.raises(UnknownMethod, match="did you mean 'brevity'"):
        named_function("python:my_scorers:brevty")
    with pytest.raises(BadInput, match="can't be called"):
        named_function("python:my_scorers:level")
    with pytest.raises(BadInput, match="can't import 'nowhere_at_all'"):
        named_function("python:nowhere_at_all:x")
    with pytest.raises(BadInput, match="python:module:function"):
        named_function("python:brevity")


def test_refusals(pool: Pool) -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'heuristic'"):
        score_pool(pool, "heuristics")
    with pytest.raises(BadInput, match=r"shape \(2,\) for 5 rows"):
        score_pool(pool, lambda texts: [1.0, 2.0])
    with pytest.raises(BadInput, match="NaN or infinity for row 1"):
        score_pool(pool, lambda texts: [float("nan")] * 5)
    with pytest.raises(BadInput, match="needs texts"):
        score_pool(Pool.from_arrays(np.ones((2, 2))), "heuristic")
    with pytest.raises(BadInput, match="a name, a Scorer or a function"):
        make_scorer(3)  # type: ignore[arg-type]


class _Counting:
    name = "counting"
    per_text = True
    identity = "1"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def score(self, pool: Pool) -> np.ndarray:
        assert pool.texts is not None
        self.seen += list(pool.texts)
        return np.array([len(text) / 3 for text in pool.texts])


def test_identified_scores_are_cached_and_identical_texts_scored_once(pool: Pool, tmp_path: Path) -> None:
    scorer, told = _Counting(), []
    first = score_pool(pool, scorer, cache=tmp_path, progress=lambda *step: told.append(step))
    assert scorer.seen == ["one", "three", "", "seventeen"]
    assert told[-1] == ("scoring (counting)", 4, 4)
    second = score_pool(pool, scorer, cache=tmp_path)
    assert len(scorer.seen) == 4
    np.testing.assert_allclose(first.q, second.q, rtol=1e-13)
    score_pool(pool, scorer, cache=None)
    assert len(scorer.seen) == 8
