"""What a curation report says, as data: every number and text on the page, before any HTML.

A run stores it as ``report.json``; the page can be rendered again from that file, with nothing recomputed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput

FORMAT = 1


@dataclass(frozen=True)
class Value:
    """One measured number, None where it is undefined; ``low`` and ``high`` bound its interval when there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Headline:
    """One measure, before and after.

    Args:
        name: the measure's name.
        meaning: what it counts, in one sentence for a reader who has not met it.
        before: its value on the whole pool.
        after: its value on the chosen rows.
        baselines: the same measure on other choices of the same size, e.g. "random", "top quality".
        higher_is_better: None where neither direction is better.
    """

    name: str
    meaning: str
    before: Value | None
    after: Value | None
    baselines: Mapping[str, Value] = field(default_factory=dict)
    higher_is_better: bool | None = None


@dataclass(frozen=True)
class Points:
    """The map: m of the pool's n rows, one entry a point in every list.

    Args:
        x: horizontal position.
        y: vertical position.
        row: the row's number in the pool, from 0.
        order: when the row was chosen, from 1; 0 if it was not.
        group: code into ``group_names``; empty if the pool has no groups.
        quality: empty if the pool has none.
        texts: the row's text, cut at ``text_limit`` characters.
        reasons: why it was chosen or not.
        group_names: the name of each group code.
        method: how the two coordinates were made, for the caption.
        shown: how the points were drawn from the pool, for the caption.
        text_limit: where texts were cut.
    """

    x: Sequence[float]
    y: Sequence[float]
    row: Sequence[int]
    order: Sequence[int]
    group: Sequence[int] = ()
    quality: Sequence[float] = ()
    texts: Sequence[str] = ()
    reasons: Sequence[str] = ()
    group_names: Sequence[str] = ()
    method: str = ""
    shown: str = ""
    text_limit: int = 2000

    def __post_init__(self) -> None:
        m = len(self.x)
        for name in ("y", "row", "order"):
            if len(getattr(self, name)) != m:
                raise BadInput(f"map: {name} has {len(getattr(self, name))} entries for {m} points")
        for name in ("group", "quality", "texts", "reasons"):
            if len(getattr(self, name)) not in (0, m):
                raise BadInput(f"map: {name} has {len(getattr(self, name))} entries for {m} points")
        if any(not 0 <= code < len(self.group_names) for code in self.group):
            raise BadInput(f"map: a group code is outside the {len(self.group_names)} group names")


@dataclass(frozen=True)
class Spectrum:
    """How variety is spread over directions: the eigenvalues of one selection's second-moment matrix.

    Args:
        name: which selection.
        eigenvalues: largest first, summing to 1 before they were cut to the leading ones.
        effective: the exponential of their entropy: how many equally strong directions they amount to.
    """

    name: str
    eigenvalues: Sequence[float]
    effective: float

    @property
    def cumulative(self) -> list[float]:
        """Share of the whole that the first i directions hold."""
        total, shares = 0.0, []
        for value in self.eigenvalues:
            total += value
            shares.append(total)
        return shares


@dataclass(frozen=True)
class FrontierCurve:
    """One selection's trade-off: quality and diversity of its first ``k`` rows, for growing k."""

    name: str
    k: Sequence[int]
    quality: Sequence[float]
    diversity: Sequence[float]
    hypervolume: float | None = None


@dataclass(frozen=True)
class Duplicate:
    """Two rows that say nearly the same, their similarity, and whether each was chosen."""

    similarity: float
    row_a: int
    row_b: int
    text_a: str
    text_b: str
    chosen_a: bool = False
    chosen_b: bool = False


@dataclass(frozen=True)
class Example:
    """One row shown as an example, with the number it is shown for, and what is said of it."""

    row: int
    text: str
    score: float | None = None
    chosen: bool | None = None
    group: str = ""
    note: str = ""


@dataclass(frozen=True)
class Rejection:
    """One reason for which rows were not chosen or set aside."""

    reason: str
    count: int
    meaning: str = ""
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class GroupRow:
    """One group's size in the pool and in the choice."""

    name: str
    before: int
    after: int


@dataclass(frozen=True)
class CurationReport:
    """A curation run: what the pool was, what was chosen, and why.

    Args:
        title: the page's title.
        source: where the pool came from.
        n: rows in the pool.
        k: rows chosen.
        method: the selector's name.
        embedder: what made the embeddings.
        created: when, as an ISO date and time; empty if it should not be told.
        parameters: option -> value, as they were used.
        versions: package -> version.
        headline: the measures.
        points: the map; None if the pool has no embeddings.
        spectra: one a selection.
        frontiers: one a selection.
        frontier_note: what the axes are and how the hypervolume was taken.
        diversity_name: the name of the frontier's diversity axis.
        duplicates: the most similar pairs found.
        duplicates_note: how they were searched.
        typical: the rows nearest to everything else.
        atypical: the rows farthest from everything else.
        typical_note: how typical was measured.
        rejections: reasons, most frequent first.
        groups: sizes before and after.
        timings: stage -> seconds.
        warnings: what a reader must know before trusting the page.
        skipped: measure -> why it was not taken.
    """

    title: str
    source: str
    n: int
    k: int
    method: str = ""
    embedder: str = ""
    created: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    headline: Sequence[Headline] = ()
    points: Points | None = None
    spectra: Sequence[Spectrum] = ()
    frontiers: Sequence[FrontierCurve] = ()
    frontier_note: str = ""
    diversity_name: str = "diversity"
    duplicates: Sequence[Duplicate] = ()
    duplicates_note: str = ""
    typical: Sequence[Example] = ()
    atypical: Sequence[Example] = ()
    typical_note: str = ""
    rejections: Sequence[Rejection] = ()
    groups: Sequence[GroupRow] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON's own types, with the version of its format."""
        from polyculture.files import plain

        return {"format": FORMAT, **plain(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any], *, place: str = "report") -> CurationReport:
        """The report that :meth:`to_dict` wrote.

        Raises:
            BadInput: a field is missing, unknown or of the wrong type, or the format is newer than this version reads;
                the message starts with ``place``.
        """
        from pydantic import TypeAdapter, ValidationError

        if not isinstance(held, Mapping) or "format" not in held:
            raise BadInput(
                f"{place} is not a curation report: it has no 'format'; make it with polyculture select or run"
            )
        values = dict(held)
        if (version := values.pop("format")) != FORMAT:
            raise BadInput(f"{place} has format {version}, this version of polyculture reads {FORMAT}; make it again")
        if strange := sorted(set(values) - {f.name for f in dataclasses.fields(cls)}):
            raise BadInput(f"{place} has unknown fields: {', '.join(strange)}; make it again")
        for name in ("title", "source", "n", "k"):
            if name not in values:
                raise BadInput(f"{place} lacks '{name}'; make it again")
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInput(f"{place}: {where}: {first['msg']}; make it again") from error

    def write(self, path: Path) -> None:
        """Write the report as JSON, atomically."""
        from polyculture.files import write_json

        write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path) -> CurationReport:
        """Read what :meth:`write` wrote.

        Raises:
            BadInput: the file is missing, is not JSON or is not a report.
        """
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(f"{path} does not exist; a run writes it when it ends") from error
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadInput(f"{path} is not readable JSON: {error}") from error
        return cls.from_dict(held, place=str(path))
