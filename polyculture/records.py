"""Records at rest: a pool's rows as raw JSON lines or an Arrow table, never a Python object a row.

Both kinds give back exactly what was read: a chosen row is written as it came, whatever its columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

BLOCK_ROWS = 8192


class Records(Protocol):
    """Rows that can be counted, read in blocks, and taken by index."""

    def __len__(self) -> int:
        """Number of rows."""

    def take(self, indices: np.ndarray) -> Records:
        """The rows at ``indices``, in that order."""

    def blocks(self) -> Iterator[list[dict[str, Any]]]:
        """The rows as dicts, a block at a time."""

    def row(self, index: int) -> dict[str, Any]:
        """One row as a dict."""

    def lines(self) -> Iterator[str]:
        """The rows as JSON lines, without the newline."""


@dataclass(frozen=True)
class JsonLines:
    """Rows kept as the JSON text they were read as; ``raw`` is one large_string a row."""

    raw: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, indices: np.ndarray) -> JsonLines:
        """The rows at ``indices``, in that order."""
        return JsonLines(self.raw.take(pa.array(indices, type=pa.int64())))

    def blocks(self) -> Iterator[list[dict[str, Any]]]:
        """The rows as dicts, a block at a time."""
        for block in _text_blocks(self.raw):
            yield [json.loads(line) for line in block]

    def row(self, index: int) -> dict[str, Any]:
        """One row as a dict."""
        return json.loads(self.raw[index].as_py())

    def lines(self) -> Iterator[str]:
        """The rows as they were read."""
        for block in _text_blocks(self.raw):
            yield from block


@dataclass(frozen=True)
class ArrowRows:
    """Rows of an Arrow table, from CSV, Parquet or a datasets Dataset."""

    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    def take(self, indices: np.ndarray) -> ArrowRows:
        """The rows at ``indices``, in that order."""
        return ArrowRows(self.table.take(pa.array(indices, type=pa.int64())))

    def blocks(self) -> Iterator[list[dict[str, Any]]]:
        """The rows as dicts, a block at a time."""
        for batch in self.table.to_batches(max_chunksize=BLOCK_ROWS):
            yield batch.to_pylist()

    def row(self, index: int) -> dict[str, Any]:
        """One row as a dict."""
        return self.table.slice(index, 1).to_pylist()[0]

    def lines(self) -> Iterator[str]:
        """The rows as JSON lines."""
        for block in self.blocks():
            for row in block:
                yield json.dumps(row, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class NoRecords:
    """The rows of a pool that was made from arrays: numbered, and nothing else."""

    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, indices: np.ndarray) -> NoRecords:
        """The rows at ``indices``, in that order."""
        return NoRecords(self.numbers[indices])

    def blocks(self) -> Iterator[list[dict[str, Any]]]:
        """The rows as dicts with their number, a block at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield [{"row": int(i)} for i in self.numbers[start : start + BLOCK_ROWS]]

    def row(self, index: int) -> dict[str, Any]:
        """One row as a dict with its number."""
        return {"row": int(self.numbers[index])}

    def lines(self) -> Iterator[str]:
        """The rows as JSON lines."""
        for block in self.blocks():
            yield from (json.dumps(row) for row in block)


class Texts:
    """A read-only sequence of strings held in Arrow memory; slices and index arrays give lists, one block at a time.

    Args:
        array: strings; a list is converted.
    """

    def __init__(self, array: pa.ChunkedArray | Iterable[str]) -> None:
        if not isinstance(array, pa.ChunkedArray):
            array = pa.chunked_array([pa.array(list(array), type=pa.large_string())])
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> str:
        return self.array[int(index)].as_py()

    def __iter__(self) -> Iterator[str]:
        for block in _text_blocks(self.array):
            yield from block

    def take(self, indices: np.ndarray) -> Texts:
        """The texts at ``indices``, in that order."""
        return Texts(self.array.take(pa.array(indices, type=pa.int64())))

    def lengths(self) -> np.ndarray:
        """Length of each text in characters, (n,) int64."""
        import pyarrow.compute as pc

        return pc.utf8_length(self.array).to_numpy().astype(np.int64)

    def to_list(self) -> list[str]:
        """Every text as a Python string, at once."""
        return self.array.to_pylist()


def _text_blocks(array: pa.ChunkedArray) -> Iterator[list[str]]:
    for start in range(0, len(array), BLOCK_ROWS):
        yield array.slice(start, BLOCK_ROWS).to_pylist()
