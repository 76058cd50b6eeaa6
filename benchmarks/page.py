"""The page of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = """# Benchmarks

<!-- Written by `make bench`; do not edit. -->

Each hot path beside what you would use instead. Each side runs in a fresh process; the sides take turns; **every
library is held to {threads}**; the figures are medians of up to five calls after one that warms up (a first call of
more than a second counts, and a slow row has fewer calls). *CPU* counts every thread and child process. *Peak* is the
most memory the process held while it ran, with its libraries and input; in brackets, how much of that came on top of
them. The *ratio* is the peer's CPU time over ours: above 1, ours is faster. Both sides' results are compared, and a row
whose results differ says so in place of a ratio. How every selector grows with the size of the pool stands on
[a page of its own](selectors-growth.md).

{machine}

{when}
"""


def page(state: Mapping[str, Any], themes: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The Markdown page.

    Args:
        state: what ``python -m benchmarks`` keeps: settings and measured rows.
        themes: titles, each with the names of its rows, in order.
    """
    settings, rows = state["settings"], state["rows"]
    threads = "one thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    parts = [
        HEAD.format(threads=threads, machine=machine_line(settings), when=when_line(settings, list(rows.values())))
    ]
    missing = [name for _, names in themes for name in names if name not in rows]
    for title, names in themes:
        measured = [rows[name] for name in names if name in rows]
        if measured:
            parts.append(f"## {title}\n\n{_table(measured)}\n{_remarks(measured)}")
    if missing:
        parts.append("## Not measured in this run\n\n" + ", ".join(f"`{name}`" for name in missing) + "\n")
    return "\n".join(parts)


def machine_line(settings: Mapping[str, Any]) -> str:
    """What was measured on."""
    m = settings["machine"]
    versions = ", ".join(f"{name} {held or 'absent'}" for name, held in m["packages"].items())
    return (
        f"Machine: {m['processor']}, {m['cores']} cores, {m['memory_gb']} GB, {m['system']}. "
        f"Python {m['python']}; {versions}. Commit {m['commit']}."
    )


def when_line(settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """When, and how busy the machine was."""
    if not rows:
        return "Nothing has been measured."
    dates = sorted(row["date"] for row in rows)
    loads = [load for row in rows for load in row["load"]]
    span = " to ".join(dict.fromkeys(date[:16].replace("T", " ") for date in (dates[0], dates[-1])))
    text = f"Measured {span} UTC; load average of the machine {min(loads):.1f} to {max(loads):.1f}."
    others = max(loads) > settings["machine"]["cores"]
    text += " Other work was running: wall times are too long, CPU times somewhat." if others else ""
    return (
        f"**Small sizes, to see that everything runs: these figures say nothing of speed.** {text}"
        if (settings["quick"])
        else text
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| row | size | CPU, wall, peak | beside | its CPU, wall, peak | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"**{_times(row['ratio']['cpu'])}**" if row["ratio"] and row["status"] == "ok" else "–"
        peer = row["peer"] or "ours alone"
        name = f"{row['what']}<br>`{row['name']}`"
        cells = (name, row["size"], _side(row["ours"]), peer, _side(row["theirs"]), ratio)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines)


def _remarks(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        state = {"ok": "", "disagrees": "**results differ**", "failed": "**failed**", "skipped": "skipped"}
        said = [state[row["status"]], row["reason"], row["agreement"], row.get("rates", ""), row["note"]]
        lines.append(f"- `{row['name']}`: " + "; ".join(text for text in said if text) + ".")
    return "\n" + "\n".join(lines) + "\n"


def _side(side: Mapping[str, float] | None) -> str:
    if side is None:
        return "–"
    more = max(0.0, side["peak_mb"] - side["start_mb"])
    return f"{seconds(side['cpu'])}, {seconds(side['wall'])}, {side['peak_mb']:,.0f} MB (+{more:,.0f})"


def seconds(value: float) -> str:
    """A duration in seconds with its unit.

    >>> seconds(0.01234)
    '12.3 ms'
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def _times(value: float) -> str:
    return f"{value:.0f}×" if value >= 10 else f"{value:.2f}×" if value >= 0.1 else f"{value:.2g}×"
