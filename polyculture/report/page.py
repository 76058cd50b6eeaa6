"""The page of a curation run: a :class:`~polyculture.report.content.CurationReport` in, one complete HTML file out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from polyculture.files import atomic
from polyculture.report.content import CurationReport, Headline, Value
from polyculture.report.document import document, number
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Curve, Plot


def render(report: CurationReport, *, links: Mapping[str, str] | None = None) -> str:
    """The report as HTML that needs no network: styles, scripts, plotly.js and data are inside it (about 5 MB).

    Args:
        report: what it says.
        links: title -> relative address of pages that belong to it, such as those of a run's trainings.
    """
    figures = _figures(report)
    baselines = list(dict.fromkeys(name for line in report.headline for name in line.baselines))
    points = report.points
    return document(
        "page.html",
        title=report.title,
        data={"map": None if points is None else _map(report)},
        figures=figures,
        scripts=("page.js",) if points is not None else (),
        report=report,
        sections=_sections(report, figures),
        headlines=[_card(line, baselines) for line in report.headline],
        baselines=baselines,
        hypervolumes=[(c.name, c.hypervolume) for c in report.frontiers if c.hypervolume is not None],
        most_rejected=max((r.count for r in report.rejections), default=1) or 1,
        parameters=list(flat_parameters(report.parameters)),
        links=links or {},
    )


def write(report: CurationReport, path: Path) -> None:
    """Write the page, atomically."""
    page = render(report)
    with atomic(path) as file:
        file.write(page)


def _sections(report: CurationReport, figures: list[Figure]) -> list[tuple[str, str]]:
    drawn = {figure.id for figure in figures}
    present = (
        ("measures", "Before and after", report.headline),
        ("map", "Map", report.points),
        ("frontier", "Frontier", "frontier" in drawn),
        ("spectrum", "Variety", "spectrum" in drawn),
        ("group-sizes", "Groups", report.groups),
        ("rejections", "Not chosen", report.rejections),
        ("duplicates", "Duplicates", report.duplicates or report.duplicates_note),
        ("typical", "Typical", report.typical or report.atypical),
        ("made", "How it was made", True),
    )
    return [(anchor, name) for anchor, name, there in present if there]


def _card(line: Headline, baselines: list[str]) -> dict[str, Any]:
    """One measure as the template shows it: the numbers, the change and the marks on its strip."""
    held = [("whole pool", "before", line.before), ("chosen", "after", line.after)]
    held += [(name, f"base{min(baselines.index(name), 3)}", value) for name, value in line.baselines.items()]
    known = [(name, kind, value) for name, kind, value in held if value is not None and _finite(value.value)]
    bounds = [b for _, _, v in known for b in (v.value, v.low, v.high) if _finite(b)]
    start, width = (min(bounds), max(bounds) - min(bounds)) if bounds else (0.0, 0.0)

    def at(value: float) -> float:
        # Marks keep 4 % of room at both ends; equal values stand in the middle.
        return 50.0 if width == 0 else round(4 + 92 * (value - start) / width, 2)

    marks = []
    for name, kind, value in known:
        mark: dict[str, Any] = {
            "name": name,
            "kind": kind,
            "value": value.value,
            "low": None,
            "width": None,
            "interval": "",
        }
        if _finite(value.value):
            mark["at"] = at(value.value)
        if _finite(value.low) and _finite(value.high):
            mark |= {"low": at(value.low), "width": round(at(value.high) - at(value.low), 2)}
            mark["interval"] = f"[{number(value.low, 3)}, {number(value.high, 3)}]"
        marks.append(mark)
    # Many measures grow with size, so the fair comparison is with another choice of the same size.
    against, other = next(
        ((name, value) for name, value in line.baselines.items() if _finite(value.value)), ("whole pool", line.before)
    )
    change, verdict = _change(other, line)
    direction = {True: "higher is better", False: "lower is better", None: ""}
    return {
        "name": line.name,
        "meaning": line.meaning,
        "direction": direction[line.higher_is_better],
        "before": _known(line.before),
        "after": _known(line.after),
        "change": change,
        "against": against,
        "verdict": verdict,
        "marks": marks,
    }


def _change(other: Value | None, line: Headline) -> tuple[str, str]:
    """How far the choice is from another one, and whether that is better, worse or neither."""
    before = other.value if isinstance(other, Value) else None
    after = line.after.value if isinstance(line.after, Value) else None
    if before is None or after is None or not (_finite(before) and _finite(after)):
        return "", ""
    return change_in_words(before, after, line.higher_is_better)


def change_in_words(before: float, after: float, higher_is_better: bool | None) -> tuple[str, str]:
    """The change from one finite number to another as a page shows it, and "better", "worse" or "same".

    >>> change_in_words(2.0, 3.0, True), change_in_words(0.0, 0.5, None)
    (('+50 %', 'better'), ('+0.5', 'same'))
    """
    difference = after - before
    # A percentage of a negative or tiny number misleads; the difference itself does not.
    if before > 0 and after >= 0 and abs(difference) / before < 10:
        share = 100 * difference / before
        text = (
            "±0 %"
            if abs(share) < 0.05
            else f"{'+' if share > 0 else '−'}{abs(share):.{0 if abs(share) >= 10 else 1}f} %"
        )
    else:
        text = f"{'+' if difference >= 0 else ''}{number(difference, 3)}"
    if higher_is_better is None or difference == 0:
        return text, "same"
    return text, "better" if (difference > 0) == higher_is_better else "worse"


def _figures(report: CurationReport) -> list[Figure]:
    figures = []
    colours = _colours(report)
    if report.frontiers:
        curves = [Curve(c.name, c.quality, c.diversity) for c in report.frontiers]
        labels = {c.name: [f"first {k:,}" for k in c.k] for c in report.frontiers}
        plot = Plot("Frontier", "mean quality", report.diversity_name, curves)
        figures.append(Figure("frontier", plot, report.frontier_note, labels=labels, colours=colours))
    if report.spectra:
        ranks = {s.name: list(range(1, len(s.eigenvalues) + 1)) for s in report.spectra}
        figures.append(
            Figure(
                "spectrum",
                Plot(
                    "Share of each direction",
                    "direction, strongest first",
                    "share",
                    [Curve(s.name, ranks[s.name], s.eigenvalues) for s in report.spectra],
                ),
                "A flatter line spreads variety over more directions.",
                log_x=True,
                log_y=True,
                percent=True,
                colours=colours,
            )
        )
        figures.append(
            Figure(
                "cumulative",
                Plot(
                    "Share of the first directions together",
                    "directions",
                    "cumulative share",
                    [Curve(s.name, ranks[s.name], s.cumulative) for s in report.spectra],
                ),
                "The slower a line rises, the less a few directions dominate.",
                percent=True,
                colours=colours,
            )
        )
    if report.groups:
        names = [row.name for row in report.groups]
        before = [row.before / report.n if report.n else 0.0 for row in report.groups]
        after = [row.after / report.k if report.k else 0.0 for row in report.groups]
        curves = [Curve("whole pool", names, before, kind="bars"), Curve("chosen", names, after, kind="bars")]
        plot = Plot("Share of each group", "group", "share", curves)
        figures.append(Figure("groups", plot, horizontal=True, percent=True))
    return figures


def _colours(report: CurationReport) -> dict[str, int]:
    """The colour of each selection, the same in every figure and on the cards."""
    baselines = dict.fromkeys(name for line in report.headline for name in line.baselines)
    return {"whole pool": 0, "chosen": 1} | dict(zip(baselines, (2, 6, 4, 7, 7, 7), strict=False))


def _map(report: CurationReport) -> dict[str, Any]:
    import dataclasses

    assert report.points is not None
    held = dataclasses.asdict(report.points)
    for name in ("x", "y", "quality"):
        held[name] = [float(f"{value:.5g}") for value in held[name]]  # a screen shows no more
    return held


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as dotted names and texts; what is empty is left out."""
    for name, value in parameters.items():
        if isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            value = {str(i + 1): item for i, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from flat_parameters(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{name}", text


def _known(value: Value | None) -> float | None:
    return None if value is None or value.value is None or math.isnan(value.value) else value.value


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
