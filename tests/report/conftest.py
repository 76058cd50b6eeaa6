"""A small report whose every place on the map is known, and the browser that opens it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyculture.report.content import (
    CurationReport,
    Duplicate,
    Example,
    FrontierCurve,
    GroupRow,
    Headline,
    Points,
    Rejection,
    Spectrum,
    Value,
)

NASTY = "<script>window.ran = true</script><img src=x onerror='window.ran = true'> </script> &amp; \u2028 literally"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def small_report(**changes: Any) -> CurationReport:
    texts = [f"record {i} about {'python' if i % 3 == 0 else 'cooking'}" for i in range(11)] + [NASTY]
    fields: dict[str, Any] = {
        "title": "A <b>small</b> report",
        "source": "small.jsonl",
        "n": 40,
        "k": 4,
        "method": "kmq",
        "embedder": "tfidf",
        "created": "2026-01-02T03:04:05+00:00",
        "parameters": {"k": 4, "selector": {"n_clusters": 3}},
        "versions": {"polyculture": "0.1.0"},
        "headline": [
            Headline(
                "Vendi score",
                "How many kinds.",
                Value(10.0),
                Value(8.0, 7.0, 9.0),
                {"random": Value(5.0), "top-quality": Value(2.0)},
                True,
            ),
            Headline("undefined <i>", "Not a number.", Value(float("nan")), None),
        ],
        "points": Points(
            x=[float(i % 4) for i in range(12)],
            y=[float(i // 4) for i in range(12)],
            row=list(range(0, 24, 2)),
            order=[0, 2, 0, 0, 1, 0, 3, 0, 0, 0, 0, 4],
            group=[i % 3 for i in range(12)],
            quality=[i / 11 for i in range(12)],
            texts=texts,
            reasons=[f"reason {i}" for i in range(12)],
            group_names=["a", "b", "c <u>"],
            method="Placed by hand.",
            shown="The map shows 12 of 40 records.",
        ),
        "spectra": [Spectrum("whole pool", [0.5, 0.3, 0.2], 2.8), Spectrum("chosen", [0.4, 0.3, 0.3], 2.95)],
        "frontiers": [FrontierCurve("chosen", [2, 4], [0.9, 0.8], [1.5, 2.5], 0.7)],
        "frontier_note": "Up and right is better.",
        "diversity_name": "Vendi score",
        "duplicates": [Duplicate(0.99, 1, 2, NASTY, "other", True, False)],
        "duplicates_note": "1 pair.",
        "typical": [Example(3, "typical", 0.9, True, "a")],
        "atypical": [Example(5, NASTY, 0.1, False, "b")],
        "typical_note": "By hand.",
        "rejections": [Rejection("near-duplicate", 5, "Said before.", [Example(7, "twin", note="Twin of row 3.")])],
        "groups": [GroupRow("a", 20, 2), GroupRow("b", 15, 2), GroupRow("c <u>", 5, 0)],
        "timings": {"read": 0.5},
        "warnings": ["Mind the gap."],
        "skipped": {"tags": "the pool has no tags"},
    }
    return CurationReport(**(fields | changes))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = os.environ.get("POLYCULTURE_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(
            "no browser to open the pages with: install Chromium (apt-get install chromium, brew install chromium) or "
            "Google Chrome, or set POLYCULTURE_BROWSER to the path of one"
        )
    with sync_playwright() as play:
        running = play.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open HTML from a file; afterwards no error was told and nothing but files was asked for."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def ask(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            troubles.append(f"asked for {request.url}")

    def open_it(html: str, *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        path = tmp_path / f"page{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", ask)
        page.on("console", lambda m: troubles.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []
