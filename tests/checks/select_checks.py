"""What every selector must do, whoever wrote it: run over each name of the select table."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from polyculture.errors import BadInput
from polyculture.methods import argument_docs, build, parameters, table
from polyculture.pool import Pool
from polyculture.select.base import Selector

Make = Callable[[], Selector]
WORDS = [
    "soil",
    "seed",
    "rain",
    "crop",
    "field",
    "wheat",
    "barley",
    "plough",
    "harvest",
    "root",
    "leaf",
    "grain",
    "mill",
]


def maker(name: str) -> Make:
    """How to make a selector by name: by its defaults, or by what its class says to test it with."""
    cls = table("select")[name]
    options = cls.test_params() if hasattr(cls, "test_params") else {}
    return lambda: build("select", name, **options)


def full_pool(n: int = 60, d: int = 6, *, seed: int = 0, dtype: Any = np.float64) -> Pool:
    """Clustered rows with every field, no two alike and no ties."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(4, d))
    groups = np.arange(n) % 4
    X = (centres[groups] + rng.normal(size=(n, d))).astype(np.float32).astype(dtype)
    texts = [" ".join(rng.choice(WORDS, 12)) + f" {i}" for i in range(n)]
    return Pool.from_arrays(X, quality=rng.uniform(0.1, 1, n), groups=groups, texts=texts, source="check.jsonl")


def assert_valid(selector: Selector, chosen: Any, n: int, k: int) -> None:
    assert isinstance(chosen, np.ndarray) and chosen.dtype == np.int64 and chosen.ndim == 1
    assert len(np.unique(chosen)) == len(chosen), "a row was chosen twice"
    assert not len(chosen) or (chosen.min() >= 0 and chosen.max() < n)
    if selector.may_return_fewer:
        assert 1 <= len(chosen) <= k
    else:
        assert len(chosen) == k


def is_deterministic(make: Make, pool: Pool, k: int) -> bool:
    """Whether seeds make no difference."""
    answers = [make().select(pool, k, rng=seed).tolist() for seed in range(4)]
    return all(answer == answers[0] for answer in answers)


def check_answer(make: Make) -> None:
    pool = full_pool()
    for k in (1, 2, 7, 30, 59):
        assert_valid(make(), make().select(pool, k, rng=0), 60, k)


def check_same_seed_same_answer(make: Make) -> None:
    pool = full_pool()
    first = make().select(pool, 12, rng=3)
    np.testing.assert_array_equal(first, make().select(pool, 12, rng=3))
    np.testing.assert_array_equal(first, make().select(pool, 12, rng=np.random.default_rng(3)))
    again = make()
    again.select(pool, 5, rng=9)
    np.testing.assert_array_equal(first, again.select(pool, 12, rng=3), "an earlier call left its mark")


def check_global_state_untouched(make: Make) -> None:
    np.random.seed(5)  # noqa: NPY002  the legacy global state is what is checked
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make().select(full_pool(), 8, rng=None)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def check_order_of_rows(make: Make) -> None:
    pool = full_pool()
    order = np.random.default_rng(1).permutation(60)
    shuffled = pool.take(order)
    moved = make().select(shuffled, 15, rng=0)
    assert_valid(make(), moved, 60, 15)
    if is_deterministic(make, pool, 15):
        assert set(order[moved].tolist()) == set(make().select(pool, 15, rng=0).tolist())


def check_k_out_of_range(make: Make) -> None:
    for k in (0, -1, 61):
        with pytest.raises(BadInput, match=r"between 1 and the 60 rows"):
            make().select(full_pool(), k, rng=0)


def check_empty_pool(make: Make) -> None:
    with pytest.raises(BadInput, match="empty"):
        make().select(full_pool().take([]), 1, rng=0)


def check_one_row(make: Make) -> None:
    assert make().select(full_pool().take([17]), 1, rng=0).tolist() == [0]


def check_whole_pool(make: Make) -> None:
    for n in (1, 2, 3, 60):
        chosen = make().select(full_pool().take(np.arange(n)), n, rng=0)
        assert_valid(make(), chosen, n, n)


def check_nan(make: Make) -> None:
    pool = full_pool()
    X = pool.X.copy()
    X[3, 2] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        make().select(pool.with_(embeddings=X), 5, rng=0)
    with pytest.raises(BadInput, match="NaN"):
        make().select(pool.with_(quality=np.where(np.arange(60) == 3, np.inf, pool.q)), 5, rng=0)


def check_equal_rows(make: Make) -> None:
    pool = full_pool().take(np.zeros(20, dtype=int))
    for k in (1, 6, 20):
        assert_valid(make(), make().select(pool, k, rng=0), 20, k)
    zero = full_pool(20).with_(embeddings=np.zeros((20, 6)))
    assert_valid(make(), make().select(zero, 6, rng=0), 20, 6)


def check_few_distinct_rows(make: Make) -> None:
    pool = full_pool().take(np.arange(40) % 5)
    for k in (3, 5, 12, 40):
        assert_valid(make(), make().select(pool, k, rng=0), 40, k)


def check_groups(make: Make) -> None:
    one = full_pool().with_(groups=np.zeros(60, dtype=np.int64), group_names=("only",))
    assert_valid(make(), make().select(one, 10, rng=0), 60, 10)
    lonely = np.zeros(60, dtype=np.int64)
    lonely[41] = 1
    for k in (2, 10, 60):
        uneven = full_pool().with_(groups=lonely, group_names=("many", "one"))
        assert_valid(make(), make().select(uneven, k, rng=0), 60, k)


def check_quality(make: Make) -> None:
    pool = full_pool()
    for quality in (np.ones(60), np.zeros(60), 1e6 * pool.q, 1e-6 * pool.q):
        assert_valid(make(), make().select(pool.with_(quality=quality), 10, rng=0), 60, 10)
    try:
        chosen = make().select(pool.with_(quality=pool.q - 0.5), 10, rng=0)
    except BadInput as error:
        assert "row" in str(error) or "shift" in str(error), "negative quality is refused without a remedy"
    else:
        assert_valid(make(), chosen, 60, 10)


def check_scale_of_embeddings(make: Make) -> None:
    pool = full_pool()
    for factor in (1e-8, 1e8):
        scaled = pool.with_(embeddings=pool.X * factor)
        assert_valid(make(), make().select(scaled, 10, rng=0), 60, 10)


def check_dtype(make: Make) -> None:
    double = make().select(full_pool(dtype=np.float64), 15, rng=0)
    single = make().select(full_pool(dtype=np.float32), 15, rng=0)
    np.testing.assert_array_equal(double, single)


def check_input_untouched(make: Make) -> None:
    pool = full_pool()
    before = [np.array(pool.X), np.array(pool.q), np.array(pool.groups)]
    for array in (pool.embeddings, pool.quality, pool.groups):
        assert array is not None
        array.setflags(write=False)
    make().select(pool, 10, rng=0)
    for held, now in zip(before, (pool.X, pool.q, pool.groups), strict=True):
        np.testing.assert_array_equal(held, now)


def check_parameters(make: Make) -> None:
    selector = make()
    names = set(parameters(type(selector)))
    held = selector.get_params(deep=False)
    assert set(held) == names
    make().select(full_pool(), 6, rng=0)
    copy = clone(selector)
    assert type(copy) is type(selector) and copy is not selector
    np.testing.assert_array_equal(copy.select(full_pool(), 6, rng=0), selector.select(full_pool(), 6, rng=0))
    assert selector.get_params(deep=False) == held, "select changed a hyper-parameter"
    assert selector.set_params(**held) is selector
    with pytest.raises(ValueError):
        selector.set_params(no_such_option=1)


def check_saved_parameters(make: Make) -> None:
    selector = make()
    saved = json.loads(json.dumps(selector.get_params(deep=False)))
    loaded = type(selector)(**saved)
    np.testing.assert_array_equal(loaded.select(full_pool(), 9, rng=2), selector.select(full_pool(), 9, rng=2))


def check_missing_field(make: Make) -> None:
    remedies = {"embeddings": "--embedder", "texts": "--text", "quality": "--quality", "groups": "--groups"}
    for field in make().required():
        with pytest.raises(BadInput, match=f"needs {field}.*{remedies[field]}"):
            make().select(full_pool().with_(**{field: None}), 3, rng=0)


def check_needs_are_enough(make: Make) -> None:
    """A pool with the fields that are named, and no other, is enough."""
    needs = make().required()
    assert set(type(make()).needs) <= set(needs)
    bare = {name: None for name in ("embeddings", "texts", "quality", "groups") if name not in needs}
    assert_valid(make(), make().select(full_pool().with_(**bare), 6, rng=0), 60, 6)


def check_documented(make: Make) -> None:
    cls = type(make())
    doc = inspect.getdoc(cls) or ""
    assert re.search(r"(Source:|Eq\.|Equation|Algorithm|Section|arXiv)", doc), (
        f"{cls.__name__} does not name its source"
    )
    undocumented = set(parameters(cls)) - set(argument_docs(doc))
    assert not undocumented, f"{cls.__name__} does not document {sorted(undocumented)}"


def check_unknown_option(make: Make, name: str) -> None:
    from polyculture.errors import UnknownMethod

    with pytest.raises(UnknownMethod, match=r"no_such_option|has no options"):
        build("select", name, no_such_option=1)


CHECKS = [value for key, value in list(globals().items()) if key.startswith("check_")]
