"""The card of a trained model: true of every objective, readable by hubs, and silent about the machine's folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyculture.align.job import Alignment
from polyculture.align.model_card import model_card, source_of
from polyculture.align.run import align
from polyculture.align.training import Training
from polyculture.align.watching.settings import Watch
from polyculture.methods import table

SHORT: dict[str, Any] = {"steps": 2, "batch_size": 4, "max_length": 64, "cpu": True}
SUMMARY: dict[str, Any] = {
    "objective": "dpo",
    "hyper": {},
    "reference": "the model before training",
    "rows": 1200,
    "examples": 1198,
    "rejected": 2,
    "held_out": 60,
    "cuts": "nothing was cut: all fit 64 tokens",
    "steps": 150,
    "loss": 0.61803,
    "alarm": None,
    "log": [],
    "versions": {"polyculture": "0.1.0", "torch": "2.13.0"},
}


def card(objective: str = "dpo", *, summary: Any = None, model: str = "owner/model", **given: Any) -> str:
    settings = Alignment("owner/pairs", model, Path("out"), objective, **given).settings()
    return model_card({**SUMMARY, "objective": objective, **(summary or {})}, settings)


def front(text: str) -> dict[str, Any]:
    held: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return held


def test_the_front_matter_is_what_hubs_read() -> None:
    text = card(hyper={"beta": "0.3"}, training=Training(epochs=2))
    assert text.startswith("---\n")
    assert front(text) == {
        "base_model": "owner/model",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["polyculture", "alignment", "dpo"],
        "datasets": ["owner/pairs"],
    }
    assert "owner/model was trained with dpo on 1,198 examples of owner/pairs, for 150 steps" in text
    assert "Set aside as unusable: 2. Held out: 60. Nothing was cut: all fit 64 tokens." in text
    assert "| beta | 0.3 |" in text and "| epochs | 2 |" in text and r"| learning\_rate | 1e-06 |" in text
    assert "The mean loss was 0.618." in text and "torch 2.13.0" in text
    assert "AutoModelForCausalLM.from_pretrained(here)" in text


@pytest.mark.parametrize("objective", [*table("align"), "0.8*dpo+0.2*sft", "python:no_such_module:no_loss"])
def test_every_objective_is_told(objective: str) -> None:
    text = card(objective)
    assert f"`{objective}`" in text or (
        "0.8 × `dpo`" in text and "0.2 × `sft`" in text and "| dpo: beta | 0.1 |" in text
    )
    assert "alignment" in front(text)["tags"]


def test_its_papers_are_the_ones_that_the_methods_are_from() -> None:
    found = {name: source_of(table("align")[name]) for name in table("align")}
    ids = {name: source.arxiv for name, source in found.items() if source and source.arxiv}
    assert ids == {
        "tdpo": "2404.11999",
        "asft": "2409.10571",
        "asft-two-stage": "2409.10571",
        "f-dpo": "2309.16240",
        "modpo": "2310.03708",
        "f-dpg": "2302.08215",
        "dno": "2404.03715",
        "dno-prct": "2404.03715",
        "curry-dpo": "2403.07230",
    }
    assert "[Token-level Direct Preference Optimization](https://arxiv.org/abs/2404.11999) (2024)" in card("tdpo")
    # DPO's credit is in its own first sentence; the papers that only use it are not its source.
    assert found["dpo"] is None and found["ipo"] is None
    assert "Rafailov et al., 2023" in card("dpo")


def test_folders_are_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "my_model").mkdir()
    (tmp_path / "pairs.jsonl").write_text("{}\n")
    settings = Alignment(tmp_path / "pairs.jsonl", str(tmp_path / "my_model"), tmp_path).settings()
    text = model_card({**SUMMARY, "reference": str(tmp_path / "base")}, settings)
    assert str(tmp_path) not in text and r"my\_model was trained" in text and "pairs.jsonl" in text
    assert "base_model" not in front(text) and "datasets" not in front(text)
    assert "| reference | base |" in text


def test_what_is_unusual_is_told() -> None:
    given: dict[str, Any] = {"ld_alpha": 0.5, "wpo": True, "refresh": (0.6, 512), "divergence": "js"}
    text = card(**given, training=Training(steps=9, lora=8, more={"optim": "adafactor"}))
    for line in (r"ld\_alpha | 0.5", "wpo | True", r"refresh | \[0.6, 512\]", "divergence | js", "optim | adafactor"):
        assert f"| {line} |" in text
    assert "epochs" not in text and front(text)["library_name"] == "peft" and "AutoPeftModelForCausalLM" in text
    assert r"| learning\_rate | 1e-05 |" in text
    usual = card()
    assert "wpo" not in usual and "ld" not in usual.split("## Objective")[1].split("reference")[0]
    own = card("f-dpo", divergence="forward_kl", summary={"hyper": {"divergence": "forward_kl"}})
    assert own.count("| divergence |") == 1 and r"| divergence | forward\_kl |" in own


def test_an_alarm_is_told_first() -> None:
    alarm = {"reason": "entropy reversal", "step": 90, "stop_at": 60}
    text = card(summary={"alarm": alarm})
    assert text.index("over-optimisation** (entropy reversal) was seen at step 90") < text.index("## Objective")
    assert "with that of step 60" in text and "over-optimisation**" not in card()


def test_before_and_after_come_from_the_log() -> None:
    log = [
        {"step": 0, "watch/reward": 0.25, "watch/vendi_prompt": 3.5},
        {"step": 5, "loss": 0.6},
        {"step": 9, "watch/reward": 0.75, "watch/vendi_prompt": 1.25},
    ]
    text = card(summary={"log": log})
    assert "| reward of sampled answers | 0.25 | 0.75 |" in text
    assert "| Vendi score of the answers to one prompt | 3.5 | 1.25 |" in text
    assert "before and after" not in card() and "| before |" not in card(summary={"log": log[:2]})
    assert "The mean loss was unknown." in card(summary={"loss": None})


def test_a_run_writes_it(tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path) -> None:
    watch = Watch(prompts=2, samples=2, max_new_tokens=4)
    run = align(Alignment(preferences, tiny_model, tmp_path / "one", training=Training(**SHORT), watch=watch))
    text = (run.model / "README.md").read_text()
    assert "trained with dpo" in text and "| KL to the reference, nats an answer | 0 |" in text
    adapter = Alignment(preferences, tiny_model, tmp_path / "lora", training=Training(**SHORT, lora=2), watch=None)
    text = (align(adapter).model / "README.md").read_text()
    assert front(text)["library_name"] == "peft" and "peft" in text, "in place of the one that peft writes"


def test_a_run_in_stages_writes_one_of_them_all(
    tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    job = Alignment(
        preferences,
        tiny_model,
        tmp_path / "out",
        "curry-dpo",
        {"iterations": "2"},
        training=Training(**SHORT, lora=2),
        watch=None,
    )
    run = align(job)
    text = (run.model / "README.md").read_text()
    assert (
        "in 2 stages, for 4 steps" in text and "- Stage 1: " in text and "nats an answer from the first model" in text
    )
    assert "| iterations | 2 |" in text and front(text)["library_name"] == "transformers", "stages are merged"
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["curriculum"]["criterion"] in text
    first = tmp_path / "out" / "stage-1" / "model" / "README.md"
    assert "polyculture, for" not in (first.read_text() if first.exists() else "")
