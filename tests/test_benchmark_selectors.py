from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness import Disagreement
from benchmarks.selectors import foreseen, growth, rows


def test_growth_and_what_it_foresees() -> None:
    assert growth([10, 100, 1000], [2.0, 20.0, 200.0]) == pytest.approx(1.0)
    assert growth([10], [2.0]) is None
    assert foreseen([10], [2.0], 100) == pytest.approx(200.0), "quadratic until more is known"
    assert foreseen([10, 100], [2.0, 20.0], 1000) == pytest.approx(200.0)
    assert foreseen([10, 100], [2.0, 2.0], 1000) == pytest.approx(20.0), "never less than linear"


def test_every_row_runs_and_is_checked() -> None:
    held = {row.name: row for row in rows(quick=True)}
    assert {"select-random-2000", "select-kmq-4000", "select-quadmix-2000"} <= set(held)
    row = held["select-top-quality-2000"]
    chosen = row.ours()()
    assert row.check(chosen) == "20 different rows"
    with pytest.raises(Disagreement, match="different ones"):
        row.check(np.zeros(20, dtype=np.int64))
