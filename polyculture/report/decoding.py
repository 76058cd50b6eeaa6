"""The page that compares decoding strategies: accuracy or reward against tokens spent, with diversity."""

from __future__ import annotations

from collections.abc import Sequence

from polyculture.decode.compare import ComparisonRow
from polyculture.report.comparison import Table, render_series
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot

COLUMNS = ("accuracy", "coverage", "reward", "tokens", "calls", "money", "distinct", "unread", "vendi")


def render_decoding(rows: Sequence[ComparisonRow], *, title: str = "Strategies compared", source: str = "") -> str:
    """Strategies at several numbers of candidates, as HTML that needs no network.

    Args:
        rows: what :func:`polyculture.decode.compare.compare_strategies` measured.
        title: the page's title.
        source: where the prompts came from.
    """
    figures = []
    for name in ("accuracy", "reward"):
        if any(getattr(row, name) is not None for row in rows):
            figures.append(_figure(rows, name, f"{name}_low", f"{name}_high"))
    figures.append(_figure(rows, "distinct"))
    if any(row.vendi is not None for row in rows):
        figures.append(_figure(rows, "vendi"))
    shown = [name for name in COLUMNS if any(getattr(row, name) is not None for row in rows)]
    table = Table(
        "Every strategy",
        ["strategy", "n", *shown],
        [[row.strategy, row.n, *(getattr(row, name) for name in shown)] for row in rows],
    )
    strategies = len({row.strategy for row in rows})
    lead = f"{strategies} strategies on {rows[0].prompts:,} prompts{f' from {source}' if source else ''}."
    notes = ["Intervals are 95 %: Wilson for accuracy, normal for reward. Tokens are those generated for one prompt."]
    return render_series(title, figures, table=table, lead=lead, notes=notes)


def _figure(rows: Sequence[ComparisonRow], name: str, low: str = "", high: str = "") -> Figure:
    curves = []
    for strategy in dict.fromkeys(row.strategy for row in rows):
        own = sorted(
            (r for r in rows if r.strategy == strategy and getattr(r, name) is not None), key=lambda r: r.tokens
        )
        curves.append(
            Curve(
                strategy,
                [row.tokens for row in own],
                [getattr(row, name) for row in own],
                [getattr(row, low) for row in own] if low else (),
                [getattr(row, high) for row in own] if high else (),
                kind="line" if len(own) > 1 else "points",
            )
        )
    return Figure(name, Plot(f"{name} against tokens spent", "tokens a prompt", name, curves))
