"""The page as text: complete, escaped, and without what there is nothing to say about."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from polyculture.report.content import Headline, Value
from polyculture.report.document import number
from polyculture.report.figure import TABLE_ROWS, Figure
from polyculture.report.page import _card, render, write
from polyculture.reproductions.finding import Curve, Plot
from tests.report.conftest import NASTY, small_report


@pytest.fixture(scope="module")
def page() -> str:
    return render(small_report())


def scripts(page: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_everything_is_inside(page: str) -> None:
    markup = without_scripts(page)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", markup)
    assert "@import" not in markup and "url(" not in markup
    assert len(scripts(page)) == 3


def test_the_policy_allows_these_scripts_and_nothing_else(page: str) -> None:
    policy = re.search(r'Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'").split("script-src ")[1].split(";")[0].split()
    own = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts(page)]
    assert allowed == own
    assert "default-src &#39;none&#39;" in policy[1]


def test_no_text_of_a_record_is_markup(page: str) -> None:
    markup = without_scripts(page)
    assert "<img" not in markup and "<b>small" not in markup and "<u>" not in markup and "<i>" not in markup
    assert "&lt;script&gt;window.ran = true&lt;/script&gt;" in markup


def test_the_data_come_back_as_they_were(page: str) -> None:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert block is not None
    assert not set("<>&\u2028\u2029") & set(block[1])
    assert json.loads(block[1])["map"]["texts"][-1] == NASTY


def test_a_lone_surrogate_does_not_stop_the_page(tmp_path: Path) -> None:
    write(small_report(title="odd \ud800 title"), tmp_path / "page.html")
    assert "odd ? title" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_sections_without_content_are_left_out() -> None:
    page = without_scripts(render(small_report(points=None, groups=(), duplicates=(), duplicates_note="", warnings=())))
    for anchor in ("map", "group-sizes", "duplicates"):
        assert f'id="{anchor}"' not in page and f'href="#{anchor}"' not in page
    assert "Mind the gap" not in page and 'id="spectrum"' in page


def test_the_page_says_what_it_shows_and_what_it_does_not(page: str) -> None:
    markup = without_scripts(page)
    for said in ("The map shows 12 of 40 records.", "the pool has no tags", "Mind the gap.", "selector.n_clusters"):
        assert said in markup


def test_a_card_compares_with_the_first_choice_of_the_same_size() -> None:
    line = Headline("v", "", Value(10.0), Value(8.0, 7.0, 9.0), {"random": Value(5.0), "top": Value(0.0)}, True)
    card = _card(line, ["random", "top"])
    assert (card["change"], card["against"], card["verdict"]) == ("+60 %", "random", "better")
    assert [mark["at"] for mark in card["marks"]] == [96.0, 77.6, 50.0, 4.0]
    assert card["marks"][1]["interval"] == "[7, 9]" and card["marks"][1]["width"] == pytest.approx(18.4)


@pytest.mark.parametrize(
    ("before", "after", "higher", "change", "verdict"),
    [
        (2.0, 1.0, False, "−50 %", "better"),
        (2.0, 1.0, None, "−50 %", "same"),
        (0.0, 1.0, True, "+1", "better"),
        (-2.0, -1.0, True, "+1", "better"),
        (1.0, 1.0, True, "±0 %", "same"),
        (float("nan"), 1.0, True, "", ""),
        (100.0, 101.23, True, "+1.2 %", "better"),
    ],
)
def test_changes_are_told_as_a_reader_expects(before, after, higher, change: str, verdict: str) -> None:
    card = _card(Headline("m", "", Value(before), Value(after), {}, higher), [])
    assert (card["change"], card["verdict"]) == (change, verdict)


def test_equal_values_stand_in_the_middle() -> None:
    assert [m["at"] for m in _card(Headline("m", "", Value(3.0), Value(3.0)), [])["marks"]] == [50.0, 50.0]


def test_a_long_figure_is_thinned_evenly_in_its_table() -> None:
    figure = Figure("f", Plot("p", "x", "y", [Curve("c", list(range(1000)), [0.0] * 1000)]))
    rows = figure.rows()
    assert len(rows) == TABLE_ROWS and rows[0]["x"] == 0 and rows[-1]["x"] == 995 and figure.n_points == 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (0.0, "0"),
        (-1234.5, "−1,234"),
        (12, "12"),
        ("text", "text"),
    ],
)
def test_numbers_are_readable(value, text: str) -> None:
    assert number(value) == text
