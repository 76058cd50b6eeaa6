"""Reading a table of records: which columns hold numbers, which hold categories, and what each was seen to hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyculture.errors import BadInput, unknown

MISSING = "(missing)"


@dataclass(frozen=True)
class Column:
    """What one attribute was seen to hold when the records were read first.

    Args:
        name: the attribute.
        categories: its values in order, None for a missing one; None when the attribute is a number.
        low: smallest number seen; 0 for categories.
        high: largest number seen; 1 for categories.
    """

    name: str
    categories: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 1.0
    code: Mapping[Any, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", {value: i for i, value in enumerate(self.categories or ())})

    @property
    def continuous(self) -> bool:
        """Whether it holds numbers."""
        return self.categories is None


def read_columns(X: Any) -> tuple[list[str], list[np.ndarray]]:
    """The names and the columns of a pandas DataFrame, a pyarrow Table or a 2-d array; an array's are named x0, x1, ...

    Raises:
        BadInput: it is not two-dimensional, has no rows or columns, is sparse, or two columns share a name.
    """
    if hasattr(X, "toarray"):
        raise BadInput("X is a sparse matrix; give X.toarray()")
    if named(X):
        arrow = hasattr(X, "column_names")
        names = [str(name) for name in (X.column_names if arrow else X.columns)]
        columns = [X.column(j).to_numpy() if arrow else X.iloc[:, j].to_numpy() for j in range(len(names))]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise BadInput(f"two columns are named '{repeated[0]}'; rename one")
    else:
        if not isinstance(X, np.ndarray):
            X = np.asarray(X, dtype=object if _mixed(X) else None)
        if X.ndim != 2:
            raise BadInput(f"X should have two dimensions, records by attributes, not {X.ndim}")
        names, columns = [f"x{j}" for j in range(X.shape[1])], [X[:, j] for j in range(X.shape[1])]
    if not columns:
        raise BadInput("X has no columns")
    if not len(columns[0]):
        raise BadInput("X has no rows")
    return names, columns


def named(X: Any) -> bool:
    """Whether records are a pandas DataFrame or a pyarrow Table, whose columns have names."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "column_names"))


def _mixed(X: Any) -> bool:
    """Whether numpy would turn numbers into texts to hold these lists."""
    return any(isinstance(value, str) for row in X if isinstance(row, Iterable) for value in row)


def learn_columns(X: Any, categorical: Sequence[str | int] = ()) -> list[Column]:
    """What every attribute holds: a column of numbers is continuous unless ``categorical`` names it.

    Raises:
        BadInput: a continuous attribute has a missing or infinite value.
        UnknownMethod: ``categorical`` names a column that is not there.
    """
    names, columns = read_columns(X)
    discrete = set(positions(categorical, names))
    return [_learn(name, column, j in discrete) for j, (name, column) in enumerate(zip(names, columns, strict=True))]


def _learn(name: str, column: np.ndarray, discrete: bool) -> Column:
    if not discrete and _numeric(column):
        values = _numbers(name, column)
        return Column(name, None, float(values.min()), float(values.max()))
    found = {_plain(value) for value in column.tolist()}
    return Column(name, tuple(sorted(found, key=lambda v: (v is not None, isinstance(v, str), v))))


def _numeric(column: np.ndarray) -> bool:
    if column.dtype.kind in "iuf":
        return True
    held = [value for value in column.tolist() if not missing(value)] if column.dtype.kind == "O" else []
    return bool(held) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in held)


def _numbers(name: str, column: np.ndarray) -> np.ndarray:
    if column.dtype.kind == "O":
        column = np.array([np.nan if missing(value) else value for value in column.tolist()], dtype=object)
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError) as error:
        row = next(i for i, value in enumerate(column.tolist()) if not _is_number(value))
        raise BadInput(
            f"column '{name}' row {row}: {column[row]!r} is not a number, but this column held numbers"
        ) from error
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        what = "a missing value" if np.isnan(values[bad[0]]) else "infinity"
        raise BadInput(
            f"column '{name}' row {bad[0]}: {what} among numbers; fill it in first (sklearn.impute.SimpleImputer) or "
            f"drop the row"
        )
    return values


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def missing(value: Any) -> bool:
    """Whether a value is None, NaN, or one of pandas' own kinds of nothing."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _plain(value: Any) -> Any:
    """A category in JSON's own types; every kind of missing value is None, 3.0 is 3."""
    if missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def encode(X: Any, columns: Sequence[Column]) -> np.ndarray:
    """Records as numbers: (n, d) float64, a category by its code, one never seen before by -1.

    Columns that have names are found by name, an array's by position.

    Raises:
        BadInput: a column is missing, the number of columns differs, or a continuous attribute has a value that is
            missing, infinite or not a number.
    """
    names, held = read_columns(X)
    if named(X):
        for column in columns:
            if column.name not in names:
                raise BadInput(f"column '{column.name}' is missing; columns are {', '.join(names)}")
        held = [held[names.index(column.name)] for column in columns]
    elif len(held) != len(columns):
        raise BadInput(f"X has {len(held)} columns, but {len(columns)} were fitted")
    coded = np.empty((len(held[0]), len(columns)))
    for j, (column, values) in enumerate(zip(columns, held, strict=True)):
        if column.continuous:
            coded[:, j] = _numbers(column.name, values)
        else:
            coded[:, j] = [column.code.get(_plain(value), -1) for value in values.tolist()]
    return coded


def positions(wanted: Sequence[str | int], names: Sequence[str]) -> list[int]:
    """Where the named columns are; a column may also be given by its position.

    Raises:
        UnknownMethod: there is no such column, with the nearest name.
    """
    found = []
    for one in wanted:
        if isinstance(one, (int, np.integer)) and 0 <= one < len(names):
            found.append(int(one))
        elif str(one) in names:
            found.append(list(names).index(str(one)))
        else:
            raise unknown("column", str(one), names)
    return found
