"""Decoding strategies, without the model."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

from benchmarks.harness import Call, Disagreement, Row


def rows(quick: bool) -> list[Row]:
    prompts, n = (5, 8) if quick else (500, 32)
    size = f"{prompts} prompts, {n} candidates each"
    each: dict[str, Any] = {"items": (prompts * n, "candidates")}
    return [
        Row(
            "majority",
            "Majority, candidates given",
            size,
            partial(_rerank, "Majority", prompts, n),
            _same_answers,
            "a Counter of the answers, read by the same function",
            partial(_counter, prompts, n),
            note="ours gives a trace of every candidate, group and reason as well",
            **each,
        ),
        Row(
            "best-of-n",
            "Best-of-n, candidates and scores given",
            size,
            partial(_rerank, "BestOfN", prompts, n),
            _same_answers,
            "`max` over the scores",
            partial(_max, prompts, n),
            note="ours also reads every candidate's answer, for the trace",
            **each,
        ),
        Row(
            "best-of-n-drawn",
            "Best-of-n, candidates from a scripted model",
            size,
            partial(_answer, prompts, n),
            _same_answers,
            "the model alone, and `max` over its log-probabilities a token",
            partial(_generate, prompts, n),
            note="what the strategy adds to drawing",
            **each,
        ),
    ]


def some_candidates(prompts: int, n: int) -> list[list[Any]]:
    """Solutions of a few sentences that end in a number."""
    from polyculture.decode.base import Candidate

    draw = random.Random(0)
    return [[Candidate(_solution(draw), i, score=draw.random()) for i in range(n)] for _ in range(prompts)]


def _solution(draw: random.Random) -> str:
    steps = " ".join(f"Then {draw.randint(2, 99)} and {draw.randint(2, 99)} are added." for _ in range(4))
    return f"{steps} The answer is {min(int(draw.expovariate(0.4)), 9)}."


def _rerank(name: str, prompts: int, n: int) -> Call:
    from polyculture import decode

    strategy, pools = getattr(decode, name)(), some_candidates(prompts, n)
    return lambda: [strategy.rerank(pool, seed=0).text for pool in pools]


def _counter(prompts: int, n: int) -> Call:
    from polyculture.decode.answers import answer_key

    read, pools = answer_key("final-number"), some_candidates(prompts, n)

    def call() -> list[str]:
        found = []
        for pool in pools:
            keys = [read(candidate.text) for candidate in pool]
            best = Counter(keys).most_common(1)[0][0]
            found.append(pool[keys.index(best)].text)
        return found

    return call


def _max(prompts: int, n: int) -> Call:
    pools = some_candidates(prompts, n)
    return lambda: [max(pool, key=lambda candidate: candidate.score).text for pool in pools]


def _model() -> Any:
    from polyculture.llm.scripted import ScriptedLLM

    return ScriptedLLM(lambda prompt, index, rng: _solution(rng), score=_logprobs)


def _logprobs(prompt: Any, text: str) -> list[float]:
    words = text.split()
    return [-0.1 - (len(text) * 7 + i) % 5 / 10 for i in range(len(words))]


def _questions(prompts: int) -> list[str]:
    return [f"What is the sum of list {i}?" for i in range(prompts)]


def _answer(prompts: int, n: int) -> Call:
    from polyculture.decode.best_of_n import BestOfN

    llm, asked, strategy = _model(), _questions(prompts), BestOfN()
    return lambda: [answer.text for answer in strategy.answer_batch(llm, asked, n, seed=0)]


def _generate(prompts: int, n: int) -> Call:
    llm, asked = _model(), _questions(prompts)

    def call() -> list[str]:
        drawn = llm.generate(asked, n=n, seed=0)
        return [max(found, key=lambda c: c.logprob / max(1, c.n_tokens)).text for found in drawn]

    return call


def _same_answers(ours: list[str], peer: list[str]) -> str:
    if ours != peer:
        apart = sum(a != b for a, b in zip(ours, peer, strict=True))
        raise Disagreement(f"{apart} of {len(ours)} answers differ")
    return f"all {len(ours)} answers are the same"
