from __future__ import annotations

import json
import math
import random
import re

import numpy as np
import pytest

from polyculture.align.staged.judged_pairs import (
    PairRule,
    PairwiseJudge,
    RubricJudge,
    ScoredEach,
    category,
    make_scores,
    pair_filter,
    repeats,
    with_replay,
)
from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.scripted import ScriptedLLM


def brevity(prompts, completions):
    return [-len(text) for text in completions]


def earlier_letter_wins(asked):
    return [0.9 if one < other else 0.2 for _, one, other in asked]


def test_students_need_less_of_a_margin_than_the_teacher():
    assert pair_filter([5, 4, 6, 5], teacher=3) == [(0, 1), (2, 0), (2, 1), (2, 3)]
    assert pair_filter([5, 3], teacher=0) == [(0, 1)]
    assert pair_filter([5, 4], teacher=0) == []
    assert pair_filter([4, 1], teacher=0) == [] == pair_filter([])
    assert pair_filter([5, 5]) == []
    assert pair_filter([math.nan, 6]) == []


def test_automatic_losers_win_nothing_and_lose_to_every_winner():
    assert pair_filter([6, 5, 2], losers=[0]) == [(1, 0), (1, 2)]


def test_variants_of_the_filter():
    assert pair_filter([6, 3, 5], teacher=2, rule=PairRule(keep="teacher-wins")) == [(2, 1)]
    assert pair_filter([6, 3, 1], teacher=2, rule=PairRule(keep="spin")) == [(2, 0), (2, 1)]
    with pytest.raises(BadInput, match="SPIN"):
        pair_filter([6, 3], rule=PairRule(keep="spin"))
    with pytest.raises(UnknownMethod, match="all"):
        PairRule(keep="al")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="margins"):
        PairRule(margin_student_positive=0)
    with pytest.raises(BadInput, match="one of the candidates"):
        pair_filter([1, 2], teacher=2)


def test_categories():
    assert [category(pair, 2) for pair in ((2, 0), (0, 2), (0, 1))] == ["T>S", "S>T", "S>S"]
    assert category((0, 1), None) == "S>S"


def test_repetition():
    assert repeats("the same words over and over again " * 8)
    assert not repeats("no " * 10) and repeats("no " * 30) and not repeats("")
    assert not repeats(" ".join(str(i) for i in range(100)))


def test_replayed_pairs_keep_to_their_shares_and_are_not_drawn_twice():
    rng = np.random.default_rng(0)
    new, earlier = list(range(55)), [list(range(1000, 1500)), list(range(2000, 2500))]
    kept = with_replay(new, earlier, rng)
    assert kept[:55] == new and len(set(kept)) == len(kept)
    last, before = sum(k >= 2000 for k in kept), sum(1000 <= k < 2000 for k in kept)
    assert (last, before) == (30, 15) and len(kept) == 100
    # A round that falls short leaves the others no larger a share.
    kept = with_replay(new, [list(range(1000, 1500)), [2000]], rng)
    assert sum(1000 <= k < 2000 for k in kept) <= 0.15 * len(kept) and 2000 in kept
    assert with_replay(new, [], rng) == new == with_replay(new, earlier, rng, share=0.0)
    with pytest.raises(BadInput, match="share"):
        with_replay(new, earlier, rng, share=0.5)


def points(text: str) -> int:
    return int(text.split()[-1])


def judge(prompt, sample, rng: random.Random) -> str:
    shown = re.findall(r"\[Response \d+\]\n(.*)", str(prompt[-1]["content"]))
    return "Here you are: " + json.dumps([points(text) for text in shown])


def test_a_judge_sees_the_candidates_in_random_order():
    candidates = [[f"answer worth {i}" for i in range(6)] for _ in range(4)]
    llm = ScriptedLLM(judge)
    scores = RubricJudge(llm, seed=1)([f"question {i}" for i in range(4)], candidates)
    assert [given.tolist() for given in scores if given is not None] == [[0, 1, 2, 3, 4, 5]] * 4
    orders = {tuple(re.findall(r"worth (\d)", str(prompt))) for prompt in llm.prompts}
    assert len(orders) > 1 and "question 0" in str(llm.prompts[0])


def test_a_prompt_whose_judgement_cannot_be_read_has_none():
    replies = ["[1, 2]", "[7, 2]", "[1]", "no idea"]
    llm = ScriptedLLM(lambda prompt, i, rng: next(r for k, r in enumerate(replies) if f"q{k}" in str(prompt)))
    found = RubricJudge(llm, retries=0)([f"q{k}" for k in range(4)], [["a", "b"]] * 4)
    assert found[0] is not None and sorted(found[0].tolist()) == [1, 2]
    assert found[1:] == [None, None, None]


def test_pairwise_scores_even_out_the_places():
    scores = PairwiseJudge(earlier_letter_wins)(["q", "r"], [["a", "b", "c"], ["z"]])
    # P(a > b) is .9 shown first and .8 shown second.
    assert scores[0] is not None and scores[0] == pytest.approx([5.1, 3.0, 0.9])
    assert scores[1] is not None and scores[1].tolist() == [3.0]
    with pytest.raises(BadInput, match="2 probabilities"):
        PairwiseJudge(lambda asked: [2.0] * len(asked))(["q"], [["a", "b"]])
    with pytest.raises(BadInput, match=r"2 probabilities in \[0, 1\], one for each .*, not list \['first', 'second'\]"):
        PairwiseJudge(lambda asked: ["first", "second"])(["q"], [["a", "b"]])


def test_a_pairwise_judge_of_other_arguments_is_told_what_it_is_called_with():
    def of_three(prompt, one, other):
        return 1.0

    with pytest.raises(BadInput, match=r"judge of_three is called with one list of \(prompt, one, other\).*'one'"):
        PairwiseJudge(of_three)
    with pytest.raises(BadInput, match="judge brevity is called with one list"):
        make_scores("pairwise:python:tests.align.staged.test_judged_pairs:brevity")


def test_scores_by_name():
    here = "python:tests.align.staged.test_judged_pairs"
    (given,) = make_scores(f"{here}:brevity")(["q"], [["aa", "b"]])
    assert given is not None and given.tolist() == [-2, -1]
    (given,) = make_scores("length")(["q"], [["aa", "b"]])
    assert given is not None and given.tolist() == [2, 1]
    assert isinstance(make_scores(f"pairwise:{here}:earlier_letter_wins"), PairwiseJudge)
    judged = make_scores(ScoredEach(brevity))
    assert isinstance(judged, ScoredEach)
    with pytest.raises(BadInput, match="finite"):
        ScoredEach(lambda p, c: [math.nan])(["q"], [["a"]])
    with pytest.raises(UnknownMethod):
        make_scores("no-such-quality")


def test_a_judge_by_name(tmp_path):
    (tmp_path / "replies.json").write_text(json.dumps(["[6, 0]"]))
    made = make_scores(f"llm:scripted:{tmp_path / 'replies.json'}", seed=3)
    assert isinstance(made, RubricJudge) and made.seed == 3
    (given,) = made(["q"], [["a", "b"]])
    assert given is not None and sorted(given.tolist()) == [0, 6]
