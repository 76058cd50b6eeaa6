from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest

from polyculture.decode import DivSE, IDivSE
from polyculture.decode.approaches import (
    ApproachBank,
    Pair,
    build_bank,
    frequent_approaches,
    independent_majority,
    inference_cost,
    pair_prompt,
    parse_names,
    select_pairs,
)
from polyculture.decode.div_se import error_propagates, parse_solutions
from polyculture.errors import BadInput
from polyculture.llm.base import Prompt, as_text
from polyculture.llm.scripted import ScriptedLLM
from polyculture.methods import build

BANK = ApproachBank((Pair("a teacher", "algebra", 0.9), Pair("none", "drawing", 0.8), Pair("none", "guessing", 0.1)))


def solver(prompt: Prompt, index: int, rng: random.Random) -> str:
    """Knows the answer (the number in the question) by algebra; other approaches are off by one."""
    text = as_text(prompt)
    if "Approach 1: <name>" in text:
        return "Approach 1: Algebra.\nApproach 2: Guessing\nnot a name"
    if "Persona 1: <name>" in text:
        return "Persona 1: Emmy Noether"
    if text.startswith("User: Rewrite"):
        return "rewritten by algebra"
    number = int(text.rsplit("number ", 1)[1].split()[0].rstrip("?"))
    return f"A: {number if 'algebra' in text else number + 1}"


def test_names() -> None:
    assert parse_names("Approach 1: A\nthe Approach 2: no\n approach 3 : *B*\nApproach 4: " + "x" * 61, 5) == ["A", "B"]
    assert parse_names("Approach 1: A\nApproach 2: B", 1) == ["A"]
    assert frequent_approaches([["x", "X."], ["y"], ["y"]], 5) == (["y", "x"], {"x": 1, "y": 2})
    assert frequent_approaches([], 3) == ([], {})


def test_pairs_and_costs() -> None:
    assert select_pairs({"a": 0.1, "b": 0.5, "c": 0.5}, 2) == ["b", "c"]
    assert inference_cost(75, 150, 0.03, 0.06) == pytest.approx((100 * 0.03 + 200 * 0.06) / 1000)
    assert independent_majority([0.8]) == pytest.approx(0.8)
    assert independent_majority([0.5, 0.5]) == pytest.approx(0.25)  # a tie is no majority
    for bad in ([], [1.2]):
        with pytest.raises(BadInput):
            independent_majority(bad)


def test_bank_keeps_what_works() -> None:
    questions = [f"the number {i}?" for i in range(4)]
    bank = build_bank(
        ScriptedLLM(solver), questions, [(q, str(i)) for i, q in enumerate(questions)], size=2, examples=[("q", "s")]
    )
    assert [(p.persona, p.approach, p.accuracy) for p in bank.pairs] == [
        ("none", "algebra", 1.0),
        ("Emmy Noether", "algebra", 1.0),
    ]
    assert bank.counts == {"algebra": 10, "guessing": 10}
    assert bank.accuracies["none|guessing"] == 0.0 and len(bank.accuracies) == 4
    assert bank.pairs[0].examples == (("q", "rewritten by algebra"),)
    assert bank.cost.calls == 10 + 1 + 4 * 4 + 2
    assert ApproachBank.from_dict(json.loads(json.dumps(dataclasses.asdict(bank)))) == bank
    for wrong in ({"questions": []}, {"validation": []}, {"b": 6}):
        with pytest.raises(BadInput):
            build_bank(ScriptedLLM(solver), **{"questions": questions, "validation": [("q", "1")], **wrong})  # type: ignore[arg-type]


def test_votes_with_the_best_pairs_at_temperature_zero() -> None:
    llm = ScriptedLLM(solver)
    answer = DivSE(bank=BANK).answer(llm, "the number 7?", 3, seed=0)
    assert [c.key for c in answer.trace.candidates] == ["7", "8", "8"] and answer.key == "8"
    assert [c.details["approach"] for c in answer.trace.candidates] == ["algebra", "drawing", "guessing"]
    assert DivSE(bank=BANK).answer(llm, "the number 7?", 2, seed=0).key == "7"  # a tie: the better pair
    assert len(DivSE(bank=BANK).answer(llm, "the number 7?", 9, seed=0).trace.candidates) == 3
    assert as_text(pair_prompt(BANK.pairs[0], "q", "end")).startswith("System: You are a teacher.")


def test_bank_survives_json(tmp_path: Path) -> None:
    strategy = DivSE(bank=BANK)
    path = tmp_path / "bank.json"
    path.write_text(json.dumps(strategy.params()["bank"]))
    assert DivSE(bank=str(path)) == build("decode", "div-se", bank=str(path)) == strategy
    path.write_text("[]")
    with pytest.raises(BadInput, match="a bank of approaches, not list"):
        DivSE(bank=str(path))
    with pytest.raises(BadInput, match="can't be read"):
        DivSE(bank=str(tmp_path / "none.json"))
    assert DivSE(**json.loads(json.dumps(strategy.params()))).bank == BANK


def test_fit_and_verifier_and_meta() -> None:
    fitted = DivSE().fit(ScriptedLLM(solver), ["the number 1?"], [("the number 1?", "1")], size=1, c=2)
    assert fitted.bank.pairs[0].approach == "algebra"  # type: ignore[union-attr]
    strict = DivSE(bank=BANK, verifier=lambda prompt, text: text == "A: 7")
    assert strict.answer(ScriptedLLM(solver), "the number 7?", 3, seed=0).key == "7"

    def thinker(prompt: Prompt, index: int, rng: random.Random) -> str:
        return "so A: 42" if "<solution" in as_text(prompt) else solver(prompt, index, rng)

    meta = DivSE(bank=BANK, aggregator="meta").answer(ScriptedLLM(thinker), "the number 7?", 3, seed=0)
    assert meta.key == "42" and meta.cost.calls == 4
    unsure = DivSE(bank=BANK, aggregator="meta").rerank(meta.trace.candidates, llm=ScriptedLLM(["dunno"]))
    assert unsure.key == "8" and "no answer" in unsure.trace.why


def test_equal_prompts_are_pointed_out() -> None:
    twice = ApproachBank((BANK.pairs[0], BANK.pairs[0]))
    with pytest.warns(UserWarning, match="same prompt"):
        DivSE(bank=twice).answer(ScriptedLLM(solver), "the number 7?", 2, seed=0)


def test_one_call() -> None:
    reply = "### Approach 1: algebra\nA: 7\n### Approach 3\nA: 7\n### Approach 9\nA: 1"
    answer = IDivSE(bank=BANK).answer(ScriptedLLM([reply]), "q", 3, seed=0)
    assert [c.key for c in answer.trace.candidates] == ["7", None, "7"] and answer.key == "7"
    assert answer.cost.calls == 1 and answer.trace.steps[0].details["missing"] == [1]
    with pytest.warns(UserWarning, match="cut off"):
        long = "### Approach 1\n" + "x " * 2000
        assert IDivSE(bank=BANK).answer(ScriptedLLM([long]), "q", 3, seed=0).trace.steps[0].details["cut"]
    assert parse_solutions("A: 3", 3) == {0: "A: 3"} and parse_solutions(" ", 3) == {}


def test_error_propagation() -> None:
    strategy = IDivSE(bank=BANK)
    assert error_propagates(strategy, ScriptedLLM(["A: 5"]), "q", "8")
    assert not error_propagates(strategy, ScriptedLLM(["A: 5", "A: 8"]), "q", "8")
