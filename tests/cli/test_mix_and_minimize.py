from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUNS = """run,w:math,w:code,w:chat,accuracy
a,0.5,0.3,0.2,0.61
b,0.2,0.5,0.3,0.55
c,0.1,0.1,0.8,0.41
d,0.7,0.2,0.1,0.66
e,0.3,0.3,0.4,0.52
f,0.6,0.1,0.3,0.62
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_mixer_is_fitted_and_proposes(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(RUNS)
    fitted = run("mix", "fit", "runs.csv", "--method", "linear", "-o", "m.json", "--json").json
    assert sum(fitted["weights"].values()) == pytest.approx(1) and fitted["weights"]["math"] > 0.9
    assert "math" in run("mix", "fit", "runs.csv", "--method", "best-run", "--scores", "accuracy").out
    run("mix", "propose", "m.json", "-n", 2, "-o", "p.csv")
    proposed = rows(tmp_path / "p.csv")
    assert len(proposed) == 2 and {"w:math", "w:code", "w:chat"} <= set(proposed[0])


def test_proxies_are_trained_on_proposed_mixtures(run: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    names = {json.loads(line)["domain"] for line in data.read_text().splitlines()}
    first, second = sorted(names)[:2]
    (tmp_path / "m.csv").write_text(f"w:{first},w:{second}\n0.5,0.5\n0.9,0.1\n")
    words = ("mix", "proxies", data, "--text", "prompt", "--groups", "domain", "--mixtures", "m.csv", "--steps", 2)
    assert run(*words, "-o", "runs.csv", "--json").json["n"] == 2
    assert len(rows(tmp_path / "runs.csv")) == 2
    (tmp_path / "m.csv").write_text("w:nothing\n1\n")
    assert "no group in the data 'nothing'" in run(*words, "-o", "other.csv").err


def test_a_budget_is_shared(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("group,n,value,cost\na,100,0.6,1\na,400,0.7,1\nb,50,0.5,3\nb,200,0.62,3\n")
    found = run("mix", "allocate", "c.csv", "--budget", 300, "-o", "a.csv", "--json").json["allocation"]
    assert 0 < sum(entry["cost"] for entry in found) <= 300
    assert len(rows(tmp_path / "a.csv")) == len(found)
    assert "does not share a budget" in run("mix", "allocate", "c.csv", "--budget", 3, "--method", "uniform").err
    assert "0 or more" in run("mix", "allocate", "c.csv", "--budget", "-1").err


def test_quadmix_parameters_are_drawn_and_searched(run: Callable[..., Any], tmp_path: Path) -> None:
    common = ("--criteria", "a,b", "--domains", "x,y")
    run("mix", "quadmix-draw", *common, "-n", 24, "-o", "q.csv")
    drawn = rows(tmp_path / "q.csv")
    with (tmp_path / "q.csv").open("w") as file:
        writer = csv.DictWriter(file, [*drawn[0], "loss"])
        writer.writeheader()
        writer.writerows([{**row, "loss": sum(map(float, list(row.values())[:2]))} for row in drawn])
    found = run("mix", "quadmix-fit", "q.csv", *common, "-o", "theta.json", "--json").json
    assert np.isfinite(found["predicted_loss"])
    assert json.loads((tmp_path / "theta.json").read_text())["criteria"] == ["a", "b"]


def test_a_table_is_minimized(run: Callable[..., Any], tmp_path: Path) -> None:
    lines = [f"{20 + i % 40};{'ab'[i % 2]};{int(i % 40 > 20)}" for i in range(160)]
    (tmp_path / "t.csv").write_text("age;job;rich\n" + "\n".join(lines) + "\n")
    words = ("minimize", "t.csv", "--target", "rich", "--min-samples-leaf", 10)
    found = run(*words, "-o", "coarse.csv", "--generalisation", "g.json", "--json").json
    assert [row["minimizer"] for row in found["rows"]] == ["untouched", "pat", "full-minimization"]
    coarse = rows(tmp_path / "coarse.csv")
    assert len(coarse) == 160 and len({row["age"] for row in coarse}) < 40
    assert json.loads((tmp_path / "g.json").read_text())
    assert "column 'poor' is missing" in run("minimize", "t.csv", "--target", "poor").err
    assert "did you mean 'alpha'" in run("minimize", "t.csv", "--target", "rich", "--alpah", "1").err
    assert "column 'sex' is missing" in run("minimize", "t.csv", "--target", "rich", "--sensitive", "sex").err
