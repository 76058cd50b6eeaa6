"""The report as data: a round trip through JSON, and clear words for a file that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyculture.errors import BadInput
from polyculture.report.content import CurationReport, Points, Spectrum
from polyculture.report.page import render
from tests.report.conftest import small_report


def test_a_report_survives_json_and_renders_the_same(tmp_path: Path) -> None:
    report = small_report()
    report.write(tmp_path / "report.json")
    again = CurationReport.read(tmp_path / "report.json")
    assert again.to_dict() == report.to_dict()
    assert again.points is not None and again.points.text_limit == 2000
    assert render(again) == render(report)


def test_an_undefined_value_comes_back_as_undefined() -> None:
    again = CurationReport.from_dict(small_report().to_dict())
    assert again.headline[1].before is not None and again.headline[1].before.value is None


def test_a_report_with_the_least_there_is_survives_too() -> None:
    report = CurationReport("t", "s", 0, 0)
    held = json.loads(json.dumps(report.to_dict()))
    assert CurationReport.from_dict(held).to_dict() == held
    assert "<h1>t</h1>" in render(report)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop("format"), "has no 'format'"),
        (lambda held: held.update(format=99), "has format 99"),
        (lambda held: held.update(odd=1), "unknown fields: odd"),
        (lambda held: held.pop("source"), "lacks 'source'"),
        (lambda held: held.update(n="many"), "r.json: n: "),
        (lambda held: held["groups"].append({"name": "d"}), "r.json: groups.3.before: "),
    ],
)
def test_a_file_that_is_no_report_is_named_with_what_is_wrong(change, message: str) -> None:
    held = small_report().to_dict()
    change(held)
    with pytest.raises(BadInput, match=r"r\.json") as error:
        CurationReport.from_dict(held, place="r.json")
    assert message in str(error.value)


def test_reading_names_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"report.json does not exist"):
        CurationReport.read(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(BadInput, match="not readable JSON"):
        CurationReport.read(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(BadInput, match="not a curation report"):
        CurationReport.read(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"y": [1.0]}, "y has 1 entries for 2 points"),
        ({"texts": ["one"]}, "texts has 1 entries"),
        ({"group": [0, 2], "group_names": ["a", "b"]}, "outside the 2 group names"),
    ],
)
def test_points_that_do_not_fit_together_are_refused(fields: dict, message: str) -> None:
    held = {"x": [0.0, 1.0], "y": [0.0, 1.0], "row": [0, 1], "order": [0, 1]} | fields
    with pytest.raises(BadInput, match=message):
        Points(**held)


def test_cumulative_shares_add_up() -> None:
    assert Spectrum("s", [0.5, 0.25, 0.25], 2.8).cumulative == [0.5, 0.75, 1.0]
