from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "study", "only-if", "--rules", "5,3", "--budget", 30, "--test-size", 8, "--held-out", 4,
    "--width", 8, "--heads", 2, "--layers", 1, "--steps", 2, "--batch-size", 8, "--device", "cpu",
)  # fmt: skip
TINY = (*SMALL, "--alphabet", 8)


def test_a_study_is_run_kept_and_shown(run: Callable[..., Any], tmp_path: Path) -> None:
    found = run(*TINY, "--length", 5, "-o", "out", "--html", "page.html", "--json").json
    assert [p["rules"] for p in found["points"]] == [3, 5] and found["trained"] == 8
    assert set(found["controls"]) == {"one domain", "4 x the examples"}
    assert found["points"][0]["unseen"]["n"] == 2 and found["task"] == "rewriting"
    page = (tmp_path / "page.html").read_text()
    assert "How many instructions" in page and "one domain" in page
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 8
    again = run(*TINY, "--length", "5,5", "--seeds", 3, "-o", "out")
    assert "4 models trained, 8 kept from before" in again.out and "unseen" in again.out
    assert "no number of rules here reaches" in again.out
    assert "note: with 3, 5 rules even those of the training are not learnt: raise --steps" in again.out
    other = run(*TINY, "--length", 6, "-o", "out")
    assert other.code == 2 and "made with other length" in other.err


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--task", "conditional", "--length", "5", "--skew", "0.5"), "unseen No-Ops"),
        (("--task", "restricted", "--family", "mirror"), "strengths that were not trained on"),
    ],
)
def test_other_tasks(run: Callable[..., Any], words: tuple[str, ...], shown: str) -> None:
    ran = run(*TINY, *words, "--seeds", 1)
    assert ran.code == 0 and shown in ran.out
    assert ("control with one domain was left out" in ran.out) == ("restricted" in words)


@pytest.mark.parametrize("task", ["algebra", "specialist"])
def test_expressions_with_a_decoder(run: Callable[..., Any], task: str) -> None:
    ran = run(*SMALL, "--task", task, "--longest", 7, "--seeds", 1, "--no-controls", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["model"] == "gpt2" and len(ran.json["points"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "rewritin"), "did you mean 'rewriting'"),
        (("--depth", 3), "--depth is no option of task rewriting"),
        (("--rules", "3,x"), "--rules should be whole numbers"),
        (("--length", "1,2,3"), "shortest and longest"),
        (("--rules", "100"), "there are 56"),
        (("--model", "gpt3"), "did you mean 'gpt2'"),
        (("--width", 9), "can't be shared by 2 heads"),
        (("--device", "nowhere"), "can't be used"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Callable[..., Any], words: tuple[Any, ...], message: str) -> None:
    ran = run(*TINY, *words)
    assert ran.code == 2 and message in ran.err and ran.err.count("\n") == 1


def test_general_rows_replace_a_slice(run: Callable[..., Any], tmp_path: Path) -> None:
    lines = [{"text": f"t{i}", "domain": "code" if i < 60 else ("chat", "essay")[i % 2]} for i in range(90)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ("mix", "replace", "d.jsonl", "--groups", "domain", "--specialist", "code", "--budget", 40)
    found = run(*words, "--fraction", 0.25, "--share", "even", "-o", "one.jsonl", "--json").json
    assert found["sets"][0]["rows"] == {"chat": 5, "code": 30, "essay": 5}
    chosen = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert len({line["text"] for line in chosen}) == 40 and all(line in lines for line in chosen)
    assert "40 rows, code with general rows" in run(*words, "--grid", "-o", "grid").out
    assert len(list((tmp_path / "grid").glob("general-*.jsonl"))) == 6
    with (tmp_path / "grid" / "mixtures.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [0.5, 0.6, 0.65, 0.7, 0.6, 0.5]
    with (tmp_path / "scored.csv").open("w") as file:
        writer = csv.DictWriter(file, [*rows[0], "accuracy"])
        writer.writeheader()
        writer.writerows([row | {"accuracy": score} for row, score in zip(rows, scores, strict=True)])
    fitted = run("mix", "fit", "scored.csv", "--method", "replacement", "--specialist", "code", "--json").json
    assert fitted["weights"]["code"] == pytest.approx(0.85)
    assert "did you mean 'code'" in run(*words[:6], "coed", "--budget", 40, "-o", "x.jsonl").err
    assert "there are 60" in run(*words[:8], 400, "-o", "x.jsonl").err
    assert "way to share" in run(*words, "--share", "odd", "-o", "x.jsonl").err
