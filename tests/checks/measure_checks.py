"""What every measure must do, whoever wrote it: run over each name of the measure table.

A measure says what it needs by the names of its arguments without a default; INPUTS makes one of each kind.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.methods import argument_docs, inputs, table

Inputs = dict[str, Any]
Measure = Callable[..., Any]

WORDS = [
    *("soil", "seed", "rain", "crop", "field", "wheat", "barley", "plough", "harvest", "root"),
    *("leaf", "grain", "mill", "mouse", "owl"),
]
N = 40

# Order is part of what these measure: they read the texts as one stream.
ORDERED = {"compression-ratio", "mattr", "mtld"}


def make_inputs(n: int = N, seed: int = 0, dtype: Any = np.float64) -> Inputs:
    """n rows of every kind of input, no two alike and no ties."""
    rng = np.random.default_rng(seed)
    X = (rng.normal(size=(n, 6)) + 2 * rng.normal(size=(4, 6))[np.arange(n) % 4]).astype(np.float32).astype(dtype)
    U = X.astype(np.float64) / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    K = U @ U.T
    np.fill_diagonal(K, 1.0)
    logits = rng.normal(size=(n, 30)).astype(np.float32).astype(dtype)
    return {
        "X": X,
        "K": K.astype(dtype),
        "texts": [" ".join(rng.choice(WORDS, 14)) + f" {i}" for i in range(n)],
        "quality": rng.uniform(0.1, 1, n),
        "groups": np.arange(n, dtype=np.int64) % 4,
        "tags": [[str(w) for w in rng.choice(WORDS, 3, replace=False)] for _ in range(n)],
        "logits": logits,
        "token_logprobs": [np.log(rng.uniform(0.05, 1, 5 + i % 4)) for i in range(n)],
        "outputs": [[" ".join(rng.choice(WORDS, 8)) for _ in range(3)] for _ in range(n)],
        "measures": rng.uniform(0, 1, (n, 2)).astype(np.float32).astype(dtype),
        "confidence": rng.uniform(0, 1, n),
        "correct": rng.random(n) < 0.5,
    }


def rows(given: Inputs, order: Any) -> Inputs:
    order = np.asarray(order, dtype=np.int64)
    taken = {}
    for name, value in given.items():
        if name == "K":
            taken[name] = value[np.ix_(order, order)]
        else:
            taken[name] = value[order] if isinstance(value, np.ndarray) else [value[i] for i in order]
    return taken


def call(measure: Measure, given: Mapping[str, Any], **more: Any) -> Any:
    return measure(**{name: given[name] for name in inputs(measure)}, **more)


def numbers(result: Any) -> dict[str, float]:
    """Every number of an answer, by name."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = {part.name: getattr(result, part.name) for part in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {f"{k}.{inner}": x for k, value in result.items() for inner, x in numbers(value).items()}
    if isinstance(result, (np.ndarray, list, tuple)):
        return {str(i): x for i, value in enumerate(np.ravel(np.asarray(result))) for x in numbers(value).values()}
    if isinstance(result, str) or result is None:
        return {}
    assert isinstance(result, (int, float, np.number)), f"a measure gives numbers, not {type(result).__name__}"
    return {"": float(result)}


def defined(measure: Measure, given: Inputs, *, may_refuse: bool = True) -> dict[str, float] | None:
    """The answer on unusual input: numbers, or NaN with a warning that says why, or BadInput; nothing else passes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = numbers(call(measure, given))
        except BadInput as error:
            assert may_refuse and str(error), "refused without a reason"
            return None
    odd = [w for w in caught if issubclass(w.category, RuntimeWarning)]
    assert not odd, f"numpy warned: {odd[0].message}"
    if any(not math.isfinite(value) for value in found.values()):
        assert any(issubclass(w.category, UserWarning) for w in caught), f"{found} without a word of why"
    return found


def same(one: Mapping[str, float], two: Mapping[str, float], rel: float) -> None:
    assert dict(two) == pytest.approx(dict(one), rel=rel, abs=rel, nan_ok=True)


def check_inputs_are_known(name: str, measure: Measure) -> None:
    assert inputs(measure), "a measure needs at least one input"
    assert set(inputs(measure)) <= set(make_inputs()), "inputs a pool or a caller can't be asked for by name"


def check_finite_numbers(name: str, measure: Measure) -> None:
    found = defined(measure, make_inputs(), may_refuse=False)
    assert found and all(math.isfinite(value) for value in found.values())


def check_deterministic(name: str, measure: Measure) -> None:
    given = make_inputs()
    first = numbers(call(measure, given))
    assert numbers(call(measure, given)) == first
    if "rng" in inspect.signature(measure).parameters:
        seeded = numbers(call(measure, given, rng=3))
        assert numbers(call(measure, given, rng=3)) == seeded
        assert numbers(call(measure, given, rng=np.random.default_rng(3))) == seeded


def check_global_state_untouched(name: str, measure: Measure) -> None:
    np.random.seed(5)  # noqa: NPY002  the legacy global state is what is checked
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    call(measure, make_inputs())
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def check_input_untouched(name: str, measure: Measure) -> None:
    given, kept = make_inputs(), make_inputs()
    for value in given.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    call(measure, given)
    for key, value in kept.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(given[key], value)
        elif key != "token_logprobs":
            assert given[key] == value


def check_order_of_rows(name: str, measure: Measure) -> None:
    given = make_inputs()
    moved = numbers(call(measure, rows(given, np.random.default_rng(1).permutation(N))))
    found = numbers(call(measure, given))
    if name in ORDERED:
        assert moved != found, "order makes no difference: take it out of ORDERED"
    else:
        same(found, moved, 1e-6)


def check_empty(name: str, measure: Measure) -> None:
    defined(measure, rows(make_inputs(), []))


def check_one_row(name: str, measure: Measure) -> None:
    defined(measure, rows(make_inputs(), [7]))


def check_two_rows(name: str, measure: Measure) -> None:
    defined(measure, rows(make_inputs(), [7, 3]))


def check_equal_rows(name: str, measure: Measure) -> None:
    defined(measure, rows(make_inputs(), [4] * 12))


def check_duplicates(name: str, measure: Measure) -> None:
    found = defined(measure, rows(make_inputs(), np.arange(N) % 10))
    assert found is not None and all(math.isfinite(value) for value in found.values())


def check_empty_rows(name: str, measure: Measure) -> None:
    given = make_inputs()
    given["X"] = given["X"] * (np.arange(N) % 5 > 0)[:, None]
    given["texts"] = ["" if i % 5 == 0 else text for i, text in enumerate(given["texts"])]
    given["tags"] = [[] if i % 5 == 0 else tags for i, tags in enumerate(given["tags"])]
    given["token_logprobs"] = [p[:0] if i % 5 == 0 else p for i, p in enumerate(given["token_logprobs"])]
    given["outputs"] = [[""] * 3 if i % 5 == 0 else o for i, o in enumerate(given["outputs"])]
    defined(measure, given)
    nothing = make_inputs()
    nothing |= {"X": np.zeros((N, 6)), "texts": [""] * N, "tags": [[]] * N, "outputs": [[""] * 3] * N}
    nothing |= {"token_logprobs": [np.zeros(0)] * N, "quality": np.zeros(N), "measures": np.zeros((N, 2))}
    defined(measure, nothing)


def check_not_a_number(name: str, measure: Measure) -> None:
    for key in inputs(measure):
        for bad in (math.nan, math.inf):
            given = make_inputs()
            if key == "token_logprobs":
                given[key][3][0] = bad
            elif isinstance(given[key], np.ndarray) and given[key].dtype.kind == "f":
                given[key][(3,) * given[key].ndim if given[key].ndim == 1 else (3, 1)] = bad
            else:
                continue
            with pytest.raises(BadInput, match=r"(?i)nan|infinit|finite|positive"):
                call(measure, given)


def check_not_texts(name: str, measure: Measure) -> None:
    if "texts" not in inputs(measure):
        return
    given = make_inputs()
    given["texts"][5] = None
    with pytest.raises(BadInput, match="string"):
        call(measure, given)
    with pytest.raises(BadInput, match="list"):
        call(measure, given | {"texts": "one string"})


def check_shape(name: str, measure: Measure) -> None:
    for key in ("X", "K", "measures"):
        if key in inputs(measure):
            with pytest.raises(BadInput):
                call(measure, make_inputs() | {key: np.zeros(N)})


def check_lengths_that_differ(name: str, measure: Measure) -> None:
    needed = inputs(measure)
    if len(needed) > 1:
        for key in needed:
            given = make_inputs()
            with pytest.raises(BadInput):
                call(measure, given | {key: rows(given, np.arange(N - 1))[key]})


def check_float32(name: str, measure: Measure) -> None:
    if set(inputs(measure)) & {"X", "K", "logits", "measures"}:
        wide, narrow = make_inputs(), make_inputs(dtype=np.float32)
        assert narrow["X"].dtype == np.float32
        # Orders below 1 count what is below the rounding of float32, hence no closer.
        same(numbers(call(measure, wide)), numbers(call(measure, narrow)), 2e-3)


def check_lists(name: str, measure: Measure) -> None:
    given = make_inputs()
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in given.items()}
    same(numbers(call(measure, given)), numbers(call(measure, plain)), 1e-9)


def check_offline(name: str, measure: Measure) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a measure opened a socket")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "create_connection", refuse)
        call(measure, make_inputs())


def check_documented(name: str, measure: Measure) -> None:
    doc = inspect.getdoc(measure) or ""
    assert len(doc.splitlines()[0]) > 10, "no summary"
    helps = argument_docs(doc)
    for parameter in inspect.signature(measure).parameters:
        assert helps.get(parameter), f"'{parameter}' is not in Args"
    whole = doc + (sys.modules[measure.__module__].__doc__ or "")
    assert re.search(r"\((19|20)\d\d[a-z]?\)|\b(19|20)\d\d\b|Source:", whole), "no source: name the paper and its year"
    assert "return" in inspect.get_annotations(measure), "no return type"


def checks() -> Iterator[Callable[[str, Measure], None]]:
    """Every check of this module, in order."""
    for name, value in globals().items():
        if name.startswith("check_"):
            yield value


def measures() -> list[str]:
    return list(table("measure"))
