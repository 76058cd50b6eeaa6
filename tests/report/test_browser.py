"""The pages in a real browser: they reach nothing, run nothing that a record holds, and do what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from polyculture.papers import Paper
from polyculture.report.atlas import render_atlas
from polyculture.report.comparison import Table, render_series
from polyculture.report.figure import Figure
from polyculture.report.page import render
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot
from polyculture.reproductions.run import Failure
from tests.report.conftest import NASTY, small_report

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def curation() -> str:
    return render(small_report())


def place(page: Any, index: int) -> tuple[float, float]:
    """Where a point of the map is on the screen."""
    page.locator("#map-plot").scroll_into_view_if_needed()
    spot = page.evaluate(
        """(i) => {
          const plot = document.getElementById("map-plot"), { xaxis, yaxis } = plot._fullLayout;
          const map = JSON.parse(document.getElementById("data").textContent).map, box = plot.getBoundingClientRect();
          return [box.left + xaxis._offset + xaxis.l2p(map.x[i]), box.top + yaxis._offset + yaxis.l2p(map.y[i])];
        }""",
        index,
    )
    return spot[0], spot[1]


def shown(page: Any) -> int:
    return int(page.locator("#map-plot").get_attribute("data-points"))


def marks(page: Any) -> int:
    """Points that are really drawn, the rings around found ones included."""
    return page.locator("#map-plot .scatterlayer .point").count()


def test_a_click_on_a_point_shows_its_text_and_why(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    assert page.locator("#panel-text").is_hidden()
    page.mouse.click(*place(page, 4))
    assert page.locator("#panel-title").inner_text() == "Row 8"
    assert page.locator("#panel-verdict").inner_text() == "Chosen, number 1"
    assert page.locator("#panel-text").inner_text() == "record 4 about cooking"
    assert page.locator("#panel-reason").inner_text() == "reason 4"
    page.mouse.click(*place(page, 5))
    assert page.locator("#panel-verdict").inner_text() == "Not chosen"
    assert "c <u>" in page.locator("#panel-facts").inner_text()


def test_a_script_in_a_record_is_shown_and_not_run(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    page.mouse.move(*place(page, 11))
    page.mouse.click(*place(page, 11))
    assert page.locator("#panel-text").text_content() == NASTY
    page.fill("#search", "onerror")
    page.wait_for_selector(".hit")
    assert page.locator(".hit").inner_text().startswith("<script>window.ran")
    assert page.evaluate("window.ran") is None
    assert page.locator("h1").inner_text() == "A <b>small</b> report"
    assert page.locator("main script, main img").count() == 0


def test_chosen_only_hides_the_others(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    assert (shown(page), marks(page)) == (12, 12)
    page.check("#chosen-only")
    assert (shown(page), marks(page)) == (4, 4)
    assert "4 of 12 points shown, 4 of them chosen" in page.locator("#status").inner_text()


def test_a_group_can_be_hidden_by_keyboard_and_shown_again(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    chip = page.locator(".chip").nth(0)
    chip.focus()
    page.keyboard.press("Enter")
    assert chip.get_attribute("aria-pressed") == "false"
    assert (shown(page), marks(page)) == (8, 8)
    page.keyboard.press("Space")
    assert chip.get_attribute("aria-pressed") == "true"
    assert shown(page) == 12


def test_search_marks_what_matches_and_lists_it(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    page.fill("#search", "PYTHON")
    expect(page.locator("#map-plot")).to_have_attribute("data-found", "4")
    assert marks(page) == 12 + 4
    assert page.locator(".hit").count() == 4
    page.locator(".hit").nth(1).click()
    assert page.locator("#panel-title").inner_text() == "Row 6"
    assert page.locator("#panel-text mark").inner_text() == "python"
    page.fill("#search", "nowhere")
    expect(page.locator("#map-plot")).to_have_attribute("data-found", "0")
    assert "Nothing matches" in page.locator("#status").inner_text()


def test_the_arrows_walk_through_the_chosen_first(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    page.locator("#next").focus()
    seen = []
    for _ in range(5):
        page.keyboard.press("Enter")
        seen.append(page.locator("#panel-title").inner_text())
    assert seen == ["Row 8", "Row 2", "Row 12", "Row 22", "Row 0"]
    page.keyboard.press("ArrowLeft")
    assert page.locator("#panel-title").inner_text() == "Row 22"


def test_colours_follow_the_choice_of_colour(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    fills = "() => new Set([...document.querySelectorAll('#map-plot .point')].map((p) => p.style.fill)).size"
    assert page.evaluate(fills) == 3
    page.select_option("#colour", "choice")
    assert page.evaluate(fills) == 2
    page.select_option("#colour", "quality")
    assert page.evaluate(fills) == 12


def test_a_phone_has_no_sideways_scroll_and_a_tap_works(open_page: Open, curation: str) -> None:
    page = open_page(curation, width=390, height=844, has_touch=True, is_mobile=True)
    for box in page.locator("[data-figure]").all():
        box.scroll_into_view_if_needed()
        page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.touchscreen.tap(*place(page, 6))
    expect(page.locator("#panel-title")).to_have_text("Row 12")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_dark_mode_changes_the_page_and_its_plots(open_page: Open, curation: str) -> None:
    page = open_page(curation, color_scheme="light")
    page.locator("#spectrum").scroll_into_view_if_needed()
    page.wait_for_selector("[data-figure=spectrum][data-drawn]")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    tick = page.locator("[data-figure=spectrum] .xtick text").first
    light, ink = page.evaluate(ground), tick.evaluate("(e) => getComputedStyle(e).fill")
    page.emulate_media(color_scheme="dark")
    expect(tick).not_to_have_css("fill", ink)
    dark = page.evaluate(ground)
    assert sum(map(int, dark[4:-1].split(", "))) < 150 < 600 < sum(map(int, light[4:-1].split(", ")))


def test_every_figure_is_drawn_when_it_is_reached(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    boxes = page.locator("[data-figure]")
    assert boxes.count() == 4
    for box in boxes.all():
        box.scroll_into_view_if_needed()
        box.locator(".main-svg").first.wait_for()


def test_every_control_has_a_name_and_every_id_is_unique(open_page: Open, curation: str) -> None:
    page = open_page(curation)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=region]")]
          .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || (e.labels && e.labels.length)))
          .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('main [id], header [id]')].map((e) => e.id).filter(Boolean)")
    own = [name for name in ids if not name.startswith(("clip", "g", "leg", "topdefs", "defs"))]
    assert len(own) == len(set(own))
    anchors = page.evaluate("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href').slice(1))")
    assert set(anchors) <= set(ids) and len(anchors) == 9


def test_a_report_of_nothing_but_numbers_opens(open_page: Open) -> None:
    empty = small_report(
        points=None, spectra=(), frontiers=(), groups=(), duplicates=(), duplicates_note="", headline=(), rejections=()
    )
    page = open_page(render(empty))
    assert page.locator("#map").count() == 0
    assert page.locator("#made").is_visible()


def found(slug: str, *, ok: bool, plot: Plot | None = None) -> Finding:
    value = {"gain": Interval.of([1.0, 2.0])}
    claim = f"Claim of {slug} {NASTY}"
    return Finding(slug, claim, "gain", value, "none", value, {"a check": ok}, "smoke", 0, 1.0, plot)


def test_the_atlas_filters_its_cards(open_page: Open) -> None:
    plot = Plot("p <b>", "x", "y", [Curve("c <i>", ["a <b>", "b"], [1.0, 2.0], [0.5, 1.0], [1.5, 3.0], "bars")])
    stages = {"one": "select", "two": "decode"}
    papers = {slug: Paper(slug, f"Title {slug}", 2024, "2401.00001", stage, ()) for slug, stage in stages.items()}
    html = render_atlas([found("two", ok=False), found("one", ok=True, plot=plot), Failure("three", "broke")], papers)
    page = open_page(html)
    cards = page.locator(".finding:visible")
    assert [card.get_attribute("id") for card in cards.all()] == ["one", "two", "three"]
    assert page.locator("#one .xtick text").first.text_content() == "a <b>"
    page.select_option("#outcome", "fails")
    assert [card.get_attribute("id") for card in cards.all()] == ["two"]
    assert page.locator("#status").inner_text() == "1 of 3 papers"
    page.select_option("#outcome", "")
    page.select_option("#stage", "select")
    assert cards.count() == 1
    page.select_option("#stage", "")
    page.fill("#search", "broke")
    assert [card.get_attribute("id") for card in cards.all()] == ["three"]
    assert page.evaluate("window.ran") is None


def test_the_comparison_page_draws_series_with_intervals_on_a_phone(open_page: Open) -> None:
    curves = [Curve(f"strategy {i}", [1, 10, 100], [0.1 * i, 0.2, 0.3], [0.0] * 3, [0.5] * 3) for i in range(9)]
    figure = Figure("cost", Plot("Accuracy against tokens", "tokens", "accuracy", curves), log_x=True)
    table = Table("All", ["strategy", *(f"a rather long column {i}" for i in range(9))], [["s", *([0.5] * 9)]])
    page = open_page(render_series("Compared", [figure], table=table), width=390, height=844)
    page.wait_for_selector("[data-figure=cost] .js-line")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
