"""Columns that an objective needs and the data lack or name otherwise: other columns, functions, constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.functions import named_function

Row = dict[str, Any]

SAID = {"prompt", "chosen", "rejected", "completion", "label", "messages", "responses", "scores"}
"""Columns that hold no numbers, and are read like any of the data's own."""


def with_columns(rows: list[Row], sources: Mapping[str, str], source: str = "row") -> list[Row]:
    """The rows with more columns.

    Args:
        rows: as they were read.
        sources: column -> where it comes from: a number, ``column:NAME``, or ``python:module:function``, which is given
            the row and returns a number or a list of numbers; of ``prompt`` and the others in SAID whatever they hold.
        source: where the rows come from, for messages.

    Raises:
        BadInput: a source can't be read, or gives no number where one should be.
        UnknownMethod: there is no such column.
    """
    if not sources:
        return rows
    makers = {name: _maker(name, text, rows[0] if rows else {}) for name, text in sources.items()}
    made = []
    for number, row in enumerate(rows, 1):
        place = f"{source} row {number}"
        made.append(
            {**row, **{name: _checked(_made(make, row, name, place), name, place) for name, make in makers.items()}}
        )
    return made


def _maker(name: str, text: str, first: Mapping[str, Any]) -> Callable[[Row], Any]:
    if text.startswith("python:"):
        return named_function(text)
    if text.startswith("column:"):
        other = text.removeprefix("column:")
        if other not in first:
            raise unknown("column", other, first)
        return lambda row: row.get(other)
    try:
        number = float(text)
    except ValueError:
        raise BadInput(
            f"--column {name}={text}: give a number, column:NAME, or python:module:function (of the row)"
        ) from None
    return lambda row: number


def _made(make: Callable[[Row], Any], row: Row, name: str, place: str) -> Any:
    try:
        return make(row)
    except Exception as error:  # of a function of the user's
        raise BadInput(f"{place}: the source of column '{name}' fails: {type(error).__name__}: {error}") from error


def _checked(value: Any, name: str, place: str) -> Any:
    if name in SAID:
        return value
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or any(isinstance(one, bool) or not isinstance(one, Real) for one in values):
        raise BadInput(f"{place}: the source of column '{name}' gives {value!r}, which is no number")
    return value
