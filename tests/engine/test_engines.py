"""Engines keep order, make a worker once, read items as needed and pass errors on; Ray is a real local one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from polyculture.engine.local import LocalEngine
from polyculture.engine.make import make_engine
from polyculture.engine.ray import RayEngine
from polyculture.errors import BadInput, UnknownMethod
from polyculture.pool import Pool


def test_local_engine_is_lazy_and_ordered() -> None:
    made, read = [], []

    def items() -> Iterator[int]:
        for i in range(5):
            read.append(i)
            yield i

    def make_worker():
        made.append(1)
        return lambda x: x * x

    with LocalEngine() as engine:
        results = engine.map(make_worker, items())
        assert made == [] and read == []
        assert next(results) == 0 and read == [0]
        assert list(results) == [1, 4, 9, 16]
        assert made == [1]
        assert list(engine.map(make_worker, [])) == [] and made == [1]


def test_local_errors_are_the_workers_own() -> None:
    with pytest.raises(ZeroDivisionError):
        list(LocalEngine().map(lambda: lambda x: 1 // x, [1, 0]))


def test_engine_names() -> None:
    assert isinstance(make_engine("local"), LocalEngine)
    for spec in ("ray", "auto", "ray://head:10001", "10.0.0.1:6379"):
        engine = make_engine(spec)
        assert isinstance(engine, RayEngine)
        assert engine.address == (None if spec == "ray" else spec)
    with pytest.raises(UnknownMethod, match="did you mean 'local'"):
        make_engine("locl")
    with pytest.raises(BadInput, match="workers"):
        RayEngine(workers=0)
    with pytest.raises(BadInput, match="cpus"):
        RayEngine(cpus=0)


def test_closing_an_engine_that_never_started() -> None:
    engine = RayEngine()
    engine.close()
    engine.close()


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[RayEngine]:
    with RayEngine(workers=2, cpus=0.5) as engine:
        yield engine


def _make_square():
    state = {"calls": 0}

    def work(x: int) -> tuple[int, int, int]:
        if x == 13:
            raise ValueError("13 is unlucky")
        state["calls"] += 1
        return x * x, os.getpid(), state["calls"]

    return work


# One test for all that needs a running Ray: starting it takes seconds.
@pytest.mark.slow
def test_ray_engine(ray_engine: RayEngine, tmp_path) -> None:
    import ray

    results = list(ray_engine.map(_make_square, range(12)))
    assert [r[0] for r in results] == [x * x for x in range(12)]
    workers = {r[1] for r in results}
    assert os.getpid() not in workers and 1 <= len(workers) <= 2
    assert sum(max(r[2] for r in results if r[1] == w) for w in workers) == 12  # state is kept between items

    with pytest.raises(ValueError, match="13 is unlucky") as caught:
        list(ray_engine.map(_make_square, range(10, 20)))
    assert isinstance(caught.value.__cause__, ray.exceptions.RayTaskError)

    read = []
    endless = ray_engine.map(_make_square, (read.append(i) or i % 5 for i in iter(int, 1)))
    assert next(endless)[0] == 0
    assert len(read) <= 8  # bounded, however long the input
    endless.close()

    def cannot_load():
        raise OSError("no such model")

    with pytest.raises(OSError, match="no such model"):
        list(ray_engine.map(cannot_load, [1]))

    from polyculture.quality.base import score_pool

    pool = Pool.from_arrays(texts=[f"Explain in a sentence how number {i} differs from the next." for i in range(1100)])
    here, there = score_pool(pool, "heuristic"), score_pool(pool, "heuristic", engine=ray_engine)
    np.testing.assert_array_equal(here.q, there.q)

    ray_engine.close()
    assert not ray.is_initialized()
