"""Why a row was left out, as far as the pool itself tells.

A selector weighs all rows at once, so there is rarely one cause. What can be said of a rejected row is how it stands to
the chosen row most like it; these are facts about the pool, not a trace of the selector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.space.kernels import unit_rows

BLOCK = 8192
Kind = Literal["near-duplicate", "lower quality", "covered", "not needed"]


@dataclass(frozen=True)
class Reason:
    """What is known of one rejected row.

    Args:
        row: the rejected row, counted from 0 like every index of a pool, or by the numbers that were given.
        kind: which of the four reasons it is.
        text: the reason, for a reader.
        nearest: the chosen row most like it; None without embeddings.
        similarity: cosine similarity to that row; None without embeddings.
    """

    row: int
    kind: Kind
    text: str
    nearest: int | None = None
    similarity: float | None = None


class Reasons(Sequence[Reason]):
    """The reasons of all rejected rows, in row order, worked out a block at a time when they are read.

    Memory is that of the chosen rows and one block, whatever the size of the pool.
    """

    def __init__(
        self, pool: Pool, chosen: np.ndarray, *, duplicate: float, covered: float, numbers: np.ndarray | None = None
    ) -> None:
        self._pool, self._chosen = pool, np.asarray(chosen, dtype=np.int64)
        if len(self._chosen) and not (self._chosen.min() >= 0 and self._chosen.max() < len(pool)):
            raise BadInput(f"a chosen row is not among the {len(pool)} rows of {pool.source}")
        rejected = np.ones(len(pool), dtype=bool)
        rejected[self._chosen] = False
        self.rows = np.flatnonzero(rejected)
        self._duplicate, self._covered = duplicate, covered
        self._numbers = np.arange(len(pool)) if numbers is None else np.asarray(numbers, dtype=np.int64)
        if self._numbers.shape != (len(pool),):
            raise BadInput(f"numbers should be one a row: {len(pool)}, not of shape {self._numbers.shape}")
        self._index: Any = None
        self._lowest = np.inf if pool.quality is None or not len(self._chosen) else pool.quality[self._chosen].min()

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Reason: ...
    @overload
    def __getitem__(self, place: slice) -> list[Reason]: ...
    def __getitem__(self, place: int | slice) -> Reason | list[Reason]:
        if isinstance(place, slice):
            return self._of(self.rows[place])
        return self._of(self.rows[[place]])[0]

    def __iter__(self) -> Iterator[Reason]:
        for start in range(0, len(self.rows), BLOCK):
            yield from self._of(self.rows[start : start + BLOCK])

    def nearest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The chosen row most like each of ``rows``, (m,) int64, and their cosine similarities, (m,) float32."""
        import faiss

        X = self._pool.X
        if self._index is None:
            self._index = faiss.IndexFlatIP(X.shape[1])
            self._index.add(_unit(X[self._chosen]))
        similarity, place = self._index.search(_unit(X[rows]), 1)
        return self._chosen[place[:, 0]], np.clip(similarity[:, 0], -1, 1)

    def _of(self, rows: np.ndarray) -> list[Reason]:
        quality = self._pool.quality
        if self._pool.embeddings is None or not len(self._chosen) or not len(rows):
            return [self._without_space(int(row)) for row in rows]
        near, similarity = self.nearest(rows)
        found = []
        for row, other, alike in zip(rows.tolist(), near.tolist(), similarity.tolist(), strict=True):
            kind: Kind
            at, to = int(self._numbers[row]), int(self._numbers[other])
            if alike >= self._duplicate:
                kind = "near-duplicate"
                text = f"near-duplicate of row {to} (similarity {alike:.2f})"
            elif quality is not None and quality[row] < quality[other]:
                kind = "lower quality"
                text = (
                    f"lower quality ({quality[row]:.3g}) than the chosen row most like it "
                    f"(row {to}, {quality[other]:.3g}; similarity {alike:.2f})"
                )
            elif alike >= self._covered:
                kind = "covered"
                text = f"its neighbourhood is covered by row {to} (similarity {alike:.2f})"
            else:
                kind = "not needed"
                text = f"not needed: budget of {len(self._chosen)} reached (most like row {to}, similarity {alike:.2f})"
            found.append(Reason(at, kind, text, to, alike))
        return found

    def _without_space(self, row: int) -> Reason:
        if self._pool.quality is not None and self._pool.quality[row] < self._lowest < np.inf:
            text = f"lower quality ({self._pool.quality[row]:.3g}) than every chosen row (from {self._lowest:.3g})"
            return Reason(int(self._numbers[row]), "lower quality", text)
        return Reason(int(self._numbers[row]), "not needed", f"not needed: budget of {len(self._chosen)} reached")


def reasons(pool: Pool, chosen: Any, *, duplicate: float = 0.95, covered: float = 0.6, numbers: Any = None) -> Reasons:
    """The reasons of the rows that were not chosen, lazily: index, slice or iterate.

    The first that applies: a near-duplicate of a chosen row; lower quality than the chosen row most like it; covered
    by a chosen row; not needed. Without embeddings only quality is compared.

    Args:
        pool: what was chosen from.
        chosen: (k,) rows that were chosen.
        duplicate: cosine similarity from which a row counts as a near-duplicate.
        covered: cosine similarity from which a row counts as covered.
        numbers: (n,) what the rows of a pool that was taken from another are called in the reasons: their rows there.

    Raises:
        BadInput: a chosen row is not in the pool, or there is not one number a row.
    """
    return Reasons(pool, chosen, duplicate=duplicate, covered=covered, numbers=numbers)


def _unit(X: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(unit_rows(X), dtype=np.float32)
