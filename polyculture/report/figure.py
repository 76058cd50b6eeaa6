"""A figure of a page: a plot that a browser draws, and the same numbers as a table for whoever can't see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polyculture.reproductions.finding import Curve, Plot

TABLE_ROWS = 200


@dataclass(frozen=True)
class Figure:
    """A plot with its caption.

    Args:
        id: the HTML id, unique on the page.
        plot: title, axis names and curves.
        caption: what to see in it, in a sentence or two.
        log_x: whether the horizontal axis is logarithmic.
        log_y: whether the vertical axis is logarithmic.
        labels: curve name -> one label a point, shown on hover.
        horizontal: whether bars lie down, which leaves room for long names.
        percent: whether the values are shares, shown as percentages.
        colours: curve name -> number of its colour; a name without one takes the number of its place.
        shades: curve name -> one number a point, shown by the point's shade; one curve of a figure may have them.
        shade: what the shades mean.
        named: curve name -> place of a point -> a few words written beside it.
        marks: a few words -> where on the horizontal axis a line is drawn for them.
    """

    id: str
    plot: Plot
    caption: str = ""
    log_x: bool = False
    log_y: bool = False
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    horizontal: bool = False
    percent: bool = False
    colours: Mapping[str, int] = field(default_factory=dict)
    shades: Mapping[str, Sequence[float]] = field(default_factory=dict)
    shade: str = ""
    named: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)

    def payload(self) -> dict[str, Any]:
        """What the page's script draws, in JSON's own types."""
        import dataclasses

        return {**dataclasses.asdict(self.plot), "log_x": self.log_x, "log_y": self.log_y} | {
            "labels": {name: list(texts) for name, texts in self.labels.items()},
            "horizontal": self.horizontal,
            "percent": self.percent,
            "shades": {name: list(values) for name, values in self.shades.items()},
            "shade": self.shade,
            "named": {name: {str(i): words for i, words in held.items()} for name, held in self.named.items()},
            "marks": dict(self.marks),
            "colours": [self.colours.get(curve.name, i) for i, curve in enumerate(self.plot.curves)],
        }

    @property
    def has_intervals(self) -> bool:
        """Whether the table needs columns for an interval."""
        return any(len(curve.low) for curve in self.plot.curves)

    def rows(self) -> list[dict[str, Any]]:
        """The points in long form, at most ``TABLE_ROWS`` of them, evenly thinned."""
        rows = [row for curve in self.plot.curves for row in _points(curve, self.labels.get(curve.name, ()))]
        if len(rows) <= TABLE_ROWS:
            return rows
        return [rows[i * len(rows) // TABLE_ROWS] for i in range(TABLE_ROWS)]

    @property
    def n_points(self) -> int:
        """How many points the figure has in all."""
        return sum(len(curve.x) for curve in self.plot.curves)


def _points(curve: Curve, labels: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "series": curve.name,
            "label": labels[i] if i < len(labels) else "",
            "x": x,
            "y": y,
            "low": curve.low[i] if i < len(curve.low) else None,
            "high": curve.high[i] if i < len(curve.high) else None,
        }
        for i, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
    ]
