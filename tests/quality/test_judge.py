"""Judges: numbers and yes or no, replies that are neither, equal pairs asked once, axes of one's own."""

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
from polyculture.quality.judge import AXES, Axis, DependabilityQuality, Ratings, RatingsQuality, first_number

PAIRS = [("2+2?", "4"), ("2+2?", "5"), ("2+2?", "4"), ("2+2?", "  ")]


def test_first_numbers() -> None:
    assert first_number("I'd say 8.5 of 10", 0, 10) == 8.5
    assert first_number("-3", 0, 10) == 0 and first_number("100", 0, 10) == 10
    assert first_number("", 0, 10) is None and first_number("v2 of it", 0, 10) is None


def test_ratings_of_pairs() -> None:
    judge = ScriptedLLM(lambda prompt, i, rng: "9 out of 10" if "\n4\n" in str(prompt) else "1")
    scorer = DependabilityQuality(judge)
    assert scorer.score_pairs(PAIRS).tolist() == [0.9, 0.1, 0.9, 0.0]
    assert judge.n_completions == 2  # equal pairs once, the empty response never
    assert scorer.score_pairs([]).shape == (0,)


def test_yes_or_no() -> None:
    sure = {"yes": np.log(0.6), "no": np.log(0.2)}
    judge = ScriptedLLM(["?"], score=lambda prompt, completion: [sure[completion]])
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


def test_ratings_on_axes() -> None:
    rates = Ratings(ScriptedLLM(lambda p, i, rng: "11" if "fluency" in str(p) else "2.5"))
    found = rates.rate(["one", "two", "one"])
    assert found.shape == (3, len(AXES)) and found[:, 0].tolist() == [10, 10, 10] and (found[:, 1:] == 2.5).all()
    assert rates.rate([]).shape == (0, len(AXES))


def test_a_rating_is_asked_for_twice_and_then_missing() -> None:
    judge = ScriptedLLM(["hm", "4", "hm", "hm"])
    axis = Axis("humour", "how funny it is")
    np.testing.assert_array_equal(Ratings(judge, [axis]).rate(["one", "two"]), [[np.nan], [4.0]])
    assert judge.n_completions == 3
    with pytest.raises(BadInput, match="at least one axis"):
        Ratings(judge, []).rate(["one"])
    with pytest.warns(UserWarning, match="1 of 2 texts lack a rating"):
        scorer = RatingsQuality(ScriptedLLM(["hm", "4", "hm"]), axes=("humour=how funny it is",))
        assert score_pool(Pool.from_arrays(texts=["one", "two"]), scorer).q.tolist() == [0.0, 4.0]
    with pytest.raises(UnknownMethod, match="fluency"):
        RatingsQuality(judge, axes=("fluencyy",)).score(Pool.from_arrays(texts=["a"]))
