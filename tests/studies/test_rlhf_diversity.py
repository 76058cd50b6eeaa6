from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput, PolycultureError
from polyculture.report.policies import render_policies
from polyculture.studies import rlhf_diversity
from polyculture.studies.policy_comparison import BEST, SFT
from polyculture.studies.rlhf_data import file_material, synthetic_material
from polyculture.studies.rlhf_diversity import run_study
from polyculture.studies.rlhf_findings import Found
from polyculture.studies.rlhf_settings import LENGTHS, RLHFStudy, make_study
from tests.tiny_models import tiny_llama

SMALL: dict[str, Any] = {
    "demonstrations": 64, "comparisons": 30, "prompts": 3, "samples": 2, "best_of": 2, "kl": (0.5,), "control": None,
    "sft_epochs": 1, "reward_epochs": 1, "rl_steps": 2, "rl_prompts": 2,
}  # fmt: skip


def small(out: Path, **change: Any) -> RLHFStudy:
    return make_study(out, **{**SMALL, **change})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    out = tmp_path_factory.mktemp("study") / "out"
    return out, run_study(small(out))


def preferences(path: Path, n: int, start: int = 0) -> Path:
    rows = [
        {"prompt": f"Say a number after {i}:", "chosen": f" It is {i + 1}.", "rejected": f" No idea {i % 3}"}
        for i in range(start, start + n)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_study_measures_every_policy_in_and_out_of_distribution(ran: tuple[Path, Found]) -> None:
    out, found = ran
    assert list(found.policies) == [SFT, BEST, "RL, KL 0.5"] and found.reused == []
    for policy in found.policies.values():
        for held in policy.measured.values():
            assert held.wins.shape == held.scores.shape == (3,) and ((held.wins >= 0) & (held.wins <= 1)).all()
            assert {"ead", "distinct", "ngram-cosine", "different", "embedding"} == set(held.per_input)
            assert all(values.shape == (3,) for values in held.per_input.values())
            assert all(values.shape == (2,) for values in held.across.values())
    assert found.places == ["inside", "outside"] and found.rl == "RL, KL 0.5" and found.control is None
    assert found.judge == "the task's own reward" and found.policies[SFT].kl == 0
    assert json.loads((out / "summary.json").read_text())["policies"][BEST]["outside"]["length"] >= 0
    assert "shifted prompts have wishes that are rare" in found.notes[0]


def test_started_again_it_finds_the_same_and_trains_nothing(
    ran: tuple[Path, Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first = ran
    for name in ("train_policy", "train_reward_model", "align", "sample_policy"):
        monkeypatch.setattr(rlhf_diversity, name, pytest.fail)
    again = run_study(small(out))
    assert again.reused == ["sft", "reward", "rl-0.5"]
    assert again.to_dict()["policies"] == first.to_dict()["policies"]
    assert again.to_dict()["claims"] == first.to_dict()["claims"]
    measured = run_study(small(out, embedder="none"))
    assert measured.reused == again.reused and "embedding" not in measured.policies[SFT].measured["inside"].per_input
    with pytest.raises(BadInput, match="other settings: samples was 2 and is now 4"):
        run_study(small(out, samples=4))


def test_another_kl_coefficient_trains_that_policy_alone(ran: tuple[Path, Found], tmp_path: Path) -> None:
    out = shutil.copytree(ran[0], tmp_path / "out")
    found = run_study(small(out, kl=(0.5, 2.0)))
    assert found.reused == ["sft", "reward", "rl-0.5"]
    assert list(found.policies) == [SFT, BEST, "RL, KL 2", "RL, KL 0.5"]
    for place in found.places:
        same, first = (run.policies["RL, KL 0.5"].measured[place] for run in (found, ran[1]))
        assert (same.scores == first.scores).all() and (same.per_input["ead"] == first.per_input["ead"]).all()


def test_best_of_n_is_better_by_the_reward_model_and_from_the_pool(ran: tuple[Path, Found]) -> None:
    out, _ = ran
    held = json.loads((out / "samples" / "best-of-n.json").read_text())
    assert [len(own) for own in held["inside"]] == [2, 2, 2] and set(held) == {"inside", "outside"}


def test_the_page_shows_it(ran: tuple[Path, Found]) -> None:
    page = render_policies(ran[1], title="What RLHF does", lead="word-wishes")
    for shown in ("What RLHF does", "best-of-n", "Wins are counted by", "RL, KL 0.5 wins more", "out of distribution"):
        assert shown in page
    assert page.count('data-figure="') == 5


@pytest.mark.slow
def test_preferences_are_judged_by_a_second_reward_model(tmp_path: Path) -> None:
    data, ood = preferences(tmp_path / "data.jsonl", 40), preferences(tmp_path / "ood.jsonl", 12, 500)
    model = tiny_llama(tmp_path / "model")
    job = small(
        tmp_path / "out",
        data=str(data),
        model=str(model),
        ood=str(ood),
        max_new_tokens=6,
        pool=3,
        control=9.0,
        embedder="none",
        nli="python:tests.studies.test_rlhf_diversity:neutral",
    )
    found = run_study(job)
    assert "reward model of preferences that the policies' one never saw" in found.judge
    assert {"reward", "judge"} <= set(found.stages) and found.control is not None
    assert {"ead", "nli"} <= set(found.policies[SFT].measured["inside"].per_input)
    assert any("overlap" in note for note in found.notes)
    assert sum("not shown to be better than chance" in note for note in found.notes) == 2, "three pairs can't show it"
    texts = [text for _, outputs in found.examples for own in outputs.values() for text in own]
    assert texts and all(isinstance(text, str) for text in texts)


@pytest.mark.slow
def test_demonstrations_with_a_reward_of_ones_own(tmp_path: Path) -> None:
    rows = [{"prompt": f"Count from {i}:", "completion": f" {i} {i + 1}"} for i in range(30)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reward = "python:tests.studies.test_rlhf_diversity:digits"
    job = small(tmp_path / "out", data=str(tmp_path / "data.jsonl"), reward=reward, max_length=48, max_new_tokens=6)
    found = run_study(job)
    assert found.judge == reward and found.places == ["inside"]
    assert "nothing is said about generalisation" in found.notes[0]


@pytest.mark.slow
def test_a_reward_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    reward = "python:tests.studies.test_rlhf_diversity:indifferent"
    rows = [{"prompt": f"Count from {i}:", "completion": f" {i} {i + 1}"} for i in range(30)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job = small(tmp_path / "out", data=str(tmp_path / "data.jsonl"), reward=reward, max_length=48, max_new_tokens=6)
    with pytest.raises(BadInput, match="tells 0 of 27 pairs of SFT's answers apart"):
        run_study(job)


def indifferent(prompts: list[str], answers: list[str]) -> list[float]:
    return [0.0 for _ in answers]


def digits(prompts: list[str], answers: list[str]) -> list[float]:
    return [float(sum(letter.isdigit() for letter in answer)) + len(answer) / 100 for answer in answers]


def neutral(pairs: Any) -> list[dict[str, Any]]:
    return [{"label": "neutral", "score": 1.0} for _ in pairs]


def test_no_prompt_of_the_synthetic_tests_is_trained_on() -> None:
    held = synthetic_material(4000, 100, 0)
    trained = {frozenset(row["prompt"].split()) for row in held.rows}
    assert not trained & {frozenset(str(e.prompt).split()) for e in (*held.inside, *held.outside)}
    assert len(held.rows) == 4000


def test_test_prompts_are_not_trained_on(tmp_path: Path) -> None:
    data = preferences(tmp_path / "data.jsonl", 30)
    held = file_material(str(data), None, prompts=10, seed=0)
    assert held.pairs and len(held.inside) == 10 and len(held.rows) == 20
    assert not {e.prompt for e in held.inside} & {row["prompt"] for row in held.rows}
    assert [row["prompt"] for row in held.rows] == [e.prompt for e in held.examples]
    other = file_material(str(data), None, prompts=10, seed=1)
    assert {e.prompt for e in held.inside} != {e.prompt for e in other.inside}
    assert len(file_material(str(data), None, prompts=5, seed=0, limit=12).rows) == 7


def test_what_can_not_be_compared_is_refused(tmp_path: Path) -> None:
    data = preferences(tmp_path / "data.jsonl", 10)
    with pytest.raises(BadInput, match="10 different prompts; testing on 6"):
        file_material(str(data), None, prompts=6, seed=0)
    (tmp_path / "shown.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}')
    with pytest.raises(BadInput, match="to compare answers give --reward"):
        file_material(str(tmp_path / "shown.jsonl"), None, prompts=1, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 1}, "2 samples of each"),
        ({"kl": ()}, "one or more finite numbers above 0"),
        ({"kl": (float("inf"),)}, "finite numbers above 0"),
        ({"kl": (0.5, 9.0), "control": 9.0}, "control's KL coefficient 9 is also one of those studied"),
        ({"pool": 1}, "smaller than best of 2"),
        ({"reward": "heuristic"}, "has a reward of its own; leave --reward out"),
        ({"ood": "shifted.jsonl"}, "has shifted prompts of its own; leave --ood out"),
        ({"temperature": 0.0}, "greedy outputs have no diversity"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        small(tmp_path, **change)


@pytest.mark.parametrize("change", [{"judge": "heuristc"}, {"embedder": "tfidff"}, {"nli": "python:no:such"}])
def test_a_mistyped_name_is_told_before_anything_is_trained(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(PolycultureError):
        run_study(small(tmp_path / "out", **change))
    assert not (tmp_path / "out" / "sft").exists()


def test_a_language_model_is_trained_as_in_the_paper_unless_told_otherwise(tmp_path: Path) -> None:
    job = make_study(tmp_path, data="x.jsonl", model="y", rl_steps=7, judge=None)
    assert (job.sft.learning_rate, job.sft.epochs, job.rl.learning_rate) == (3e-5, 1, 1.5e-6)
    assert (job.rl.minibatch, job.rl.at_once) == (LENGTHS.batch_size, 32), "memory is dear"
    assert (job.rl.steps, job.rl.max_new_tokens, job.rl.epochs) == (7, LENGTHS.max_new_tokens, 4)
    assert np.isclose(job.reward_training.learning_rate or 0, 1e-5)
