"""The comparison page and the atlas as text."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.report.atlas import render_atlas
from polyculture.report.comparison import Table, render_comparison
from polyculture.reproductions.run import Failure
from polyculture.select.compare import Comparison, Row


def rows(values: dict[str, float]) -> list[Row]:
    return [Row(name, k, np.arange(k), values, 0.5) for name in ("a <b>", "c") for k in (2, 5)]


def test_selectors_are_in_one_plot_and_a_table() -> None:
    values = {"vendi": 2.5, "mean quality": 0.75}
    page = render_comparison(Comparison(rows(values), {"vendi": 9.5, "mean quality": 0.5}, {"groups": "none there"}))
    assert "vendi against mean quality" in page and "2 selectors, 2 and 5 rows each" in page
    assert "a &lt;b&gt;" in page and '<th scope="row">a <b>' not in page
    assert "groups was not measured: none there" in page and "9.5" in page


def test_without_quality_the_rows_chosen_lie_across() -> None:
    page = render_comparison(Comparison(rows({"vendi": 2.5}), {"vendi": float("nan")}), title="T")
    assert "vendi against rows chosen" in page


def test_a_row_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table("t", ["a"], [["x", 1.0]])


def test_an_atlas_of_failures_and_of_nothing_renders() -> None:
    page = render_atlas([Failure("x", "<no>")], {})
    assert "&lt;no&gt;" in page and "could not be run" in page
    assert "0</strong> of <strong>0</strong> claims" in render_atlas([], {})
