"""Every answer-level strategy of the decode stage is put through the same list."""

from __future__ import annotations

import dataclasses
import inspect
import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from polyculture.decode import METHODS
from polyculture.decode.base import Answer, Candidate, Cost, Strategy, total
from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.base import DEFAULT_SAMPLING, Completion, Prompt, Sampling, as_text
from polyculture.llm.scripted import ScriptedLLM
from polyculture.methods import argument_docs, build, parameters

STRATEGIES = [name for name in METHODS if isinstance(METHODS[name], type) and issubclass(METHODS[name], Strategy)]


def reply(prompt: Prompt, index: int, rng: random.Random) -> str:
    """Answers questions, names approaches, fuses, aggregates; all at random."""
    text = as_text(prompt)
    if "Approach 1: <name>" in text:
        return "Approach 1: algebra\nApproach 2: drawing\nApproach 3: guessing"
    if '"### Approach <number>"' in text:
        return "\n".join(f"### Approach {i}\nso A: {rng.randint(1, 3)}" for i in (1, 2, 3))
    if "FINAL ANSWER:" in text:
        return f"notes\nFINAL ANSWER: 1 and 2, so the answer is {rng.randint(1, 3)}"
    if "thinking of" in text:  # a partial solution to go on with
        return f"A: {rng.randint(1, 3)}"
    return f"thinking of {rng.randint(10, 99)}.\n\nA: {rng.randint(1, 3)}"


class Metered:
    """A model that keeps its own account of what it gave."""

    def __init__(self) -> None:
        self.inner, self.name, self.cost = ScriptedLLM(reply), "metered", Cost()

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, sampling: Sampling = DEFAULT_SAMPLING, seed: int | None = None
    ) -> list[list[Completion]]:
        priced = [
            [dataclasses.replace(c, cost=0.25 * c.n_tokens) for c in given]
            for given in self.inner.generate(prompts, n=n, sampling=sampling, seed=seed)
        ]
        self.cost = total([self.cost, *(Cost(1, c.n_prompt_tokens, c.n_tokens, c.cost) for g in priced for c in g)])
        return priced


def candidates(keys: Sequence[Any], scores: Sequence[float] | None = None) -> list[Candidate]:
    return [
        Candidate(
            f"so\nA: {key}" if key is not None else f"I do not know ({'x' * i})",
            score=0.5 if scores is None else scores[i],
            logprob=-1.0,
            cost=Cost(1, 3, 4, 0.5),
        )
        for i, key in enumerate(keys)
    ]


def make(name: str, **hyper: Any) -> Strategy:
    strategy = METHODS[name](**hyper)
    assert isinstance(strategy, Strategy)
    return strategy


@pytest.mark.parametrize("name", STRATEGIES)
class TestStrategy:
    def test_name_docs_and_parameters(self, name: str) -> None:
        method = METHODS[name]
        assert method.name == name
        assert dataclasses.is_dataclass(method) and method.__dataclass_params__.frozen
        doc = inspect.getdoc(method)
        assert doc and doc != inspect.getdoc(Strategy)
        assert set(argument_docs(doc)) == set(parameters(method)), "Args: names every hyper-parameter, and no other"
        assert all(p.help for p in parameters(method).values())
        assert not any(p.required for p in parameters(method).values())

    def test_same_seed_same_answer(self, name: str) -> None:
        strategy = make(name)
        first = strategy.answer(ScriptedLLM(reply), "how many?", 6, seed=7)
        again = strategy.answer(ScriptedLLM(reply), "how many?", 6, seed=7)
        assert first == again
        assert first.trace.seed == 7
        pool = candidates([1, 2, 2, 3], [0.1, 0.5, 0.2, 0.4])
        assert strategy.rerank(pool, seed=7) == strategy.rerank(pool, seed=7)

    def test_an_answer_does_not_depend_on_the_other_prompts(self, name: str) -> None:
        strategy = make(name)
        alone = [strategy.answer(ScriptedLLM(reply), prompt, 4, seed=1) for prompt in ("one?", "two?")]
        assert strategy.answer_batch(ScriptedLLM(reply), ["one?", "two?"], 4, seed=1) == alone

    def test_without_a_seed_one_is_drawn_and_named(self, name: str) -> None:
        answer = make(name).answer(ScriptedLLM(reply), "how many?", 3)
        assert make(name).answer(ScriptedLLM(reply), "how many?", 3, seed=answer.trace.seed) == answer

    def test_one_candidate(self, name: str) -> None:
        answer = make(name).answer(ScriptedLLM(reply), "how many?", 1, seed=0)
        assert len(answer.trace.candidates) == 1
        assert answer.text == answer.trace.candidates[0].text and answer.key in {"1", "2", "3"}
        reranked = make(name).rerank(candidates([5]), k=3)
        assert reranked.keys == ("5",) and reranked.trace.chosen == (0,)

    def test_all_equal_gives_that_answer_and_the_first(self, name: str) -> None:
        answer = make(name).rerank(candidates([4, 4, 4, 4]), seed=0)
        assert answer.key == "4" and answer.trace.chosen == (0,)

    def test_nothing_can_be_read(self, name: str) -> None:
        pool = candidates([None, None, None], [0.1, 0.9, 0.2])
        answer = make(name).rerank(pool, seed=0)
        assert answer.key is None and answer.keys[0] is None
        assert answer.text in [c.text for c in pool] and answer.trace.why
        assert len(answer.trace.candidates) == 3

    def test_unreadable_ones_are_kept_in_the_trace(self, name: str) -> None:
        answer = make(name).rerank(candidates([None, 2, 2], [0.0, 0.5, 0.5]), seed=0)
        assert [c.key for c in answer.trace.candidates] == [None, "2", "2"]

    def test_order_of_candidates_does_not_matter(self, name: str) -> None:
        keys, scores = [1, 2, 2, 2, 3, 3, None], [0.9, 0.8, 0.7, 0.6, 0.2, 0.1, 0.0]
        expected = make(name).rerank(candidates(keys, scores), seed=5).key
        rng = np.random.default_rng(0)
        for _ in range(5):
            order = rng.permutation(len(keys))
            shuffled = candidates([keys[i] for i in order], [scores[i] for i in order])
            assert make(name).rerank(shuffled, seed=5).key == expected

    def test_trace_is_complete_and_costs_add_up(self, name: str) -> None:
        meter = Metered()
        answer = make(name).answer(meter, "how many?", 3, seed=2)
        spent = answer.cost
        assert (spent.calls, spent.prompt_tokens, spent.tokens) == (
            meter.cost.calls,
            meter.cost.prompt_tokens,
            meter.cost.tokens,
        )
        assert spent.money == pytest.approx(meter.cost.money) and spent.money > 0
        trace = answer.trace
        assert trace.strategy == name and trace.why and trace.prompt == "how many?"
        assert [c.index for c in trace.candidates] == list(range(len(trace.candidates)))
        assert len(trace.candidates) == 3
        if trace.chosen:
            assert answer.text == trace.candidates[trace.chosen[0]].text
        pool = candidates([1, 2, 2], [0.3, 0.2, 0.1])
        reranked = make(name).rerank(pool, seed=2)
        assert [c.text for c in reranked.trace.candidates] == [c.text for c in pool]
        assert reranked.cost == total([c.cost for c in pool])

    def test_k_answers_are_distinct_and_best_first(self, name: str) -> None:
        pool = candidates([1, 2, 2, 3, 3, 3], [0.9, 0.5, 0.5, 0.1, 0.1, 0.1])
        answer = make(name).rerank(pool, k=3, seed=0)
        assert 1 <= len(answer.texts) == len(answer.trace.chosen) <= 3
        assert len(set(answer.trace.chosen)) == len(answer.trace.chosen)
        chosen = make(name).choose(pool, 3, seed=0)
        assert tuple(c.text for c in chosen) == answer.texts

    def test_json_round_trip(self, name: str) -> None:
        answer = make(name).answer(ScriptedLLM(reply), [{"role": "user", "content": "how many?"}], 4, seed=3)
        assert Answer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer
        extreme = make(name).rerank(candidates([1, 2, 2], [float("-inf"), 0.5, 0.0]), seed=0)
        assert Answer.from_dict(json.loads(json.dumps(extreme.to_dict()))) == extreme

    def test_parameters_round_trip(self, name: str) -> None:
        params = json.loads(json.dumps(make(name).params()))
        assert set(params) == set(parameters(METHODS[name]))
        assert build("decode", name, **params) == make(name)
        assert make(name).answer(ScriptedLLM(reply), "?", 2, seed=0).trace.params == params

    def test_bad_input(self, name: str) -> None:
        with pytest.raises(BadInput, match="at least 1"):
            make(name).rerank([])
        with pytest.raises(BadInput, match="at least 1"):
            make(name).answer(ScriptedLLM(reply), "?", 0)
        with pytest.raises(BadInput, match="at least 1"):
            make(name).rerank(candidates([1]), k=0)
        with pytest.raises(UnknownMethod, match="final-number"):
            make(name, answer_of="final-numbr").rerank(candidates([1]))

    def test_infinite_and_equal_scores(self, name: str) -> None:
        worst = make(name).rerank(candidates([1, 2], [float("-inf"), float("-inf")]), seed=0)
        assert worst.key in {"1", "2"}
        zero = make(name).rerank(candidates([1, 1, 2], [0.0, 0.0, 0.0]), seed=0)
        assert zero.key in {"1", "2"}


def test_there_are_strategies() -> None:
    assert len(STRATEGIES) >= 12
