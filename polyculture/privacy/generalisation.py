"""A generalisation: the coarser form in which every attribute is collected, fixed once for all records.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Sections 3 and 7. A continuous
attribute is told by the interval it falls in (bucket j holds borders[j-1] <= x < borders[j]), a categorical one by the
group of categories it belongs to.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.columns import MISSING, Column, encode


@dataclass(frozen=True)
class Intervals:
    """The buckets of a continuous attribute.

    Args:
        column: the attribute.
        borders: where one bucket ends and the next begins, ascending; b borders make b + 1 buckets.
    """

    column: Column
    borders: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(a >= b for a, b in zip(self.borders, self.borders[1:], strict=False)):
            raise BadInput(f"column '{self.column.name}': borders should ascend, without repeats")

    @property
    def size(self) -> int:
        """How many buckets there are."""
        return len(self.borders) + 1

    def buckets(self, values: np.ndarray) -> np.ndarray:
        """The bucket of each value, (n,) int64; a value on a border belongs to the bucket above it."""
        return np.searchsorted(np.asarray(self.borders), values, side="right").astype(np.int64)

    def ncp(self) -> np.ndarray:
        """Normalised certainty penalty of each bucket: its share of the attribute's range, in [0, 1]."""
        low, high = self.column.low, self.column.high
        if high <= low:
            return np.ones(self.size)
        edges = np.clip([low, *self.borders, high], low, high)
        return np.diff(edges) / (high - low)

    def labels(self) -> list[str]:
        """Each bucket as a reader would write it: "< 30", "[30, 45)", ">= 45", or "any"."""
        if not self.borders:
            return ["any"]
        inner = [f"[{a:.6g}, {b:.6g})" for a, b in zip(self.borders, self.borders[1:], strict=False)]
        return [f"< {self.borders[0]:.6g}", *inner, f">= {self.borders[-1]:.6g}"]


@dataclass(frozen=True)
class Groups:
    """The buckets of a categorical attribute.

    Args:
        column: the attribute, with its categories.
        mapping: the bucket of each category, numbered from 0 without gaps.
        usual: the bucket that a category never seen before is put into.
    """

    column: Column
    mapping: tuple[int, ...]
    usual: int = 0

    def __post_init__(self) -> None:
        if len(self.mapping) != len(self.column.categories or ()):
            raise BadInput(f"column '{self.column.name}': the mapping should have one bucket for each category")
        if set(self.mapping) != set(range(len(set(self.mapping)))):
            raise BadInput(f"column '{self.column.name}': buckets should be numbered from 0 without gaps")

    @property
    def size(self) -> int:
        """How many buckets there are."""
        return max(self.mapping) + 1

    def buckets(self, codes: np.ndarray) -> np.ndarray:
        """The bucket of each code, (n,) int64; code -1, a category never seen before, goes to the usual bucket."""
        return np.append(np.asarray(self.mapping, dtype=np.int64), self.usual)[codes.astype(np.int64)]

    def ncp(self) -> np.ndarray:
        """Normalised certainty penalty of each bucket: the share of the categories that are merged in it."""
        return np.bincount(self.mapping, minlength=self.size) / len(self.mapping)

    def labels(self) -> list[str]:
        """Each bucket as its categories, such as "Private | State-gov"; "any" if the only one holds several."""
        if self.size == 1 < len(self.mapping):
            return ["any"]
        names = [MISSING if c is None else str(c) for c in self.column.categories or ()]
        return [
            " | ".join(n for n, b in zip(names, self.mapping, strict=True) if b == bucket)
            for bucket in range(self.size)
        ]


Part = Intervals | Groups


@dataclass(frozen=True)
class Statistics:
    """What a generalisation does to a set of records.

    Args:
        gcp: global certainty penalty: the certainty penalties of every attribute of every record, summed.
        n_distinct: how many different generalised records there are.
        used_fraction: ``n_distinct`` over the number of combinations of buckets.
        class_sizes: how many records share each generalised record, ascending; the first is the k of k-anonymity.
    """

    gcp: float
    n_distinct: int
    used_fraction: float
    class_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Generalisation:
    """One coarser form an attribute, in the order of the columns."""

    parts: tuple[Part, ...]

    @property
    def columns(self) -> list[Column]:
        """The attributes."""
        return [part.column for part in self.parts]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many buckets each attribute has."""
        return tuple(part.size for part in self.parts)

    def encode(self, X: Any, *, on_unseen: Literal["warn", "error"] = "warn") -> np.ndarray:
        """Records as numbers, (n, d): see :func:`polyculture.privacy.columns.encode`.

        Raises:
            BadInput: the columns do not fit, or ``on_unseen`` is "error" and a category is new.
        """
        codes = encode(X, self.columns)
        for j, column in enumerate(self.columns):
            new = np.flatnonzero((codes[:, j] < 0) & (not column.continuous))
            if len(new):
                text = f"column '{column.name}' has {len(new)} values never seen in fit, the first in row {new[0]}"
                if on_unseen == "error":
                    raise BadInput(f"{text}; fit on records that have them, or let on_unseen be 'warn'")
                warnings.warn(f"{text}; they are put into the usual bucket", stacklevel=3)
        return codes

    def buckets(self, codes: np.ndarray) -> np.ndarray:
        """The bucket of every attribute of encoded records, (n, d) int64."""
        return np.stack([part.buckets(codes[:, j]) for j, part in enumerate(self.parts)], axis=1)

    def one_hot(self, buckets: np.ndarray) -> np.ndarray:
        """Buckets as a row of zeros and a one for each attribute, side by side, (n, sum of sizes) float64."""
        return np.concatenate([np.eye(size)[buckets[:, j]] for j, size in enumerate(self.sizes)], axis=1)

    def names(self) -> list[str]:
        """The name of each column of the one-hot form, such as "age=[30, 45)"."""
        return [f"{part.column.name}={label}" for part in self.parts for label in part.labels()]

    def statistics(self, buckets: np.ndarray) -> Statistics:
        """Certainty penalties and sizes of the groups of records that can't be told apart."""
        gcp = sum(float(part.ncp()[buckets[:, j]].sum()) for j, part in enumerate(self.parts))
        counts = np.unique(buckets, axis=0, return_counts=True)[1]
        used = len(counts) / float(np.prod([float(size) for size in self.sizes]))
        return Statistics(gcp, len(counts), used, tuple(int(c) for c in np.sort(counts)))

    def to_dict(self) -> dict[str, Any]:
        """The generalisation in JSON's own types."""
        held: list[dict[str, Any]] = []
        for part in self.parts:
            one: dict[str, Any] = {"name": part.column.name}
            if isinstance(part, Intervals):
                one |= {"low": part.column.low, "high": part.column.high, "borders": list(part.borders)}
            else:
                one |= {"categories": list(part.column.categories or ()), "mapping": list(part.mapping)}
                one["usual"] = part.usual
            held.append(one)
        return {"attributes": held}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Generalisation:
        """The generalisation that ``to_dict`` gave.

        Raises:
            BadInput: an attribute has neither borders nor a mapping.
        """
        parts: list[Part] = []
        for one in held["attributes"]:
            if "borders" in one:
                parts.append(Intervals(Column(one["name"], None, one["low"], one["high"]), tuple(one["borders"])))
            elif "mapping" in one:
                parts.append(Groups(Column(one["name"], tuple(one["categories"])), tuple(one["mapping"]), one["usual"]))
            else:
                raise BadInput(f"attribute '{one.get('name')}' has neither borders nor a mapping")
        return cls(tuple(parts))


def renumber(labels: Sequence[Any] | np.ndarray) -> tuple[int, ...]:
    """Labels as buckets, numbered in order of first appearance.

    >>> renumber(["b", "a", "b"])
    (0, 1, 0)
    """
    seen: dict[Any, int] = {}
    return tuple(seen.setdefault(label, len(seen)) for label in (v.item() if hasattr(v, "item") else v for v in labels))
