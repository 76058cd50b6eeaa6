"""A pool: candidates, a quality for each, a space that tells them apart, and the groups they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.records import NoRecords, Records, Texts


@dataclass(frozen=True)
class Pool:
    """n candidates. Every field but ``records`` may be absent; methods say what they need.

    Args:
        records: the rows as they were read.
        texts: what is compared and shown, n strings.
        embeddings: (n, d) float array, one candidate a row.
        quality: (n,) float64, higher is better; finite.
        groups: (n,) int64 codes into ``group_names``.
        group_names: the name of each group code.
        source: where the rows came from, for messages and reports.
        embedder: the name of what made the embeddings.
    """

    records: Records
    texts: Texts | None = None
    embeddings: np.ndarray | None = None
    quality: np.ndarray | None = None
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    source: str = "arrays"
    embedder: str | None = None

    def __post_init__(self) -> None:
        n = len(self.records)
        for name in ("texts", "embeddings", "quality", "groups"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise BadInput(f"{self.source}: {name} has {len(value)} rows, the pool has {n}")
        for name in ("embeddings", "quality"):
            value = getattr(self, name)
            if value is not None:
                _check_finite(value, name, self.source)

    @classmethod
    def from_arrays(
        cls,
        embeddings: Any = None,
        *,
        quality: Any = None,
        groups: Any = None,
        texts: Iterable[str] | None = None,
        source: str = "arrays",
    ) -> Pool:
        """A pool from plain arrays or lists; ``groups`` may be any labels.

        Raises:
            BadInput: nothing was given, lengths differ, or a value is NaN or infinite.
        """
        held = None if texts is None else Texts(texts)
        vectors = None if embeddings is None else np.asarray(embeddings)
        if vectors is not None and vectors.ndim != 2:
            raise BadInput(f"embeddings should be (n, d), one candidate a row; these have shape {vectors.shape}")
        scores = None if quality is None else np.asarray(quality, dtype=np.float64)
        codes, names = (None, ()) if groups is None else encode_groups(groups)
        given = [v for v in (vectors, held, scores, codes) if v is not None]
        if not given:
            raise BadInput("a pool needs at least one of embeddings, texts, quality, groups")
        return cls(NoRecords(np.arange(len(given[0]))), held, vectors, scores, codes, names, source)

    def __len__(self) -> int:
        return len(self.records)

    def take(self, indices: Any) -> Pool:
        """The candidates at ``indices``, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(
            self,
            records=self.records.take(indices),
            texts=None if self.texts is None else self.texts.take(indices),
            embeddings=None if self.embeddings is None else self.embeddings[indices],
            quality=None if self.quality is None else self.quality[indices],
            groups=None if self.groups is None else self.groups[indices],
        )

    def with_(self, **fields: Any) -> Pool:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **fields)

    def need(self, *fields: str) -> None:
        """Check that the pool has what a method is about to use.

        Raises:
            BadInput: a field is absent, with what would bring it.
        """
        remedies = {
            "texts": "name a text column with --text COLUMN",
            "embeddings": "embed it first (--embedder minilm, or --embedder column:NAME for vectors it holds)",
            "quality": "give it with --quality COLUMN or a scorer such as --quality heuristic",
            "groups": "give them with --groups COLUMN",
        }
        for field in fields:
            if getattr(self, field) is None:
                raise BadInput(f"{self.source}: this method needs {field}; {remedies[field]}")

    @property
    def X(self) -> np.ndarray:
        """The embeddings, (n, d); raises BadInput if there are none."""
        self.need("embeddings")
        assert self.embeddings is not None
        return self.embeddings

    @property
    def q(self) -> np.ndarray:
        """The quality, (n,); raises BadInput if there is none."""
        self.need("quality")
        assert self.quality is not None
        return self.quality


def encode_groups(labels: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Any labels as int64 codes and their names, sorted by name; None and NaN become the group "(none)"."""
    names = ["(none)" if x is None or x != x else str(x) for x in labels]
    found, codes = np.unique(np.asarray(names, dtype=object), return_inverse=True)
    return codes.astype(np.int64).reshape(-1), tuple(str(name) for name in found)


def _check_finite(values: np.ndarray, name: str, source: str) -> None:
    # A sum is NaN or infinite if any entry is: one pass without an (n, d) mask. Overflow alone is told apart below.
    with np.errstate(over="ignore"):
        total = np.sum(values, dtype=np.float64)
    if not np.isfinite(total):
        bad = ~np.isfinite(values)
        if bad.any():
            rows = np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))
            shown = ", ".join(str(r + 1) for r in rows[:5]) + (", ..." if len(rows) > 5 else "")
            raise BadInput(
                f"{source}: {name} is NaN or infinite in {len(rows)} of {len(values)} rows (row {shown}); "
                "mend them, or set them aside with --on-bad-row skip"
            )
