from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from polyculture.datasets import write_instructions
from polyculture.errors import BadInput
from polyculture.recipes.reading import parse_recipe
from polyculture.recipes.run import run_recipe


def run(tmp_path: Path, stages: list[Any], **data: Any) -> Any:
    held = {"data": {"source": str(tmp_path / "d.jsonl"), **data}, "embedder": None, "stages": stages}
    return run_recipe(parse_recipe(held, "test"), tmp_path / "run")


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> None:
    write_instructions(tmp_path / "d.jsonl", 200, 0)


def shares(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in path.read_text().splitlines():
        domain = json.loads(line)["domain"]
        counts[domain] = counts.get(domain, 0) + 1
    return counts


def test_a_mixer_says_how_many_rows_of_each_group(tmp_path: Path) -> None:
    result = run(tmp_path, [{"mix": {"method": "uniform", "k": 24}}], text="prompt", groups="domain")
    assert result.chosen is not None and set(shares(result.chosen).values()) == {4}
    rejected = [json.loads(line) for line in (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == 176 and "got 4 of 24 rows (weight 0.167)" in rejected[0]["reason"]


def test_proxies_are_trained_once(tmp_path: Path) -> None:
    stages = [{"mix": {"method": "best-run", "k": 20, "proxies": 2, "steps": 2, "inner": "top-quality"}}]
    run(tmp_path, stages, text="prompt", groups="domain")
    proxies = tmp_path / "run" / "proxies.csv"
    with proxies.open() as file:
        assert len(list(csv.DictReader(file))) == 2
    before = proxies.stat().st_mtime_ns
    stages[0]["mix"]["k"] = 10
    assert len((run(tmp_path, stages, text="prompt", groups="domain").chosen).read_text().splitlines()) == 10
    assert proxies.stat().st_mtime_ns == before


WRONG: dict[str, dict[str, Any]] = {
    "mix needs a method": {"k": 3},
    "mix needs k": {"method": "uniform"},
    "needs runs": {"method": "damo", "k": 3},
    "does not learn from proxies": {"method": "uniform", "k": 3, "proxies": 3},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_mix_is_refused_before_any_work(tmp_path: Path, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(tmp_path, [{"mix": WRONG[message]}], text="prompt", groups="domain")


def test_records_are_written_in_their_coarser_form(tmp_path: Path) -> None:
    rows = [{"age": 20 + i % 40, "job": "ab"[i % 2], "rich": int(i % 40 > 20)} for i in range(120)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages = [{"minimize": {"target": "rich", "min_samples_leaf": 10}}]
    run(tmp_path, stages, text=None, quality=None)
    folder = tmp_path / "run" / "01-minimize"
    with (folder / "minimized.csv").open() as file:
        coarse = list(csv.DictReader(file))
    assert len(coarse) == 120 and list(coarse[0]) == ["age", "job", "rich"]
    assert len({row["age"] for row in coarse}) < 40
    assert [row["minimizer"] for row in json.loads((folder / "frontier.json").read_text())][1] == "pat"
    assert (folder / "minimize.html").exists()


def test_a_missing_target_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="minimize needs target"):
        run(tmp_path, [{"minimize": {}}])
    with pytest.raises(BadInput, match="column 'nothing' is missing"):
        run(tmp_path, [{"minimize": {"target": "nothing"}}], text=None, quality=None)


def test_a_stage_runs_again_when_a_file_it_names_changes(tmp_path: Path) -> None:
    runs = tmp_path / "runs.csv"
    names = sorted({json.loads(line)["domain"] for line in (tmp_path / "d.jsonl").read_text().splitlines()})[:2]
    stages = [{"mix": {"method": "best-run", "k": 6, "runs": str(runs)}}]
    for best, other in (names, names[::-1]):
        runs.write_text(f"w:{best},w:{other},accuracy\n1,0,0.9\n0,1,0.1\n")
        result = run(tmp_path, stages, text="prompt", groups="domain")
        assert [step.status for step in result.steps][1] == "done"
        assert shares(result.chosen) == {best: 6}
    assert [step.status for step in run(tmp_path, stages, text="prompt", groups="domain").steps] == ["kept", "kept"]
