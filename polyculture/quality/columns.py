"""Numbers of a pool's records by column name: several scores a row, margins, token counts.

A method that needs more numbers a row than a pool's one quality names columns in its hyper-parameters, and reads them
here from the pool's records. :func:`with_columns` puts arrays there for pools that were not read from a file.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.records import ArrowRows, NoRecords


def numbers(pool: Pool, names: Sequence[str], *, option: str = "an option", allow_nan: bool = False) -> np.ndarray:
    """The numbers of some columns, read a block of records at a time.

    Args:
        pool: rows with the columns.
        names: columns, in the order wanted.
        option: the hyper-parameter that named them, for messages.
        allow_nan: give null and NaN back as NaN instead of refusing them.

    Returns:
        (n, len(names)) float64.

    Raises:
        BadInput: a column is missing, or a value is not a finite number; row and remedy are named.
    """
    if isinstance(pool.records, NoRecords):
        raise BadInput(
            f"{pool.source}: {option} names {_listed(names)}, but the pool has no columns; read it from a file, or add "
            "them with polyculture.quality.columns.with_columns"
        )
    found = np.empty((len(pool), len(names)), dtype=np.float64)
    row = 0
    for block in pool.records.blocks():
        for record in block:
            for place, name in enumerate(names):
                if name not in record:
                    near = difflib.get_close_matches(name, record, n=1)
                    hint = f" (did you mean '{near[0]}'?)" if near else ""
                    raise BadInput(
                        f"{pool.source} row {row + 1}: column '{name}', named by {option}, is missing{hint}; columns "
                        f"are {', '.join(map(str, record))}"
                    )
                found[row, place] = _number(record[name], f"{pool.source} row {row + 1}: column '{name}'", allow_nan)
            row += 1
    return found


def label_columns(pool: Pool, names: Sequence[str], *, option: str) -> np.ndarray:
    """The distinct combinations of labels in some columns as codes, (n,) int64; a missing label is one of its own.

    Raises:
        BadInput: no row has one of the columns.
    """
    codes: dict[tuple[str, ...], int] = {}
    found = np.empty(len(pool), dtype=np.int64)
    seen: set[str] = set()
    row = 0
    for block in pool.records.blocks():
        for record in block:
            seen.update(name for name in names if name in record)
            label = tuple(str(record.get(name)) for name in names)
            found[row] = codes.setdefault(label, len(codes))
            row += 1
    absent = [name for name in names if name not in seen]
    if absent and len(pool):
        known = ", ".join(map(str, pool.records.row(0)))
        raise BadInput(
            f"{pool.source}: no row has the column {_listed(absent)} that {option} names; columns are {known}"
        )
    return found


def with_columns(pool: Pool, **columns: Any) -> Pool:
    """The pool with more columns in its records, one array or list of n values each.

    >>> pool = with_columns(Pool.from_arrays(quality=[1, 2]), margin=[0.5, -1.0])
    >>> pool.records.row(1)["margin"]
    -1.0

    Raises:
        BadInput: a column has another number of rows than the pool.
    """
    rows = [row for block in pool.records.blocks() for row in block]
    table = pa.Table.from_pylist(rows) if rows else pa.table({})
    for name, values in columns.items():
        held = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if len(held) != len(pool):
            raise BadInput(f"{pool.source}: column '{name}' has {len(held)} rows, the pool has {len(pool)}")
        place = table.column_names.index(name) if name in table.column_names else -1
        array = pa.array(held)
        table = table.append_column(name, array) if place < 0 else table.set_column(place, name, array)
    return pool.with_(records=ArrowRows(table))


def _number(value: Any, place: str, allow_nan: bool) -> float:
    if value is None and allow_nan:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{place} is {value!r:.40}, but it should be a number") from None
    if math.isinf(number) or (math.isnan(number) and not allow_nan):
        raise BadInput(f"{place} is {number}, but it should be finite")
    return number


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
