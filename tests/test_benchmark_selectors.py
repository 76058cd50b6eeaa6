from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.growth import foreseen, growth, why_not
from benchmarks.growth_page import page
from benchmarks.harness import Disagreement
from benchmarks.selectors import main, rows


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


def some_state() -> dict[str, object]:
    def row(name: str, cpu: float, above: float, status: str = "ok") -> dict[str, object]:
        ours = {"cpu": cpu, "wall": 2 * cpu, "peak_mb": 100 + above, "start_mb": 100.0}
        found = {"name": f"select-{name}", "status": status, "reason": "no such | thing", "ours": ours}
        return found | {"date": "2026-01-02T03:04:05+00:00", "load": [0.5]}

    held = [row("slow-10", 1.0, 3.0), row("fast-10", 0.001, 1.0), row("fast-100", 0.01, 10.0)]
    held += [row("wide-10", 0.001, 100.0), row("odd-10", 1.0, 1.0, "failed")]
    machine = {"processor": "p", "cores": 2, "memory_gb": 8, "system": "s", "python": "3", "commit": "c"}
    return {
        "settings": {"threads": 1, "quick": False, "machine": machine | {"packages": {"numpy": "2"}}},
        "limits": {"seconds": 50.0, "megabytes": 5000.0},
        "rows": {str(found["name"]): found for found in held},
    }


def test_a_size_is_begun_where_the_forecast_fits() -> None:
    state = some_state()
    assert why_not(state, "slow", 10) == "", "the smallest is always begun"
    assert why_not(state, "slow", 100) == "100 would take about 100 s of CPU"
    assert why_not(state, "wide", 100) == "100 would take about 11,000 MB", "100 MB squared, and the input tenfold"
    assert why_not(state, "fast", 1000) == ""
    assert why_not(state, "odd", 100) == "10 rows: failed: no such | thing"


def test_the_page_states_growth_and_what_was_left_out() -> None:
    text = page(some_state(), ["slow", "fast", "wide", "odd"], (10, 100))
    slow, fast, wide, odd = [line for line in text.splitlines() if line.startswith("| `")]
    assert slow == "| `slow` | 1 s, 2 s (+3 MB) | – | – | – | 100 would take about 100 s of CPU |"
    assert fast == "| `fast` | 1 ms, 2 ms (+1 MB) | 10 ms, 20 ms (+10 MB) | n^1.00 | n^1.00 |  |"
    assert wide.endswith("| 100 would take about 11,000 MB |") and odd.endswith(r"failed: no such \| thing |")
    assert "Machine: p, 2 cores" in text and "within 50 s of CPU and 5,000 MB" in text and "2026-01-02 03:04" in text


def test_an_interrupted_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held, written = tmp_path / "rows.json", tmp_path / "page.md"
    run = ["--quick", "--only", "random", "--json", str(held), "--write", str(written)]
    assert main([*run, "--seconds", "0"]) == 0
    state = json.loads(held.read_text())
    assert list(state["rows"]) == ["select-random-2000"]
    state["rows"]["select-random-2000"]["agreement"] = "kept from before"
    held.write_text(json.dumps(state | {"finished": False}))
    assert main(run) == 0
    state = json.loads(held.read_text())
    assert list(state["rows"]) == ["select-random-2000", "select-random-4000"] and not state["finished"]
    assert state["rows"]["select-random-2000"]["agreement"] == "kept from before"
    assert "| `kmq` | – | – | – | – | 2,000 not measured in this run |" in written.read_text()
    assert main(["--only", "nonsense"]) == 2
    assert "no selector is named nonsense; there are random" in capsys.readouterr().err
