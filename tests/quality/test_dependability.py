"""Dependability: numbers and yes or no, replies that are neither, equal pairs asked once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.base import Completion
from polyculture.llm.scripted import ScriptedLLM
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.quality.base import score_pool
from polyculture.quality.dependability import DependabilityQuality

PAIRS = [("2+2?", "4"), ("2+2?", "5"), ("2+2?", "4"), ("2+2?", "  ")]


def test_ratings_of_pairs() -> None:
    judge = ScriptedLLM(lambda prompt, i, rng: "9 out of 10" if "\n4\n" in str(prompt) else "1")
    scorer = DependabilityQuality(judge)
    assert scorer.score_pairs(PAIRS).tolist() == [0.9, 0.1, 0.9, 0.0]
    assert judge.n_completions == 2  # equal pairs once, the empty response never
    assert scorer.score_pairs([]).shape == (0,)


def test_yes_or_no() -> None:
    sure = {"yes": np.log(0.2), " Yes": np.log(0.4), "No": np.log(0.2)}
    judge = ScriptedLLM(["?"], score=lambda prompt, completion: [sure.get(completion, -np.inf)])
    assert DependabilityQuality(judge, form="yes-no").score_pairs(PAIRS[:1]) == pytest.approx([0.75])

    class Mute:
        name = "mute"

        def generate(self, prompts: list[str], **_: object) -> list[list[Completion]]:
            return [[Completion("yes")] for _ in prompts]

    with pytest.raises(BadInput, match="mute gives no log-probabilities"):
        DependabilityQuality(Mute(), form="yes-no").score_pairs(PAIRS)  # type: ignore[arg-type]
    with pytest.raises(UnknownMethod, match="rating"):
        DependabilityQuality(judge, form="ratings").score_pairs(PAIRS)  # type: ignore[arg-type]


def test_replies_without_a_number_count_nothing_and_are_told() -> None:
    with pytest.warns(UserWarning, match=r"1 of 2 replies of scripted hold no number.*'great'"):
        found = DependabilityQuality(ScriptedLLM(["great", "10"])).score_pairs(PAIRS)
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_questions_of_ones_own() -> None:
    judge = ScriptedLLM(["3"])
    DependabilityQuality(judge, question="{prompt} -> {response}? 0-10").score_pairs(PAIRS[:1])
    assert judge.prompts == ["2+2? -> 4? 0-10"]
    with pytest.raises(BadInput, match="no other braces"):
        DependabilityQuality(judge, question="{reply}?").score_pairs(PAIRS)


def test_from_a_file_by_name(tmp_path: Path) -> None:
    script = tmp_path / "judge.json"
    script.write_text(json.dumps({"replies": ["5"], "match": {"oats": ["8"]}}))
    scorer = build("quality", "dependability", model=f"scripted:{script}", prompt="none", response="none")
    assert score_pool(Pool.from_arrays(texts=["oats", "rye"]), scorer).q.tolist() == [0.8, 0.5]
