"""Measured learning curves at rest: for each group the points, what a sample costs, and how many there are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.mix.groups import check_names
from polyculture.tables import read_csv

Points = Sequence[tuple[float, float]]
OF_GROUP = ("cost", "weight", "cap", "collected")


@dataclass(frozen=True)
class MeasuredCurves:
    """G groups: points of their learning curves, and what collecting them takes.

    In a CSV file a row is a point: columns ``group``, ``n`` (training samples) and ``value`` (performance with them).
    The columns ``cost``, ``weight``, ``cap`` and ``collected`` are about the group: one of its rows has to fill them
    in, and rows that do must agree. A row with no n and no value brings a group that was not measured yet.

    Args:
        groups: the G group names.
        points: group -> pairs (samples, performance).
        costs: (G,) cost of a sample.
        weights: (G,) what each group's performance counts.
        caps: (G,) most samples there are; infinity for no limit.
        collected: (G,) int64 samples collected so far.
        source: where they came from, for messages.
    """

    groups: tuple[str, ...]
    points: Mapping[str, Points]
    costs: np.ndarray
    weights: np.ndarray
    caps: np.ndarray
    collected: np.ndarray
    source: str = field(default="learning curves")

    @classmethod
    def of(
        cls,
        points: Mapping[str, Points],
        *,
        costs: Mapping[str, float] | None = None,
        weights: Mapping[str, float] | None = None,
        caps: Mapping[str, float] | None = None,
        collected: Mapping[str, int] | None = None,
        source: str = "learning curves",
    ) -> MeasuredCurves:
        """Curves from plain mappings; the groups are those of ``points``.

        Args:
            points: group -> pairs (samples, performance); an empty list for a group not measured yet.
            costs: cost of a sample, above 0; None is 1 each.
            weights: what each group's performance counts, 0 or more; None is 1 / G each.
            caps: most samples there are of a group; a group that is left out has no limit.
            collected: samples so far; a group that is left out has as many as its largest point.
            source: where they came from, for messages.

        Raises:
            BadInput: there are no groups; a point, cost, weight, cap or count is NaN or out of range; or a group has
                no cost or weight while others have.
            UnknownMethod: a mapping names a group that has no points, with the nearest name.
        """
        names = check_names(list(points))
        held: dict[str, Points] = {}
        for name, pairs in points.items():
            for n, value in pairs:
                if not (math.isfinite(n) and n > 0 and math.isfinite(value)):
                    raise BadInput(
                        f"{source}: group '{name}' has a point ({n}, {value}); both should be finite, samples above 0"
                    )
            held[str(name)] = [(float(n), float(value)) for n, value in pairs]
        largest = {name: int(max((n for n, _ in pairs), default=0)) for name, pairs in held.items()}
        return cls(
            names,
            held,
            _column("cost", costs, names, 1.0, source, positive=True),
            _column("weight", weights, names, 1 / len(names), source),
            _column("cap", caps, names, math.inf, source, partial=True),
            _column("collected", {**largest, **(collected or {})}, names, 0.0, source).astype(np.int64),
            source,
        )

    @classmethod
    def read(
        cls,
        path: Path | str,
        *,
        group: str = "group",
        n: str = "n",
        value: str = "value",
        on_bad_row: Literal["error"] = "error",
    ) -> MeasuredCurves:
        """Curves from a CSV file with a header.

        Args:
            path: the file.
            group: the column of group names.
            n: the column of training samples.
            value: the column of performance: accuracy, R^2, or a loss.
            on_bad_row: a bad row is an error: a curve can't do without its points unseen.

        Raises:
            BadInput: the file or a column is missing, or a row is bad, with its line.
        """
        header, rows = read_csv(path)
        for column in (group, n, value):
            if column not in header:
                raise BadInput(f"{path} has no column '{column}'; its columns are {', '.join(header)}")
        points: dict[str, list[tuple[float, float]]] = {}
        about: dict[str, dict[str, float]] = {column: {} for column in OF_GROUP}
        for line, row in rows:
            place = f"{path} line {line}"
            name = (row[group] or "").strip()
            if not name:
                raise BadInput(f"{place}: the group has no name")
            held = points.setdefault(name, [])
            pair = _number(row, n, place), _number(row, value, place)
            if (pair[0] is None) != (pair[1] is None):
                raise BadInput(f"{place}: a point needs both {n} and {value}; leave both empty if it was not measured")
            if pair[0] is not None and pair[1] is not None:
                held.append((pair[0], pair[1]))
            for column in OF_GROUP:
                found = _number(row, column, place) if column in header else None
                if found is not None and about[column].setdefault(name, found) != found:
                    raise BadInput(
                        f"{place}: the {column} of '{name}' was {about[column][name]:g} and is {found:g} here"
                    )
        if not points:
            raise BadInput(f"{path}: there are no groups in it")
        return cls.of(
            points,
            costs=about["cost"] or None,
            weights=about["weight"] or None,
            caps=about["cap"] or None,
            collected={name: int(count) for name, count in about["collected"].items()},
            source=str(path),
        )


def _number(row: Mapping[str, Any], column: str, place: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadInput(f"{place}: {column} is '{text}', which is not a finite number")
    return found


def _column(
    what: str,
    values: Mapping[str, float] | None,
    names: tuple[str, ...],
    default: float,
    source: str,
    *,
    positive: bool = False,
    partial: bool = False,
) -> np.ndarray:
    """A number a group, in the order of the names."""
    if values is None:
        return np.full(len(names), default)
    for name in values:
        if name not in names:
            raise unknown(f"group in the {what} of {source}", str(name), names)
    missing = [name for name in names if name not in values]
    if missing and not partial:
        raise BadInput(f"{source}: group '{missing[0]}' has no {what}, but other groups have; give it one")
    found = np.array([float(values.get(name, default)) for name in names])
    bad = np.isnan(found) | (found <= 0 if positive else found < 0)
    if not partial:
        bad |= np.isinf(found)
    if bad.any():
        at = int(np.argmax(bad))
        raise BadInput(
            f"{source}: the {what} of group '{names[at]}' is {found[at]:g}; "
            f"it should be {'above 0' if positive else '0 or more'}"
        )
    return found
