"""What a row must hold: text, quality, group and vector columns taken from one record, or the reason they can't be."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from polyculture.errors import BadInput
from polyculture.records import BLOCK_ROWS

TEXT_COLUMNS = ("messages", "conversations", "text", "prompt", "instruction", "question", "content")


@dataclass(frozen=True)
class Columns:
    """Which columns of a record become what.

    Args:
        text: columns joined by a blank line into the text; chat columns (lists of role and content) are understood.
        quality: a column of numbers, higher is better.
        groups: a column of labels.
        vectors: a column of equally long lists of numbers.
        need_text: whether rows without text are an error.
    """

    text: tuple[str, ...] = ()
    quality: str | None = None
    groups: str | None = None
    vectors: str | None = None
    need_text: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is used, without repeats."""
        extra = (c for c in (self.quality, self.groups, self.vectors) if c is not None)
        return tuple(dict.fromkeys((*self.text, *extra)))


@dataclass(frozen=True)
class Row:
    """The values of one record."""

    text: str | None
    quality: float | None
    group: str | None
    vector: list[float] | None


def with_text(columns: Columns, record: Any) -> Columns:
    """``columns`` with a text column: the one named, else the first of ``TEXT_COLUMNS`` that the record has.

    Raises:
        BadInput: none was named and the record has none of them, unless it is vectors that tell the rows apart.
    """
    if columns.text or not columns.need_text or not isinstance(record, Mapping):
        return columns
    for name in TEXT_COLUMNS:
        if name in record:
            return replace(columns, text=(name,))
    if columns.vectors is None:
        raise BadInput(f"no text column was named and none is obvious; columns are {_listed(record)}; use --text")
    return columns


def check_columns(record: Mapping[str, Any], columns: Columns) -> None:
    """Check that a record has every column that is used.

    Raises:
        BadInput: one is missing; the message lists the columns there are.
    """
    for name in columns.names:
        if name not in record:
            near = difflib.get_close_matches(name, record, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise BadInput(f"column '{name}' is missing{hint}; columns are {_listed(record)}")


def parse_row(record: Any, columns: Columns) -> Row:
    """Take the named columns from one record.

    Raises:
        BadInput: the record is not an object, or a column is missing, null, or of the wrong kind. The message does not
            name the place; the reader adds it.
    """
    if not isinstance(record, Mapping):
        raise BadInput(f"the row is {_kind(record)}, but each row should be an object with named columns")
    check_columns(record, columns)
    return Row(
        text="\n\n".join(as_text(record[name], name) for name in columns.text) if columns.text else None,
        quality=None if columns.quality is None else _number(record[columns.quality], columns.quality),
        group=None if columns.groups is None else _label(record[columns.groups], columns.groups),
        vector=None if columns.vectors is None else _vector(record[columns.vectors], columns.vectors),
    )


def as_text(value: Any, column: str) -> str:
    r"""A text, a number, or a chat as one text; a chat is its turns, each after its role.

    >>> as_text([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "messages")
    'user: Hi\nassistant: Hello'

    Raises:
        BadInput: the value is null or neither text, number nor chat.
    """
    if isinstance(value, str):
        # A lone surrogate, from a JSON escape, is no character: it could not be written out again as UTF-8.
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Sequence) and value and all(isinstance(turn, Mapping) for turn in value):
        turns = []
        for turn in value:
            role = turn.get("role", turn.get("from"))
            content = turn.get("content", turn.get("value"))
            if isinstance(content, Sequence) and not isinstance(content, str):
                content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
            if role is None or not isinstance(content, str):
                raise BadInput(f"column '{column}' looks like a chat, but a turn lacks its role or content")
            turns.append(f"{role}: {content}")
        return "\n".join(turns)
    raise BadInput(f"column '{column}' is {_kind(value)}, but it should be text or chat messages")


def _number(value: Any, column: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"column '{column}' is {_kind(value)}, but quality should be a number") from None
    if not math.isfinite(number):
        raise BadInput(f"column '{column}' is {number}, but quality should be finite")
    return number


def _label(value: Any, column: str) -> str:
    if value is None or value != value:
        return "(none)"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise BadInput(f"column '{column}' is {_kind(value)}, but a group should be one label")


def _vector(value: Any, column: str) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadInput(f"column '{column}' is {_kind(value)}, but a vector should be a list of numbers")
    vector = [_number(entry, column) for entry in value]
    return vector


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    shown = json.dumps(value, default=str)
    name = {list: "a list", dict: "an object", str: "text", bool: "a boolean"}.get(type(value), type(value).__name__)
    return f"{name} ({shown if len(shown) <= 40 else shown[:37] + '...'})"


def _listed(record: Mapping[str, Any]) -> str:
    return ", ".join(map(str, record)) or "(none)"


@dataclass
class Builder:
    """Gathers rows into Arrow and numpy blocks, so that Python objects live for one block only."""

    columns: Columns
    _texts: list[str] = field(default_factory=list)
    _quality: list[float] = field(default_factory=list)
    _groups: list[str] = field(default_factory=list)
    _vectors: list[list[float]] = field(default_factory=list)
    _text_blocks: list[pa.Array] = field(default_factory=list)
    _quality_blocks: list[np.ndarray] = field(default_factory=list)
    _group_codes: dict[str, int] = field(default_factory=dict)
    _code_blocks: list[np.ndarray] = field(default_factory=list)
    _vector_blocks: list[np.ndarray] = field(default_factory=list)
    _dimension: int = 0

    def add(self, row: Row) -> None:
        """Add one row.

        Raises:
            BadInput: its vector is not as long as the first one.
        """
        if row.vector is not None:
            self._dimension = self._dimension or len(row.vector)
            if len(row.vector) != self._dimension:
                raise BadInput(f"the vector has {len(row.vector)} numbers, the first one has {self._dimension}")
            self._vectors.append(row.vector)
        if row.text is not None:
            self._texts.append(row.text)
        if row.quality is not None:
            self._quality.append(row.quality)
        if row.group is not None:
            self._groups.append(row.group)
        if max(len(self._texts), len(self._quality), len(self._groups), len(self._vectors)) >= BLOCK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._texts:
            self._text_blocks.append(pa.array(self._texts, type=pa.large_string()))
        if self._quality:
            self._quality_blocks.append(np.asarray(self._quality, dtype=np.float64))
        if self._groups:
            codes = [self._group_codes.setdefault(name, len(self._group_codes)) for name in self._groups]
            self._code_blocks.append(np.asarray(codes, dtype=np.int64))
        if self._vectors:
            self._vector_blocks.append(np.asarray(self._vectors, dtype=np.float32))
        for block in (self._texts, self._quality, self._groups, self._vectors):
            block.clear()

    def texts(self) -> pa.ChunkedArray | None:
        """The texts so far, or None when no text column was named."""
        self._flush()
        return pa.chunked_array(self._text_blocks, type=pa.large_string()) if self.columns.text else None

    def quality(self) -> np.ndarray | None:
        """The quality so far, (n,) float64, or None."""
        self._flush()
        return None if self.columns.quality is None else np.concatenate([*self._quality_blocks, np.zeros(0)])

    def groups(self) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """The group codes so far, (n,) int64, and their names sorted, or None and nothing."""
        self._flush()
        if self.columns.groups is None:
            return None, ()
        codes = np.concatenate([*self._code_blocks, np.zeros(0, dtype=np.int64)])
        names = sorted(self._group_codes)
        rank = {name: i for i, name in enumerate(names)}
        order = np.asarray([rank[name] for name in self._group_codes], dtype=np.int64)
        return (order[codes] if len(order) else codes), tuple(names)

    def vectors(self) -> np.ndarray | None:
        """The vectors so far, (n, d) float32, or None."""
        self._flush()
        if self.columns.vectors is None:
            return None
        return np.concatenate([*self._vector_blocks, np.zeros((0, self._dimension), dtype=np.float32)])
