"""The harness of the benchmarks, on the rows of benchmark_rows; nothing is asserted of speed."""

import json

import pytest

from benchmarks.__main__ import MODULES, main
from benchmarks.harness import Disagreement, close, measure
from benchmarks.page import page
from tests.benchmark_rows import rows

HERE = "tests.benchmark_rows"


@pytest.fixture(scope="module")
def measured():
    return {row.name: measure(HERE, row, quick=True) for row in rows(True)}


def test_a_pair(measured):
    found = measured["pair"]
    assert found["status"] == "ok" and found["agreement"] == "values are equal"
    for side in ("ours", "theirs"):
        assert found[side]["wall"] > 0 and found[side]["peak_mb"] > 1 and found[side]["runs"] >= 1
    assert found["ratio"]["wall"] == pytest.approx(found["theirs"]["wall"] / found["ours"]["wall"])
    assert "µs of CPU each; the peer" in found["rates"]


def test_memory_is_that_of_the_call(measured):
    ours = measured["memory"]["ours"]
    assert 38 < ours["peak_mb"] - ours["start_mb"] < 80  # the kernel counts pages in batches
    pair = measured["pair"]["ours"]
    assert pair["peak_mb"] - pair["start_mb"] < 20


def test_what_goes_wrong_is_said(measured):
    assert measured["apart"]["status"] == "disagrees" and "5.0e-01" in measured["apart"]["reason"]
    assert measured["odd"]["status"] == "disagrees" and "can't be compared: TypeError" in measured["odd"]["reason"]
    assert measured["broken"]["status"] == "failed"
    assert measured["broken"]["reason"] == "other: ValueError: no such thing"
    assert measured["dead"]["status"] == "failed" and "ours died" in measured["dead"]["reason"]


def test_a_peer_that_is_missing_leaves_ours(measured):
    found = measured["alone"]
    assert found["status"] == "ok" and found["ours"] and not found["theirs"]
    assert found["reason"] == "not measured: Unavailable: not on this machine"
    assert measured["nowhere"]["status"] == "skipped" and not measured["nowhere"]["ours"]


def test_close():
    assert close(1.0, 1.0, relative=0) == "values are equal"
    with pytest.raises(Disagreement, match="scores differ"):
        close(float("nan"), 1.0, relative=0.1, what="scores")


def test_the_page_shows_every_kind_of_row(measured):
    machine = {"processor": "p", "cores": 2, "memory_gb": 8, "system": "s", "python": "3", "commit": "c"}
    settings = {"threads": 1, "quick": False, "machine": machine | {"packages": {"numpy": "2", "gone": None}}}
    text = page({"settings": settings, "rows": measured}, [("A theme", [*measured, "later"])])
    assert "gone absent" in text and "`later`" in text.split("## Not measured")[1]
    assert "**results differ**" in text and "**failed**" in text and "skipped" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(measured) and len({line.count(" | ") for line in table}) == 1


def test_an_interrupted_run_goes_on_and_a_finished_one_begins_anew(tmp_path, capsys):
    held, written = tmp_path / "rows.json", tmp_path / "page.md"
    run = ["--quick", "--json", str(held), "--write", str(written)]
    assert main([*run, "--only", "pair", "memory"], (HERE,)) == 0
    state = json.loads(held.read_text())
    assert not state["finished"] and list(state["rows"]) == ["pair", "memory"]
    assert "Small sizes" in written.read_text() and "`apart`" in written.read_text().split("## Not measured")[1]

    state["rows"]["pair"]["agreement"] = "kept from before"
    held.write_text(json.dumps(state))
    assert main(run, (HERE,)) == 1, "a row failed, and a row's results differ"
    state = json.loads(held.read_text())
    assert state["finished"] and state["rows"]["pair"]["agreement"] == "kept from before"
    assert "Not measured" not in written.read_text()

    assert main([*run, "--only", "memory"], (HERE,)) == 1
    assert json.loads(held.read_text())["rows"]["pair"]["agreement"] == "kept from before"
    assert main([*run, "--threads", "2", "--only", "pair"], (HERE,)) == 0
    assert list(json.loads(held.read_text())["rows"]) == ["pair"], "other threads, another table"
    capsys.readouterr()


def test_names(capsys):
    assert main(["--list"]) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == len(set(names)) > 20
    assert main(["--only", "nonsense"]) == 2
    assert "no row is named nonsense; there are vendi-" in capsys.readouterr().err


def test_two_real_rows(tmp_path):
    written = tmp_path / "benchmarks.md"
    only = ["start-up", "majority"]
    assert main(["--quick", "--only", *only, "--json", str(tmp_path / "j"), "--write", str(written)]) == 0
    assert len(MODULES) > 5
    assert "both end with status 0" in written.read_text() and "all 5 answers are the same" in written.read_text()
