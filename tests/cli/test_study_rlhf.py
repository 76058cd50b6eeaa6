from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "study", "rlhf-diversity", "-o", "out", "--demonstrations", 64, "--comparisons", 30, "--prompts", 3,
    "--samples", 2, "--best-of", 2, "--kl", "0.5", "--control", "9", "--sft-epochs", 1, "--reward-epochs", 1,
    "--rl-steps", 2, "--rl-prompts", 2,
)  # fmt: skip


@pytest.mark.slow
def test_the_study_is_run_kept_and_shown(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run(*SMALL)
    assert ran.code == 0, ran.err
    for shown in ("best-of-n", "RL, KL 0.5", "control: RL, KL 9", "wins are counted by"):
        assert shown in ran.out
    assert "What RLHF does" in (tmp_path / "out" / "report.html").read_text()
    again = run(*SMALL, "--json", "--html", "page.html")
    assert again.json["reused"] == ["sft", "reward", "rl-0.5", "rl-9"] and (tmp_path / "page.html").exists()
    assert again.json["control"]["policy"] == "RL, KL 9" and len(again.json["claims"]) > 5
    other = run(*SMALL, "--seed", 1)
    assert other.code == 2 and "seed was 0 and is now 1" in other.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kl", "0.5,x"), "--kl should be numbers"),
        (("--control", "1,2"), "--control should be one number above 0, or none"),
        (("--temperature", "0"), "greedy outputs have no diversity"),
    ],
)
def test_options_that_can_not_be_used(run: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    ran = run(*SMALL, *words)
    assert ran.code == 2 and message in ran.err


def test_own_outputs_are_compared(run: Callable[..., Any], tmp_path: Path) -> None:
    for name, kinds, score in (("sft", 3, 0.0), ("rl", 1, 1.0)):
        rows = [
            {
                "prompt": f"p{i}",
                "responses": [f"say {i} and {j % kinds} now" for j in range(3)],
                "scores": [score + i] * 3,
            }
            for i in range(20)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("study", "policies", "SFT=sft.jsonl", "RL=rl.jsonl")
    ran = run(*words, "--html", "page.html")
    assert ran.code == 0, ran.err
    for shown in ("Compared with SFT", "RL wins more than SFT", "against SFT's responses", "page written to page.html"):
        assert shown in ran.out
    assert "Policies compared" in (tmp_path / "page.html").read_text()
    found = run(*words, "--ood", "SFT=sft.jsonl", "--ood", "RL=rl.jsonl", "--embedder", "none", "--json").json
    assert found["policies"]["RL"]["inside"]["win"]["value"] == 1 and found["policies"]["RL"]["gap"] == 0
    assert "NAME=FILE" in run("study", "policies", "sft.jsonl", "rl.jsonl").err
    assert "two files for 'SFT'" in run(*words, "SFT=sft.jsonl").err
    assert run(*words, "--judge", "heuristc").code == 2
