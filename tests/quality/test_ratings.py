"""Ratings on many axes: numbers in replies, replies without one, axes of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.scripted import ScriptedLLM
from polyculture.pool import Pool
from polyculture.quality.base import score_pool
from polyculture.quality.judge import first_number
from polyculture.quality.ratings import AXES, Axis, Ratings, RatingsQuality


def test_first_numbers() -> None:
    assert first_number("I'd say 8.5 of 10", 0, 10) == 8.5
    assert first_number("-3", 0, 10) == 0 and first_number("100", 0, 10) == 10
    assert first_number("", 0, 10) is None and first_number("v2 of it", 0, 10) is None


def test_ratings_on_axes() -> None:
    rates = Ratings(ScriptedLLM(lambda p, i, rng: "11" if "fluency" in str(p) else "2.5"))
    found = rates.rate(["one", "two", "one"])
    assert found.shape == (3, len(AXES)) and found[:, 0].tolist() == [10, 10, 10] and (found[:, 1:] == 2.5).all()
    assert rates.rate([]).shape == (0, len(AXES))


def test_a_rating_is_asked_for_twice_and_then_missing() -> None:
    judge = ScriptedLLM(["hm", "4", "hm", "hm"])
    axis = Axis("humour", "how funny it is")
    np.testing.assert_array_equal(Ratings(judge, [axis]).rate(["one", "two"]), [[np.nan], [4.0]])
    assert judge.n_completions == 3
    with pytest.raises(BadInput, match="at least one axis"):
        Ratings(judge, []).rate(["one"])
    with pytest.warns(UserWarning, match="1 of 2 texts lack a rating"):
        scorer = RatingsQuality(ScriptedLLM(["hm", "4", "hm"]), axes=("humour=how funny it is",))
        assert score_pool(Pool.from_arrays(texts=["one", "two"]), scorer).q.tolist() == [0.0, 4.0]
    with pytest.raises(UnknownMethod, match="fluency"):
        RatingsQuality(judge, axes=("fluencyy",)).score(Pool.from_arrays(texts=["a"]))
