"""Every quality method, through one list of checks. A method that needs a model gives ``test_params()``."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest

from polyculture.methods import build, parameters, table
from polyculture.pool import Pool
from polyculture.quality.base import Scorer

NAMES = list(table("quality"))
TEXTS = [
    "Explain how tides follow the Moon.",
    "Write a function that reverses a list, and test it.",
    "",
    "Explain how tides follow the Moon.",
    "zzz zzz zzz",
    "Une phrase en français, 数学, and an emoji 🙂.",
    "A much longer text. " * 60,
]


@pytest.fixture(params=NAMES)
def scorer(request: pytest.FixtureRequest) -> Any:
    method = table("quality")[request.param]
    return build("quality", request.param, **getattr(method, "test_params", dict)())


def test_contract(scorer: Any) -> None:
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer.name, str) and scorer.name
    scores = scorer.score(Pool.from_arrays(texts=TEXTS))
    assert scores.shape == (len(TEXTS),) and scores.dtype == np.float64
    assert np.isfinite(scores).all()


def test_repeats_and_leaves_the_pool_alone(scorer: Any) -> None:
    pool = Pool.from_arrays(texts=TEXTS)
    first = scorer.score(pool)
    np.testing.assert_array_equal(first, scorer.score(pool))
    assert list(pool.texts) == TEXTS and pool.quality is None  # type: ignore[arg-type]


def test_order_of_rows_does_not_matter(scorer: Any) -> None:
    pool, order = Pool.from_arrays(texts=TEXTS), np.random.default_rng(0).permutation(len(TEXTS))
    np.testing.assert_allclose(scorer.score(pool.take(order)), scorer.score(pool)[order], rtol=1e-4, atol=1e-5)


def test_duplicates_score_the_same(scorer: Any) -> None:
    scores = scorer.score(Pool.from_arrays(texts=TEXTS))
    assert scores[0] == pytest.approx(scores[3], rel=1e-4, abs=1e-5)


def test_empty_pool_and_one_row(scorer: Any) -> None:
    assert scorer.score(Pool.from_arrays(texts=[])).shape == (0,)
    one = scorer.score(Pool.from_arrays(texts=TEXTS[:1]))
    assert one.shape == (1,) and one.dtype == np.float64 and np.isfinite(one).all()


def test_runs_without_a_network(scorer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    scorer.score(Pool.from_arrays(texts=TEXTS[:2]))


@pytest.mark.parametrize("name", NAMES)
def test_hyper_parameters_are_explained(name: str) -> None:
    method = table("quality")[name]
    assert method.__doc__
    for parameter in parameters(method).values():
        assert parameter.help, f"{name}: {parameter.name} has no line under Args"
