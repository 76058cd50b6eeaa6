"""Every mixer through every check: weights on the simplex, order, files, options, documentation."""

from __future__ import annotations

import inspect
import json
import re
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import argument_docs, build, parameters, table
from polyculture.mix.base import Mixer, Proposal, load
from polyculture.mix.benefits import Benefits
from polyculture.mix.measured_curves import MeasuredCurves
from polyculture.mix.runs import Runs

Make = Callable[[], Mixer]

NAMES = ("web", "books", "code", "forums")
QUICK = {"max_iter": 80, "folds": 2, "n_candidates": 2000, "trees": 30, "rounds": 4, "draws": 100, "starts": 1}


def maker(name: str) -> Make:
    known = parameters(table("mix")[name])
    hyper = {key: value for key, value in QUICK.items() if key in known}
    return lambda: build("mix", name, **hyper)


def given(fits: str, columns: Any = (0, 1, 2, 3), rows: Any = None) -> Any:
    """Something to fit, over these groups in this order."""
    rng = np.random.default_rng(0)
    at = list(columns)
    names = [NAMES[i] for i in at]
    if fits == "runs":
        P = rng.dirichlet(np.full(4, 1.5), 24)
        Y = np.column_stack([np.sqrt(P) @ [1, 2, 3, 0.5], 3 - P @ [1, 0.3, 0.1, 2]])
        order = np.arange(24) if rows is None else rows
        P = P[:, at] / P[:, at].sum(axis=1, keepdims=True)
        return Runs.from_arrays(P[order], Y[order], groups=names, scores=["accuracy", "loss:all"])
    if fits == "benefits":
        return Benefits.of(rng.normal(0.5, 1, (2, 4))[:, at], groups=names)
    if fits == "groups":
        return {name: float(10 ** (i + 1)) for i, name in zip(at, names, strict=True)}
    points = {name: [(n, 0.9 - (1 + i) / n) for n in (20, 40, 80)] for i, name in enumerate(NAMES)}
    return MeasuredCurves.of({name: points[name] for name in names})


def assert_simplex(weights: Any, m: int = 4) -> None:
    held = np.asarray(weights)
    assert held.shape == (m,) and held.dtype == np.float64
    assert (held >= 0).all() and held.sum() == pytest.approx(1, abs=1e-9)


def fitted(make: Make, **order: Any) -> Mixer:
    mixer = make()
    mixer.fit(given(mixer.fits, **order))
    return mixer


def check_answer(make: Make) -> None:
    mixer = fitted(make)
    assert_simplex(mixer.weights_)
    assert mixer.groups_ == NAMES


def check_fit_returns_itself_and_leaves_no_mark(make: Make) -> None:
    mixer = make()
    first = np.array(mixer.fit(given(mixer.fits)).weights_)
    assert mixer.fit(given(mixer.fits)) is mixer
    np.testing.assert_array_equal(first, mixer.weights_)
    np.testing.assert_array_equal(first, fitted(make).weights_)


def check_order_of_groups(make: Make) -> None:
    columns = [2, 0, 3, 1]
    moved = fitted(make, columns=columns)
    assert moved.groups_ == tuple(NAMES[i] for i in columns)
    np.testing.assert_allclose(moved.weights_, fitted(make).weights_[columns], atol=1e-6)


def check_order_of_rows(make: Make) -> None:
    if make().fits == "runs":
        shuffled = fitted(make, rows=np.random.default_rng(1).permutation(24))
        np.testing.assert_allclose(shuffled.weights_, fitted(make).weights_, atol=1e-9)


def check_one_group(make: Make) -> None:
    assert fitted(make, columns=[1]).weights_.tolist() == [1.0]


def check_two_groups(make: Make) -> None:
    assert_simplex(fitted(make, columns=[3, 1]).weights_, 2)


def check_proposals(make: Make) -> None:
    mixer = fitted(make)
    for n in (1, 4):
        proposal = mixer.propose(n, rng=0)
        assert isinstance(proposal, Proposal) and 1 <= len(proposal) <= n
        for weights in proposal.weights:
            assert_simplex(weights)
        for row in proposal.rows():
            assert [f"w:{g}" for g in NAMES] == list(row)[:4]
            assert all(isinstance(value, float) for value in row.values())
        np.testing.assert_array_equal(proposal.weights, mixer.propose(n, rng=0).weights)
    if proposal.overall is not None and not hasattr(mixer, "best"):
        assert (np.diff(proposal.overall) <= 1e-12).all(), "proposals should come best first"
    np.testing.assert_allclose(mixer.propose(1).weights[0], mixer.weights_)
    with pytest.raises(BadInput, match="n = 0"):
        mixer.propose(0)


def check_not_fitted(make: Make, tmp_path: Path) -> None:
    for call in (lambda: make().propose(1), lambda: make().save(tmp_path / "m.json")):
        with pytest.raises(BadInput, match="not been fitted"):
            call()


def check_saved(make: Make, tmp_path: Path) -> None:
    mixer = fitted(make)
    mixer.save(tmp_path / "mixer.json")
    text = (tmp_path / "mixer.json").read_text()
    json.loads(text)
    loaded = load(tmp_path / "mixer.json")
    assert type(loaded) is type(mixer) and loaded.groups_ == mixer.groups_
    assert loaded.get_params(deep=False) == mixer.get_params(deep=False)
    a, b = mixer.propose(3, rng=0), loaded.propose(3, rng=0)
    np.testing.assert_array_equal(a.weights, b.weights)
    if a.predicted is not None:
        np.testing.assert_array_equal(a.predicted, b.predicted)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == text


def check_parameters(make: Make) -> None:
    mixer = make()
    held = mixer.get_params(deep=False)
    assert set(held) == set(parameters(type(mixer)))
    mixer.fit(given(mixer.fits))
    assert mixer.get_params(deep=False) == held, "fit changed a hyper-parameter"
    copy = clone(mixer)
    assert not hasattr(copy, "weights_")
    np.testing.assert_array_equal(copy.fit(given(copy.fits)).weights_, mixer.weights_)


def check_documented(make: Make) -> None:
    cls = type(make())
    doc = inspect.getdoc(cls) or ""
    assert re.search(r"Source:", doc), f"{cls.__name__} does not name its source"
    known = parameters(cls)
    silent = [name for name, p in known.items() if not p.help]
    assert not silent, f"{cls.__name__} does not document {silent}"
    stale = set(argument_docs(doc)) - set(known)
    assert not stale, f"{cls.__name__} documents {sorted(stale)}, which it does not take"


def check_unknown_option(make: Make, name: str) -> None:
    with pytest.raises(UnknownMethod, match=r"no_such_option|has no options"):
        build("mix", name, no_such_option=1)


def check_input_untouched(make: Make) -> None:
    mixer = make()
    source = given(mixer.fits)
    for value in vars(source).values() if hasattr(source, "__dict__") else ():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
    before = repr(source)
    mixer.fit(source)
    assert repr(source) == before


def check_global_state_untouched(make: Make) -> None:
    np.random.seed(5)  # noqa: NPY002  the legacy global state is what is checked
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fitted(make)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def check_nan_is_refused(make: Make) -> None:
    fits = make().fits
    with pytest.raises(BadInput, match=r"NaN|not a number|finite"):
        if fits == "runs":
            make().fit(np.full((4, 2), 0.5), [1, 2, np.nan, 3])
        elif fits == "benefits":
            make().fit([[1, np.nan]])
        elif fits == "groups":
            # Uniform does not look at sizes, but a size that is no number is refused all the same.
            make().fit({"a": 1.0, "b": float("nan")})
        else:
            make().fit(MeasuredCurves.of({"a": [(10, float("nan"))]}))


CHECKS = [value for key, value in list(globals().items()) if key.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(table("mix")))
def test_mixer(name: str, check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a mixer should run offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    offered = {"name": name, "tmp_path": tmp_path}
    wanted = inspect.signature(check).parameters
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        check(maker(name), **{key: value for key, value in offered.items() if key in wanted})
