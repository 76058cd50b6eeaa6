"""Pages that lay several ways of doing one thing side by side: selectors' frontiers, strategies' cost and gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from polyculture.report.document import document
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot
from polyculture.select.compare import Comparison

WHOLE = "whole pool"


@dataclass(frozen=True)
class Table:
    """A table: the first column names the row, the others hold numbers, texts, or None for nothing."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table '{self.title}': a row has {len(row)} cells for {len(self.columns)} columns")


def render_comparison(found: Comparison, *, title: str = "Selectors compared", source: str = "") -> str:
    """Several selectors' frontiers in one plot, and everything that was measured in a table.

    Args:
        found: what :func:`polyculture.select.compare.compare` measured, at one budget or several.
        title: the page's title.
        source: where the pool came from.
    """
    measures = list(found.pool)
    names = list(dict.fromkeys(row.selector for row in found.rows))
    budgets = sorted({row.k for row in found.rows})
    across = "mean quality" if "mean quality" in measures else "rows chosen"
    up = [name for name in measures if name != across]
    figures = [_frontier(found, names, across, name, i) for i, name in enumerate(up)]
    rows: list[list[str | float | None]] = [
        [row.selector, row.k, len(row.chosen), *(row.values.get(name) for name in measures), f"{row.seconds:.2f} s"]
        for row in found.rows
    ]
    rows.append([WHOLE, None, None, *(found.pool[name] for name in measures), None])
    budget = " and ".join(f"{k:,}" for k in budgets) if len(budgets) < 3 else f"{budgets[0]:,} to {budgets[-1]:,}"
    return render_series(
        title,
        figures,
        table=Table("Every choice", ["selector", "k", "chosen", *measures, "time"], rows),
        lead=f"{len(names)} selectors, {budget} rows each{f', from {source}' if source else ''}.",
        notes=[f"{name} was not measured: {why}" for name, why in found.skipped.items()],
    )


def render_series(
    title: str, figures: Sequence[Figure], *, table: Table | None = None, lead: str = "", notes: Sequence[str] = ()
) -> str:
    """Named series and a table as HTML that needs no network: such as accuracy against tokens spent.

    Args:
        title: the page's title.
        figures: plots of named series, with intervals where the curves have them.
        table: the numbers.
        lead: what is compared, in a sentence.
        notes: what a reader must know first.
    """
    return document(
        "comparison.html",
        title=title,
        data={},
        figures=figures,
        order=[figure.id for figure in figures],
        table=table,
        lead=lead,
        notes=notes,
    )


def _frontier(found: Comparison, names: Sequence[str], across: str, up: str, place: int) -> Figure:
    curves, labels = [], {}
    for name in names:
        rows = sorted((row for row in found.rows if row.selector == name), key=lambda row: row.k)
        pairs = [
            (row.values[across] if across in row.values else len(row.chosen), row.values[up], f"k = {row.k:,}")
            for row in rows
        ]
        kept = [pair for pair in pairs if math.isfinite(pair[0]) and math.isfinite(pair[1])]
        curves.append(
            Curve(name, [p[0] for p in kept], [p[1] for p in kept], kind="line" if len(kept) > 1 else "points")
        )
        labels[name] = [p[2] for p in kept]
    if across in found.pool and math.isfinite(found.pool[across]) and math.isfinite(found.pool[up]):
        curves.append(Curve(WHOLE, [found.pool[across]], [found.pool[up]], kind="points"))
    caption = "Further up and to the right is better." if across == "mean quality" else ""
    return Figure(f"frontier-{place}", Plot(f"{up} against {across}", across, up, curves), caption, labels=labels)
