"""Best-of-n, majority, weighted majority, best-of-majority, soft best-of-n."""

from __future__ import annotations

import math

import numpy as np
import pytest

from polyculture.decode import BestOfMajority, BestOfN, Majority, SoftBestOfN, WeightedMajority
from polyculture.decode.base import Candidate
from polyculture.decode.best_of_majority import (
    alpha_from_coverage,
    best_of_majority,
    best_of_n_lower_bound,
    default_alpha,
    regret_upper_bound,
    samples_needed,
    trusted,
)
from polyculture.decode.best_of_n import best_of_n
from polyculture.decode.groups import group_answers
from polyculture.decode.majority import majority_vote, vote_weights
from polyculture.decode.soft_best_of_n import calibrated, soft_best_of_n_probabilities
from polyculture.errors import BadInput, UnknownMethod


def pool(keys: list[int | None], scores: list[float]) -> list[Candidate]:
    return [Candidate("?" if k is None else f"A: {k}", score=s) for k, s in zip(keys, scores, strict=True)]


def test_best_of_n() -> None:
    assert best_of_n([-3.0, math.nan, -1.0, -1.0]) == 2
    assert best_of_n([math.nan, -math.inf]) == 1
    with pytest.raises(BadInput):
        best_of_n([])
    assert BestOfN().rerank(pool([1, 2, 3], [0.1, 0.9, 0.9]), k=2).keys == ("2", "3")


def test_majority_vote() -> None:
    assert majority_vote([]) is None and majority_vote([None, ""]) is None
    assert majority_vote(["a", "b", "b", "a"]) == "a"
    answer = Majority().rerank(pool([3, 1, 1, None], [9, 0, 1, 9]))
    assert answer.key == "1" and answer.trace.chosen == (1,)
    assert [g.freq for g in answer.trace.groups] == [0.25, 0.5]


def test_weighted_majority() -> None:
    assert WeightedMajority(weight="score").rerank(pool([1, 1, 2], [0.2, 0.2, 0.5])).key == "2"
    assert WeightedMajority(temperature=1e6).rerank(pool([1, 1, 2], [0.2, 0.2, 0.5])).key == "1"
    assert vote_weights([0.0, 0.0], "score").tolist() == [0.5, 0.5]
    assert vote_weights([-math.inf, -math.inf]).tolist() == [0.5, 0.5]
    assert vote_weights([math.inf, 3.0]).tolist() == [1.0, 0.0]
    with pytest.raises(BadInput, match="softmax"):
        vote_weights([-1.0], "score")
    with pytest.raises(BadInput, match="temperature"):
        vote_weights([1.0], temperature=0)


def test_gate_is_inclusive_whatever_the_rounding() -> None:
    for n in (3, 7, 10, 49, 1000):
        for count in (1, n // 3 or 1, n // 2 or 1):
            keys = ["a"] * count + [f"b{i}" for i in range(n - count)]
            groups = group_answers(keys, [0.0] * n)
            assert "a" in [g.key for g in trusted(groups, count / n)]
            if count > 1:
                assert [g.key for g in trusted(groups, (count - 0.5) / n)] == ["a"]


def test_best_of_majority() -> None:
    answers, rewards = ["x", "y", "y", "z", "z", "z", None, None], [9.0, 3.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert best_of_majority(answers, rewards, 1, 0.25) == ["y"]  # 2 of all 8, unreadable ones included
    assert best_of_majority(answers, rewards, 3, 0.25) == ["y", "z"]  # fewer than k
    assert best_of_majority(answers, rewards, 3, 0.0) == ["x", "y", "z"]
    assert best_of_majority(answers, rewards, 1, 0.9) == ["x"]  # nobody passes: relaxed
    assert best_of_majority(answers, rewards, 1, 0.9, on_empty="none") == []
    with pytest.raises(BadInput, match="lower alpha"):
        best_of_majority(answers, rewards, 1, 0.9, on_empty="raise")
    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        best_of_majority(answers, rewards, 1, 1.5)
    assert best_of_majority([None], [1.0], 1, 0.5) == []


def test_best_of_majority_strategy() -> None:
    candidates = pool([1, 2, 2, 3, 3, 3], [9.0, 3.0, 4.0, 1.0, 1.0, 1.0])
    answer = BestOfMajority(alpha=0.3).rerank(candidates)
    assert answer.key == "2" and answer.trace.chosen == (2,)  # shown by its best rewarded sample
    assert answer.trace.steps[0].details == {"alpha": 0.3, "groups": 3, "passed": 2, "relaxed": False}
    assert BestOfMajority(alpha=0.9).rerank(candidates).trace.steps[0].details["relaxed"] is True
    assert BestOfMajority(alpha=0.0).rerank(candidates).key == BestOfN().rerank(candidates).key == "1"


def test_theory() -> None:
    assert default_alpha(4) == 0.5 and default_alpha(1000) == 0.01 and default_alpha(1) == 1.0
    assert alpha_from_coverage(20) == 0.0375
    with pytest.raises(BadInput):
        alpha_from_coverage(0.5)
    assert regret_upper_bound(20, 0.1, 10**6, 4) == pytest.approx(math.sqrt(20 * 0.01 / 4))
    assert regret_upper_bound(20, 0.1, 100, 4) > regret_upper_bound(20, 0.1, 200, 4)
    assert samples_needed(20, 0.1, 1) == math.ceil(320 * math.log(2000))
    assert best_of_n_lower_bound(0.1, 10, 1) == pytest.approx(math.sqrt(0.1))
    assert best_of_n_lower_bound(0.1, 10**6, 1) == 1.0


def test_soft_best_of_n() -> None:
    groups = group_answers(["a", "b", "b", "c"], [0.0, math.log(2), math.log(2), -math.inf])
    assert soft_best_of_n_probabilities(groups).tolist() == pytest.approx([0.2, 0.8, 0.0])
    assert soft_best_of_n_probabilities(groups, beta=0).tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert [g.mean_score for g in calibrated(groups)] == [0.375, 0.75, 0.125]
    draws = [SoftBestOfN().rerank(pool([1, 2, 2], [0.0, math.log(2), math.log(2)]), seed=s).key for s in range(300)]
    assert np.mean([d == "2" for d in draws]) == pytest.approx(0.8, abs=0.07)
    three = SoftBestOfN().rerank(pool([1, 2, 2], [0.0, 1.0, -math.inf]), k=3, seed=0)
    assert sorted(map(str, three.keys)) == ["1"]  # the mean of a group with -inf is -inf: it can't be drawn
    with pytest.raises(BadInput):
        soft_best_of_n_probabilities(groups, beta=-1)


def test_scores() -> None:
    bare = [Candidate("A: 1"), Candidate("A: 22")]
    with pytest.raises(BadInput, match="neither scores nor log-probabilities"):
        BestOfN().rerank(bare)
    with pytest.raises(BadInput, match="carries no score"):
        BestOfN(score="given").rerank(bare)
    assert BestOfN(score="length").rerank(bare).key == "22"
    with pytest.raises(UnknownMethod, match="logprob"):
        BestOfN(score="logprobs").rerank(bare)
    with pytest.raises(BadInput, match=r"shape \(1,\)"):
        BestOfN(score=lambda prompts, responses: [1.0]).rerank(bare)
    scored = BestOfN(score=lambda prompts, responses: [-len(r) for r in responses]).rerank(bare, prompt="q")
    assert scored.key == "1" and scored.cost.scored == 2
    with pytest.warns(UserWarning, match="NaN"):
        odd = BestOfN(score=lambda prompts, responses: [math.nan, -1.0]).rerank(bare)
    assert odd.key == "22" and odd.trace.candidates[0].score is None
    assert odd.trace.candidates[0].details["score"] == "nan"


def test_a_quality_scorer_as_score() -> None:
    answer = BestOfN(score="quality:heuristic").rerank([Candidate("x x x x"), Candidate("A full sentence. A: 2")])
    assert answer.cost.scored == 2 and answer.score is not None
    with pytest.raises(UnknownMethod, match="scorer"):
        BestOfN(score="quality:heuristics").rerank([Candidate("x")])
