"""Many short arrays held as one long one: what token ids weigh is four bytes each, not a Python object each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import torch


class Ragged(Sequence[list[np.ndarray]]):
    """Rows of several arrays each, whatever their lengths.

    The numbers lie in one tensor: torch's worker processes share its memory, even where they are spawned and all else
    is copied to them.

    Args:
        rows: of each row its arrays; may be a generator.
        dtype: of the numbers, a numpy dtype.
    """

    def __init__(self, rows: Iterable[Sequence[Any]], dtype: Any) -> None:
        parts: list[np.ndarray] = []
        counts = [0]
        for row in rows:
            parts += [np.asarray(part, dtype=dtype) for part in row]
            counts.append(len(row))
        self._values = torch.from_numpy(np.concatenate([np.zeros(0, dtype=dtype), *parts]))
        self._ends = np.cumsum([0, *map(len, parts)])
        self._firsts = np.cumsum(counts)

    def __len__(self) -> int:
        return len(self._firsts) - 1

    @overload
    def __getitem__(self, index: int) -> list[np.ndarray]: ...

    @overload
    def __getitem__(self, index: slice) -> list[list[np.ndarray]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """The arrays of a row, as views; of a slice, a list of rows."""
        which = range(len(self))[index]
        if isinstance(which, range):
            return [self[i] for i in which]
        values = self._values.numpy()
        ends = self._ends[self._firsts[which] : self._firsts[which + 1] + 1].tolist()
        return [values[start:end] for start, end in pairwise(ends)]

    def largest(self) -> tuple[Any, int]:
        """The largest of all numbers, and the row that it is in. There must be one."""
        where = int(self._values.argmax())
        starts = self._ends[self._firsts]
        return self._values[where].item(), int(np.searchsorted(starts, where, side="right")) - 1

    def sizes(self) -> np.ndarray:
        """(rows,) how many numbers each row holds."""
        return np.diff(self._ends[self._firsts])
