"""The atlas: one page with a card for each paper, its claim, what was measured, the control, and whether it held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polyculture.papers import Paper
from polyculture.report.document import document
from polyculture.report.figure import Figure
from polyculture.reproductions.finding import Finding
from polyculture.reproductions.run import Failure


def render_atlas(
    findings: Sequence[Finding | Failure],
    papers: Mapping[str, Paper],
    *,
    title: str = "What reproduces, and what does not",
) -> str:
    """The atlas as HTML that needs no network.

    Args:
        findings: what the reproductions found, or why one could not be run; a card each, in the order of ``papers``.
        papers: slug -> paper, for titles and stages; a finding of none of them goes last, under its slug.
        title: the page's title.
    """
    places = {slug: i for i, slug in enumerate(papers)}
    ordered = sorted(findings, key=lambda finding: (places.get(finding.slug, len(places)), finding.slug))
    figures = [
        Figure(f"plot-{finding.slug}", finding.plot)
        for finding in ordered
        if isinstance(finding, Finding) and finding.plot is not None
    ]
    drawn = {figure.id for figure in figures}
    cards = [_card(finding, papers.get(finding.slug), drawn) for finding in ordered]
    outcomes = [card["outcome"] for card in cards]
    runs = [finding for finding in ordered if isinstance(finding, Finding)]
    return document(
        "atlas.html",
        title=title,
        data={},
        figures=figures,
        scripts=("atlas.js",),
        cards=cards,
        counts={"all": len(cards)} | {name: outcomes.count(name) for name in ("holds", "fails", "failed")},
        stages=list(dict.fromkeys(card["stage"] for card in cards if card["stage"])),
        scales=", ".join(dict.fromkeys(finding.scale for finding in runs)),
        seconds=sum(finding.seconds for finding in runs),
    )


def _card(finding: Finding | Failure, paper: Paper | None, drawn: set[str]) -> dict[str, Any]:
    known = {"title": finding.slug, "year": None, "arxiv": "", "stage": "", "methods": ()}
    if paper is not None:
        known = {name: getattr(paper, name) for name in known}
    if isinstance(finding, Failure):
        return {**known, "slug": finding.slug, "outcome": "failed", "finding": None, "reason": finding.reason}
    plot = f"plot-{finding.slug}"
    return {
        **known,
        "slug": finding.slug,
        "outcome": "holds" if finding.holds else "fails",
        "finding": finding,
        "figure": plot if plot in drawn else "",
    }
