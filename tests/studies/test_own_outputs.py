from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.report.policies import policy_table, render_policies
from polyculture.studies.own_outputs import Outputs, compare_outputs, read_outputs
from polyculture.studies.policy_comparison import paired_win_values

PROMPTS = [f"prompt {i}" for i in range(24)]


def outputs(*, same: bool = False, score: float = 0.0, prompts: list[str] = PROMPTS, k: int = 4) -> Outputs:
    texts = {
        p: [f"{p} word{0 if same else j} says this and that {0 if same else j}" for j in range(k)] for p in prompts
    }
    scores = {p: [score + i % 3 + j / 10 for j in range(k)] for i, p in enumerate(prompts)}
    return Outputs(texts, scores, {}, {})


def length(prompts: Any, answers: Any) -> np.ndarray:
    return np.array([float(len(answer)) for answer in answers])


def test_every_policy_is_compared_with_the_first() -> None:
    found = compare_outputs({"base": outputs(), "tuned": outputs(same=True, score=5), "other": outputs()})
    wins = {name: policy.measured["inside"].wins for name, policy in found.policies.items()}
    assert (wins["base"] == 0.5).all() and (wins["tuned"] == 1).all() and (wins["other"] == 0.5).all()
    verdicts = {claim.text: claim.verdict for claim in found.claims}
    assert verdicts["tuned wins more than base in distribution"] == "yes"
    assert verdicts["tuned is less varied than base for one input (ead)"] == "yes"
    assert verdicts["other wins more than base in distribution"] == "not shown"
    assert found.judge == "the scores in the data" and found.places == ["inside"] and found.first == "base"
    assert "against base's responses, on 24 prompts with 4 responses each" in found.notes[0]


def test_references_shifted_prompts_and_a_judge() -> None:
    base, tuned = outputs(), outputs(same=True)
    base.references.update(dict.fromkeys(PROMPTS, ""))
    shifted = [f"odd {i}" for i in range(8)]
    found = compare_outputs(
        {"base": base, "tuned": tuned},
        {"tuned": outputs(prompts=shifted), "base": outputs(prompts=shifted)},
        judge=length,
        judge_name="length",
    )
    assert (found.policies["base"].measured["inside"].wins == 1).all(), "every answer is longer than none"
    assert found.policies["tuned"].gap == pytest.approx(0.5)
    assert "the lead of tuned over base grows with the shift" in {claim.text for claim in found.claims}
    assert (
        "against the reference answers" in found.notes[0] and "out of distribution are against base's" in found.notes[1]
    )
    page = render_policies(found, title="Compared")
    for shown in ("Compared with base", "Wins are counted by length", "share of base&#39;s diversity"):
        assert shown in page or shown.replace("&#39;", "'") in page
    assert "nats from SFT" not in policy_table(found).columns
    assert json.loads(json.dumps(found.to_dict()))["compared_at_equal_quality"] is None


def test_pairs_of_outputs_are_counted_and_ties_half() -> None:
    assert paired_win_values(np.array([[1.0, 3.0]]), np.array([[1.0, 2.0, 4.0]])).tolist() == [pytest.approx(2.5 / 6)]
    with pytest.raises(BadInput, match="have shapes"):
        paired_win_values(np.zeros((2, 3)), np.zeros((3, 3)))


def test_rows_of_either_form_are_read(tmp_path: Path) -> None:
    one = [{"prompt": "a", "responses": ["x", "y"], "scores": [1, 2], "reference": "z", "reference_score": 1.5}]
    many = [{"prompt": "a", "response": t, "score": s} for t, s in (("x", 1), ("y", 2))]
    (tmp_path / "one.jsonl").write_text(json.dumps(one[0]))
    first, second = read_outputs(str(tmp_path / "one.jsonl")), read_outputs(many)
    assert first.responses == second.responses == {"a": ["x", "y"]}
    assert first.scores == second.scores == {"a": [1.0, 2.0]}
    assert (first.references, first.reference_scores) == ({"a": "z"}, {"a": 1.5})
    chat = read_outputs([{"prompt": [{"role": "user", "content": "Hi"}], "responses": ["x", "y"]}])
    assert chat.scores is None and "Hi" in next(iter(chat.responses))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}], "row 1: it should have 'prompt'"),
        ([{"prompt": "a", "responses": "b"}], "list of texts"),
        ([{"prompt": "a", "responses": ["b", "c"], "scores": [1]}], "1 scores of 2 responses"),
        ([{"prompt": "a", "response": "b", "score": "good"}], "a score is no number"),
        ([{"prompt": "a", "response": "b", "score": 1}, {"prompt": "a", "response": "c"}], "and some none"),
        ([{"prompt": "a", "response": "b", "score": float("inf")}], "not finite"),
    ],
)
def test_rows_that_can_not_be_read(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_outputs(rows)


def test_what_can_not_be_compared() -> None:
    base = outputs()
    with pytest.raises(BadInput, match="two policies or more"):
        compare_outputs({"base": base})
    with pytest.raises(BadInput, match="other lacks 4 and has 0 more, such as 'prompt 20'"):
        compare_outputs({"base": base, "other": outputs(prompts=PROMPTS[:20])})
    with pytest.raises(BadInput, match="nothing to count wins with"):
        compare_outputs({"base": base, "other": Outputs(base.responses, None, {}, {})})
    with pytest.raises(BadInput, match="a single response"):
        compare_outputs({"base": base, "other": outputs(k=1)})
    with pytest.raises(BadInput, match="on shifted prompts too"):
        compare_outputs({"base": base, "other": base}, {"base": base})
    with pytest.raises(BadInput, match="there is 1 prompt"):
        compare_outputs({"base": outputs(prompts=["a"]), "other": outputs(prompts=["a"])})
    base.reference_scores["prompt 3"] = 1.0
    with pytest.raises(BadInput, match="23 prompts have no 'reference_score'"):
        compare_outputs({"base": base, "other": base})


def test_as_many_responses_of_each_are_compared() -> None:
    found = compare_outputs({"base": outputs(k=6), "other": outputs(k=3)})
    assert "the first 3 of each are compared" in found.notes[0]
    assert len(found.policies["base"].measured["inside"].across["ead"]) == 3
