"""Columns that are computed: what counts as a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from polyculture.align.data import columns
from polyculture.align.data.columns import with_columns
from polyculture.errors import BadInput


@pytest.mark.parametrize(
    ("value", "held"), [(np.float32(0.5), 0.5), (np.int64(2), 2), (np.array([1.0, 2.0]), [1.0, 2.0]), ((1, 2), (1, 2))]
)
def test_numbers_of_numpy_are_numbers(monkeypatch: pytest.MonkeyPatch, value: Any, held: Any) -> None:
    monkeypatch.setattr(columns, "named_function", lambda text: lambda row: value)
    assert with_columns([{"a": 1}], {"n": "python:mine:fn"}) == [{"a": 1, "n": held}]


@pytest.mark.parametrize("value", [np.bool_(True), np.array([]), "1", None, [1, "2"]])
def test_nothing_else_is(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setattr(columns, "named_function", lambda text: lambda row: value)
    with pytest.raises(BadInput, match=r"row row 1: the source of column 'n' gives .*, which is no number"):
        with_columns([{"a": 1}], {"n": "python:mine:fn"})
