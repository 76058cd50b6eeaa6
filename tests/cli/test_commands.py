from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyculture.papers import catalogue

QUICK = ("--text", "prompt", "--embedder", "tfidf")


def test_help_lists_every_command(run: Callable[..., Any]) -> None:
    shown = run("--help").out
    for name in ("curate", "measure", "select", "decode", "run", "report", "methods", "papers", "reproduce"):
        assert name in shown


def test_measure_prints_a_table_or_one_json_object(run: Callable[..., Any], data: Path) -> None:
    shown = run("measure", data, *QUICK, "--measures", "vendi,group-balance", "--groups", "domain")
    assert shown.code == 0 and "vendi" in shown.out and "group-balance.effective" in shown.out
    held = run("measure", data, *QUICK, "--measures", "vendi", "--json", "-o", "m.json").json
    assert held["rows"] == 150 and held["embedder"] == "tfidf"
    assert held["values"]["vendi"]["low"] < held["values"]["vendi"]["value"] < held["values"]["vendi"]["high"]
    assert json.loads(Path("m.json").read_text()) == held


def test_what_a_pool_lacks_is_said(run: Callable[..., Any], data: Path) -> None:
    held = run("measure", data, "--text", "prompt", "--embedder", "none", "--measures", "vendi", "--json").json
    assert "embeddings" in held["skipped"]["vendi"]


def test_select_writes_the_chosen_records_as_they_were(run: Callable[..., Any], data: Path) -> None:
    shown = run("select", data, *QUICK, "-k", 7, "-o", "chosen.jsonl", "--json")
    lines = Path("chosen.jsonl").read_text().splitlines()
    assert lines == [data.read_text().splitlines()[row] for row in shown.json["rows"]]
    assert shown.json["method"] == "determinantal" and len(lines) == 7


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_methods_options_stand_anywhere_on_the_line(run: Callable[..., Any], data: Path, order: str) -> None:
    options = ("--method", "kmq", "--n-clusters", "5")
    words = (*options, data) if order == "before" else (data, *options)
    shown = run("select", *words, *QUICK, "-k", 5, "--json")
    assert shown.json["n_clusters"] == "5" and len(shown.json["rows"]) == 5


def test_compare_measures_several_selectors_and_draws_them(run: Callable[..., Any], data: Path) -> None:
    shown = run("select", data, *QUICK, "-k", 16, "--compare", "random,determinantal", "--html", "c.html", "--json")
    assert {(row["selector"], row["k"]) for row in shown.json["rows"]} >= {("random", 16), ("determinantal", 2)}
    assert Path("c.html").read_text().startswith("<!doctype html>")


def test_methods_and_papers_are_documented_json(run: Callable[..., Any]) -> None:
    kmq = run("methods", "kmq", "--json").json
    assert kmq["stage"] == "select" and kmq["papers"] == ["kmq"]
    assert {"name", "type", "default", "required", "help"} == set(kmq["parameters"][0])
    assert all(p["help"] for p in kmq["parameters"])
    papers = run("papers", "--json").json
    assert [paper["slug"] for paper in papers] == list(catalogue())
    assert {"slug", "title", "stage", "implemented", "reproduction"} <= set(papers[0])
    assert "Hyper-parameters" in run("methods", "select.kmq").out


def test_reproduce_gives_findings_and_an_atlas(run: Callable[..., Any]) -> None:
    found = run("reproduce", "vendi-orders", "--scale", "smoke", "--html", "atlas.html", "-o", "kept", "--json").json
    assert found[0]["slug"] == "vendi-orders" and found[0]["holds"] is True
    assert "vendi-orders" in Path("atlas.html").read_text()
    again = run("reproduce", "vendi-orders", "--scale", "smoke", "-o", "kept", "--json").json
    assert again == found  # seconds and all: it was not run again


MISTAKES = {
    "no such file": ("measure", "nowhere.jsonl"),
    "column 'promt' is missing": ("measure", "DATA", "--text", "promt"),
    "did you mean 'vendi'": ("measure", "DATA", "--measures", "vend"),
    "did you mean 'kmq'": ("select", "DATA", "-k", "3", "--method", "kmk"),
    "did you mean 'n-clusters'": ("select", "DATA", "-k", "3", "--method", "kmq", "--n-cluster", "3"),
    "did you mean 'text'": ("select", "DATA", "-k", "3", "--txet", "prompt"),
    "n_clusters should be": ("select", "DATA", "-k", "3", "--method", "kmq", "--n-clusters", "many"),
    "k = 0": ("select", "DATA", "-k", "0", *QUICK),
    "k = 151": ("select", "DATA", "-k", "151", *QUICK),
    "--html goes with --compare": ("select", "DATA", "-k", "3", "--html", "x.html"),
    "column 'nothing' is missing": ("curate", "DATA", "-k", "3", "--groups", "nothing"),
    "should be error or skip": ("measure", "DATA", "--on-bad-row", "drop"),
    "did you mean 'vendi-orders'": ("reproduce", "vendi-order"),
    "can't be read": ("run", "no-recipe.yaml"),
    "no such run folder": ("report", "no-run"),
    "needs --model": ("decode", "DATA"),
    "give it as --processor": ("decode", "DATA", "--model", "x", "--strategy", "top-h"),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(run: Callable[..., Any], data: Path, message: str) -> None:
    words = [data if word == "DATA" else word for word in MISTAKES[message]]
    shown = run(*words)
    assert shown.code == 2
    assert len(shown.err.strip().splitlines()) == 1 and shown.err.startswith("polyculture: ")
    assert message in shown.err


def test_skipped_rows_are_set_aside_and_named(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "one"}\n[2]\n{"prompt": "three"}\n')
    shown = run("measure", "bad.jsonl", *QUICK, "--measures", "length", "--on-bad-row", "skip")
    assert shown.code == 0 and "bad rows are set aside in bad.jsonl.rejects.jsonl" in shown.err
    assert json.loads((tmp_path / "bad.jsonl.rejects.jsonl").read_text())["place"] == "bad.jsonl line 2"


def test_decode_answers_and_goes_on(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text(json.dumps(["The answer is 4.", "The answer is 5.", "The answer is 4."]))
    (tmp_path / "p.jsonl").write_text('{"prompt": "2+2?", "reference": "4"}\n')
    words = ("decode", "p.jsonl", "--model", "scripted:replies.json", "-n", 3, "-o", "d", "--json")
    held = run(*words).json
    assert held["accuracy"] == 1.0 and held["answers"][0]["key"] == "4" and held["resumed"] == 0
    assert run(*words).json["resumed"] == 1
    assert len((tmp_path / "d" / "traces.jsonl").read_text().splitlines()) == 1


def test_decode_compares_strategies_on_candidates(run: Callable[..., Any], tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{i}", "reference": "4", "candidates": [{"response": f"it is {a}"} for a in (4, 5, 4)]}
        for i in range(3)
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    compare = ("--compare", "majority,best-of-n", "--score", "length", "--html", "d.html", "--json")
    found = run("decode", "--candidates", "c.jsonl", *compare).json
    assert {row["strategy"] for row in found} == {"majority", "best-of-n"}
    assert next(r for r in found if r["strategy"] == "majority" and r["n"] == 3)["accuracy"] == 1.0
    assert (tmp_path / "d.html").exists()


def test_a_comparison_counts_answers_as_they_are_read(run: Callable[..., Any], tmp_path: Path) -> None:
    row = {
        "prompt": "colour?",
        "reference": "red",
        "candidates": [{"response": word} for word in ("red", "blue", "red")],
    }
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n")
    found = run(
        "decode", "--candidates", "c.jsonl", "--compare", "majority", "--answer-of", "exact-match", "--json"
    ).json
    last = max(found, key=lambda entry: entry["n"])
    assert last["accuracy"] == 1.0 and last["distinct"] == 2 and last["unread"] == 0


def test_the_schema_of_recipes_is_derived_from_the_methods(run: Callable[..., Any]) -> None:
    held = run("run", "--schema").json
    assert held["methods"]["select"]["kmq"]["n_init"]["default"] == 5
    assert {"measure", "select", "mix", "minimize", "align", "report"} == set(held["stages"])
    assert "data" in held["recipe"]["properties"]
    assert "name a recipe" in run("run").err
