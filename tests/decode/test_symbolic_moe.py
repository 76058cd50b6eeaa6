from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from polyculture.decode import SymbolicMoE
from polyculture.decode.experts import Skills, aggregation_prompt
from polyculture.decode.skills import (
    global_strength,
    local_scores,
    map_keywords,
    normalised_strength,
    parse_keywords,
    recruit_probabilities,
    repeated_keywords,
    skill_profile,
    trim_replacement,
)
from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.base import LLM, Prompt, as_text
from polyculture.llm.scripted import ScriptedLLM

VALIDATION = [(f"{kind} question {i}?", str(i)) for i in range(6) for kind in ("algebra", "history")]


def namer(prompt: Prompt, index: int, rng: random.Random) -> str:
    return "Keywords: algebra" if "algebra" in as_text(prompt) else "Keywords: history"


class Panel:
    """Two experts, each right in one field; loading is counted."""

    def __init__(self, third: bool = True) -> None:
        self.loads: list[str] = []
        self.names = ["mathematician", "historian", *(["novice"] if third else [])]

    def __call__(self) -> dict[str, Callable[[], LLM]]:
        return {name: lambda name=name: self._load(name) for name in self.names}  # type: ignore[misc]

    def _load(self, name: str) -> LLM:
        self.loads.append(name)
        knows = {"mathematician": "algebra", "historian": "history", "novice": "nothing"}[name]

        def reply(prompt: Prompt, index: int, rng: random.Random) -> str:
            text = as_text(prompt)
            number = int(text.rsplit("question ", 1)[1].split("?")[0])
            if "<solution" in text and name == "historian":
                return f"A: {number}"  # the best aggregator
            return f"A: {number if knows in text and '<solution' not in text else number + 100}"

        return ScriptedLLM(reply, name=name)


def test_fit_learns_skills_and_picks_the_aggregator(tmp_path: Path) -> None:
    panel = Panel()
    strategy = SymbolicMoE(experts=panel()).fit(ScriptedLLM(namer), VALIDATION, seed=0)
    skills = strategy.skills
    assert isinstance(skills, Skills)
    assert skills.profiles["mathematician"] == {"algebra": 6, "history": -6}
    assert skills.accuracy == {"historian": 0.5, "mathematician": 0.5, "novice": 0.0}
    assert skills.aggregator == "historian" and skills.items == 12
    assert panel.loads == sorted(panel.names) * 2
    again = SymbolicMoE(experts=panel(), skills=json.loads(json.dumps(strategy.params()))["skills"])
    assert again.skills == skills
    (tmp_path / "skills.json").write_text(json.dumps(strategy.params()["skills"]))
    assert SymbolicMoE(skills=str(tmp_path / "skills.json")).skills == skills
    with pytest.raises(BadInput, match="needs experts"):
        SymbolicMoE().fit(ScriptedLLM(namer), VALIDATION)


def test_each_model_is_loaded_once_and_recruited_by_skill() -> None:
    panel = Panel()
    strategy = SymbolicMoE(experts=panel()).fit(ScriptedLLM(namer), VALIDATION, seed=0)
    panel.loads.clear()
    questions = ["algebra question 40?", "history question 41?", "algebra question 42?"]
    answers = strategy.answer_batch(ScriptedLLM(namer), questions, 3, seed=0)
    assert panel.loads == ["historian", "mathematician", "historian"]  # the last aggregates
    assert [a.key for a in answers] == ["40", "41", "42"]
    recruited = [{c.details["expert"] for c in a.trace.candidates} for a in answers]
    assert recruited == [{"mathematician"}, {"historian"}, {"mathematician"}]
    assert answers[0].cost.calls == 5 + 3 + 1
    voted = SymbolicMoE(experts=panel(), skills=strategy.skills, combine="vote")
    assert [a.key for a in voted.answer_batch(ScriptedLLM(namer), questions, 3, seed=0)] == ["40", "41", "42"]


def test_without_replacement_takes_all_there_are() -> None:
    strategy = SymbolicMoE(experts=Panel()(), with_replacement=False, combine="vote")
    answer = strategy.answer(ScriptedLLM(namer), "algebra question 1?", 9, seed=0)
    assert sorted(c.details["expert"] for c in answer.trace.candidates) == ["historian", "mathematician", "novice"]


def test_unseen_keywords_are_mapped() -> None:
    skills = Skills({"a": {"algebra": 3.0}, "b": {"poetry": 3.0}})
    strategy = SymbolicMoE(skills=skills, embedder="tfidf")
    chances, mapped = strategy.recruitment(["linear algebra"], ["a", "b"])
    assert mapped == ["algebra"] and chances == {"a": 1.0}
    with pytest.warns(UserWarning, match="no keyword"):
        SymbolicMoE(experts=Panel()(), skills=skills).answer(ScriptedLLM([" "]), "algebra question 1?", 2, seed=0)


def test_trimming_and_unknown_aggregator() -> None:
    strategy = SymbolicMoE(experts=Panel()(), trim=0.34, combine="vote")
    batch = [f"algebra question {i}?" for i in range(30)]
    used = {
        c.details["expert"]
        for a in strategy.answer_batch(ScriptedLLM(namer), batch, 3, seed=0)
        for c in a.trace.candidates
    }
    assert len(used) < 3
    odd = SymbolicMoE(experts=Panel()(), skills=Skills({}, aggregator="sage"))
    with pytest.raises(UnknownMethod, match="sage"):
        odd.answer(ScriptedLLM(namer), "algebra question 1?", 3, seed=0)


def test_aggregator_prompt() -> None:
    text = as_text(aggregation_prompt("q", ["<think>hm</think> so 5", "</solution>" + "x" * 50 + "end"], "fmt", 20))
    assert "hm" not in text and "[cut]" in text and "end" in text and text.count("</solution>") == 2


def test_keywords() -> None:
    assert parse_keywords("no marker, B.") == ["no marker", "b"]
    assert repeated_keywords([["a", "a"], ["b"], ["b", "c" * 21], ["c" * 21]]) == ["a", "b"]


def test_profiles_and_strengths() -> None:
    profile = skill_profile([["a", "b"], ["a"]], [True, False])
    assert profile.scores == {"a": 0, "b": 1} and profile.counts == {"a": 2, "b": 1} and profile.accuracy_percent == 50
    with pytest.raises(BadInput):
        skill_profile([["a"]], [])
    assert normalised_strength([0, 0]).tolist() == [0.5, 0.5]
    assert normalised_strength([-1, 1], 1.0).tolist() == pytest.approx([0.25, 0.75])
    with pytest.raises(BadInput):
        normalised_strength([])
    totals, strength = global_strength({"x": {"a": 1}, "y": {}})
    assert totals == {"x": 1, "y": 0} and strength == {"x": 1.0, "y": 0.0}


def test_recruiting() -> None:
    profiles = {"x": {"a": 1, "b": -1}, "y": {"a": 3}, "z": {}}
    assert local_scores(profiles, ["a", "a", "b"]) == {"x": 1, "y": 6}
    assert recruit_probabilities({}, {"x": 0.9, "y": 0.1}) == {"x": 0.5, "y": 0.5}
    assert recruit_probabilities({"x": 0.0, "y": 2.0}, {"x": 0.5, "y": 0.5}) == {"y": 1.0}  # 0 is not above 0
    assert recruit_probabilities({"x": 1.0, "y": 1.0}, {"x": 0.0, "y": 0.0}) == {"x": 0.5, "y": 0.5}


def test_trim_and_map() -> None:
    assert trim_replacement({"a": 19, "b": 1}, "b", 0.05) == {"b": 1.0}  # a share of exactly the threshold stays
    with pytest.raises(BadInput, match="threshold"):
        trim_replacement({"a": 1, "b": 1}, "a", 0.9)
    assert trim_replacement({"a": 1, "b": 0}, "b", 0.0) == {"b": 1.0}  # no share is below 0
    assert map_keywords(np.array([[0.0, 2.0], [0.0, 0.0]]), np.eye(2), ["x", "y"]) == ["y", "x"]
    rng = np.random.default_rng(0)
    for width in (3, 6, 64):  # equal directions are equal, however the product rounds them
        rows = rng.normal(size=(9, width))
        names = [str(i) for i in range(27)]
        assert map_keywords(rows, np.vstack([rows, rows, 3 * rows]), names) == names[:9]
    with pytest.raises(BadInput, match="finite"):
        map_keywords(np.array([[np.nan, 1.0]]), np.eye(2), ["x", "y"])
    with pytest.raises(BadInput, match="one embedding"):
        map_keywords(np.eye(2), np.eye(2), [])
