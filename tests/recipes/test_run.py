from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from polyculture.datasets import write_instructions
from polyculture.errors import BadInput, RunLocked, UnknownMethod
from polyculture.files import locked
from polyculture.recipes.reading import parse_recipe
from polyculture.recipes.recipe import Recipe
from polyculture.recipes.run import run_recipe


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    write_instructions(path, 120, 0)
    return path


def recipe(data: Path, **changes: Any) -> Recipe:
    held = {
        "data": {"source": str(data), "text": "prompt", "groups": "domain"},
        "embedder": "tfidf",
        "stages": [
            {"measure": {"measures": ["vendi", "group-balance"]}},
            {"select": {"method": "near-duplicates"}},
            {"select": {"method": "determinantal", "k": 12, "alpha": 1.0}},
            {"measure": {"measures": ["vendi", "group-balance"]}},
            "report",
        ],
    }
    return parse_recipe(held | changes, "test")


def test_a_run_leaves_what_it_says(data: Path, tmp_path: Path) -> None:
    result = run_recipe(recipe(data), tmp_path / "run")
    assert [step.status for step in result.steps] == ["done"] * 6
    assert result.chosen is not None and result.rejected is not None and result.report is not None
    lines = data.read_text().splitlines()
    chosen = result.chosen.read_text().splitlines()
    rejected = [json.loads(line) for line in result.rejected.read_text().splitlines()]
    assert len(chosen) == 12 and set(chosen) <= set(lines)
    assert len(chosen) + len(rejected) == len(lines), "every row is chosen or rejected, none is lost"
    assert {r["method"] for r in rejected} == {"near-duplicates", "determinantal"}
    assert all(r["reason"] and r["record"] == json.loads(lines[r["row"]]) for r in rejected)
    before, after = result.measures
    assert before["rows"] == 120 and after["rows"] == 12 and before["baselines"] == {}
    assert set(after["baselines"]) == {"random", "top-quality"}
    manifest = json.loads((tmp_path / "run" / "03-select" / "manifest.json").read_text())
    assert manifest["params"]["k"] == 12 and manifest["versions"]["polyculture"] and manifest["seconds"] >= 0


def test_a_second_run_keeps_everything(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.json")}
    again = run_recipe(recipe(data), tmp_path / "run")
    assert [step.status for step in again.steps] == ["kept"] * 6
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.json")} == before


def test_only_what_depends_on_a_change_runs_again(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    stages = [{stage.kind: dict(stage.params)} for stage in recipe(data).stages]
    stages[2]["select"]["k"] = 10
    again = run_recipe(recipe(data, stages=stages), tmp_path / "run")
    assert [step.status for step in again.steps] == ["kept", "kept", "kept", "done", "done", "done"]
    assert again.chosen is not None and len(again.chosen.read_text().splitlines()) == 10
    with data.open("a") as file:
        file.write('{"prompt": "one more", "domain": "new"}\n')
    assert run_recipe(recipe(data), tmp_path / "run").steps[0].status == "done"


def test_a_stage_and_all_after_it_run_again_when_asked(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    again = run_recipe(recipe(data), tmp_path / "run", start_from="03-select")
    assert [step.status for step in again.steps] == ["kept", "kept", "kept", "done", "done", "done"]
    with pytest.raises(UnknownMethod, match="did you mean 'select'"):
        run_recipe(recipe(data), tmp_path / "run", start_from="selekt")


def test_a_dry_run_changes_nothing(data: Path, tmp_path: Path) -> None:
    result = run_recipe(recipe(data), tmp_path / "run", dry_run=True)
    assert {step.status for step in result.steps} == {"would run"}
    assert not (tmp_path / "run").exists()


def test_two_runs_do_not_share_a_folder(data: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(RunLocked, match="in use by process"):
        run_recipe(recipe(data), tmp_path / "run")


def test_a_folder_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="can't write"):
        run_recipe(recipe(data), tmp_path / "file" / "run")


def test_a_full_disk_leaves_finished_stages_and_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyculture.recipes import stages

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stages, "write_json", full)
    with pytest.raises(BadInput, match="01-measure: No space left on device"):
        run_recipe(recipe(data), tmp_path / "run")
    assert (tmp_path / "run" / "00-pool" / "manifest.json").exists()
    assert not (tmp_path / "run" / "01-measure").exists()
    monkeypatch.undo()
    assert [s.status for s in run_recipe(recipe(data), tmp_path / "run").steps] == ["kept", *["done"] * 5]


def test_a_damaged_manifest_is_named(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    (tmp_path / "run" / "01-measure" / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match=r"manifest\.json: is damaged .* remove"):
        run_recipe(recipe(data), tmp_path / "run")


@pytest.mark.parametrize("texts", [["same words here"] * 6, ["<script>alert(1)</script>", "a", "b", "c"]])
def test_equal_rows_and_markup_get_through(tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    held = {
        "data": {"source": str(tmp_path / "d.jsonl"), "text": "prompt"},
        "embedder": "tfidf",
        "stages": ["measure", {"select": {"method": "determinantal", "k": 2, "alpha": 1.0}}, "measure", "report"],
    }
    result = run_recipe(parse_recipe(held, "test"), tmp_path / "run")
    assert result.report is not None
    assert "<script>alert(1)</script>" not in result.report.read_text()


# The stage it is in when it is stopped, told by the folder it is writing.
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["00-pool", "01-measure", "02-select", "03-measure", "04-report"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_in_any_stage_goes_on(tmp_path: Path, stage: str, how: signal.Signals) -> None:
    write_instructions(tmp_path / "d.jsonl", 150, 0)
    words = ["curate", "d.jsonl", "--text", "prompt", "--embedder", "tfidf", "-k", "10", "-o", "run"]
    # A stage that waits as it begins to write can be stopped inside it, whatever the machine's speed.
    code = (
        "import sys, time, polyculture.recipes.folder as f\n"
        "inner = f.RunFolder.writing\n"
        "import contextlib\n"
        "@contextlib.contextmanager\n"
        "def slow(self, name, inputs, **about):\n"
        "    with inner(self, name, inputs, **about) as fresh:\n"
        f"        if name == {stage!r}: (self.path / 'waiting').touch(); time.sleep(60)\n"
        "        yield fresh\n"
        "f.RunFolder.writing = slow\n"
        "from polyculture.cli.app import main; main()"
    )
    environment = {**os.environ, "POLYCULTURE_CACHE": str(tmp_path / "cache")}
    # A shell that started the tests in the background may have them ignore Ctrl-C; the run itself should not.
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "waiting").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    if how == signal.SIGINT:
        assert process.returncode == 130 and b"goes on from there" in errors
    assert not (tmp_path / "run" / stage).exists()
    again = subprocess.run(
        [sys.executable, "-m", "polyculture", *words, "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    steps = {step["name"]: step["status"] for step in json.loads(again.stdout)["steps"]}
    done = [name for name in steps if name < stage]
    assert all(steps[name] == "kept" for name in done) and steps[stage] == "done"
    assert len((tmp_path / "run" / "chosen.jsonl").read_text().splitlines()) == 10


def test_a_reason_names_rows_as_the_pool_does_in_every_stage(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    chosen = json.loads((tmp_path / "run" / "03-select" / "chosen.json").read_text())["rows"]
    for line in (tmp_path / "run" / "03-select" / "rejected.jsonl").read_text().splitlines():
        held = json.loads(line)
        assert held["nearest"] in chosen and held["row"] not in chosen
        assert f"row {held['nearest']}" in held["reason"] or held["kind"] == "not needed"


def test_what_an_earlier_recipe_left_is_not_this_ones_result(data: Path, tmp_path: Path) -> None:
    run_recipe(recipe(data), tmp_path / "run")
    result = run_recipe(recipe(data, stages=[{"measure": {"measures": ["vendi"]}}]), tmp_path / "run")
    assert (result.chosen, result.rejected, result.report) == (None, None, None)
