"""Rows from files, runs that resume, and comparisons."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from polyculture.decode import BestOfMajority, BestOfN, Majority, SoftBestOfN
from polyculture.decode.base import Answer, Cost
from polyculture.decode.compare import compare_strategies, wilson
from polyculture.decode.rows import PromptRow, as_rows, read_rows, row_ids
from polyculture.decode.run import decode_candidates, decode_prompts
from polyculture.errors import BadInput, ModelFailure
from polyculture.llm.base import Prompt
from polyculture.llm.scripted import ScriptedLLM


def reply(prompt: Prompt, index: int, rng: random.Random) -> str:
    return f"A: {rng.randint(1, 3)}"


ROWS = [
    {"prompt": "p", "reference": "A: 1", "candidates": ["A: 1", "A: 2", "A: 2"]},
    {"question": "q", "answer": "#### 2", "responses": {"m": "A: 2", "n": "A: 2", "o": "A: 3 of them"}},
]


def test_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    rows = read_rows(path, need_candidates=True)
    assert [row.prompt for row in rows] == ["p", "q"] and rows[1].reference == "#### 2"
    assert [c.model for c in rows[1].candidates] == ["m", "n", "o"]
    assert rows[1].candidates[2].cost == Cost(1, 0, 5)  # 4 words at 0.75 words a token
    given = read_rows([{"prompt": "p", "candidates": [{"text": "x", "score": 0.5, "tokens": 7, "logprob": -1}]}])
    assert (given[0].candidates[0].score, given[0].candidates[0].cost.tokens) == (0.5, 7)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ('{"text": 1}', "line 2: column 'prompt' is missing; columns are text"),
        ("[]", "line 2: should be an object"),
        ('{"prompt": 3}', "should be text or a list of messages, not int"),
        ('{"prompt": [{"role": "user"}]}', "message 1 should be a dict"),
        ('{"prompt": "p"}', "there are no candidates"),
        ('{"prompt": "p", "candidates": "x"}', "should be a list, not str"),
        ('{"prompt": "p", "candidates": [3]}', "candidate 1: should be text"),
        ('{"prompt": "p", "candidates": [{"score": 3}]}', "'response' is missing"),
        ('{"prompt": "p", "candidates": [{"text": "x", "score": "high"}]}', "should be numbers"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(BadInput, match=message):
        read_rows(path, need_candidates=True)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(BadInput, match="no prompt"):
        read_rows([])
    with pytest.raises(BadInput, match="2 prompts but 1 references"):
        as_rows(["a", "b"], ["1"])


def test_a_run_writes_answers_and_traces(tmp_path: Path) -> None:
    run = decode_prompts(Majority(), ScriptedLLM(reply), ["a", "b", "a"], 5, references=["1", "2", "3"], out=tmp_path)
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    traces = [json.loads(line) for line in (tmp_path / "traces.jsonl").read_text().splitlines()]
    assert (
        sorted(a["id"] for a in answers) == sorted(t["id"] for t in traces) == sorted(row_ids(as_rows(["a", "b", "a"])))
    )
    assert run.accuracy == pytest.approx(sum(a["correct"] for a in answers) / 3)
    assert run.cost.calls == 15 and sum(a["calls"] for a in answers) == 15
    assert run.answers[0] != run.answers[2]  # the same prompt again gets samples of its own
    assert Answer.from_dict(traces[0]) in run.answers


def test_a_run_resumes_where_it_was_killed(tmp_path: Path) -> None:
    prompts = [f"prompt {i}" for i in range(10)]
    whole = decode_prompts(SoftBestOfN(), ScriptedLLM(reply), prompts, 3, seed=4)
    dying = ScriptedLLM(reply, fail=lambda turn: ModelFailure("gone") if turn >= 17 else None)
    with pytest.raises(ModelFailure):
        decode_prompts(SoftBestOfN(), dying, prompts, 3, seed=4, out=tmp_path, batch=2)
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"id": "cut o')
    with (tmp_path / "traces.jsonl").open("a") as file:
        file.write('{"id": "cut o')
    said: list[tuple[str, int, int]] = []
    fresh = ScriptedLLM(reply)
    run = decode_prompts(
        SoftBestOfN(), fresh, prompts, 3, seed=4, out=tmp_path, batch=2, progress=lambda *what: said.append(what)
    )
    assert run.resumed == 4 and fresh.n_completions == 18 and run.answers == whole.answers
    assert said[0] == ("soft-best-of-n", 4, 10) and said[-1] == ("soft-best-of-n", 10, 10)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 10
    again = decode_prompts(SoftBestOfN(), fresh, prompts, 3, seed=4, out=tmp_path)
    assert again.resumed == 10 and fresh.n_completions == 18 and again.answers == whole.answers
    more = decode_prompts(SoftBestOfN(), fresh, [*prompts, "new"], 3, seed=4, out=tmp_path)
    assert more.resumed == 10 and len(more.answers) == 11


def test_a_folder_keeps_to_its_settings(tmp_path: Path) -> None:
    decode_prompts(Majority(), ScriptedLLM(reply), ["a"], 3, out=tmp_path)
    with pytest.raises(BadInput, match=r"other settings \(n\)"):
        decode_prompts(Majority(), ScriptedLLM(reply), ["a"], 4, out=tmp_path)
    with pytest.raises(BadInput, match="strategy"):
        decode_prompts(BestOfN(), ScriptedLLM(reply), ["a"], 3, out=tmp_path)
    (tmp_path / "decode.json").unlink()
    with pytest.raises(BadInput, match=r"no decode\.json"):
        decode_prompts(Majority(), ScriptedLLM(reply), ["a"], 3, out=tmp_path)


def test_candidates(tmp_path: Path) -> None:
    rows = read_rows(ROWS)
    run = decode_candidates(Majority(), rows, out=tmp_path)
    assert [a.key for a in run.answers] == ["2", "2"] and run.correct == (False, True) and run.accuracy == 0.5
    assert decode_candidates(Majority(), rows, out=tmp_path).resumed == 2
    assert decode_candidates(Majority(), rows, k=2).accuracy == 1.0
    assert decode_candidates(Majority(), [PromptRow("p", None, rows[0].candidates)]).accuracy is None
    with pytest.raises(BadInput, match="row 1 has no candidates"):
        decode_candidates(Majority(), [PromptRow("p")])
    with pytest.raises(BadInput, match="no prompts"):
        decode_prompts(Majority(), ScriptedLLM(reply), [], 3)


def test_changed_candidates_are_decided_anew(tmp_path: Path) -> None:
    decode_candidates(Majority(), read_rows(ROWS), out=tmp_path)
    changed = [ROWS[0], {**ROWS[1], "responses": ["A: 9"]}]
    run = decode_candidates(Majority(), read_rows(changed), out=tmp_path)
    assert run.resumed == 1 and [a.key for a in run.answers] == ["2", "9"]
    assert [json.loads(line)["key"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()] == ["2", "9"]
    assert len((tmp_path / "traces.jsonl").read_text().splitlines()) == 3  # nothing is lost


def test_comparison_of_candidates() -> None:
    rows = read_rows(ROWS)
    table = compare_strategies(
        {"vote": Majority(), "long": BestOfN(score="length")},
        rows,
        reward=lambda prompts, responses: [len(r) for r in responses],
        embedder="tfidf",
    )
    assert [(r.strategy, r.n) for r in table] == [(s, n) for s in ("vote", "long") for n in (1, 2, 3)]
    last = table[2]
    assert (last.accuracy, last.coverage, last.distinct, last.unread, last.calls) == (0.5, 1.0, 2.0, 0.0, 3.0)
    assert last.accuracy_low is not None and last.accuracy_low < 0.5 < (last.accuracy_high or 0)
    assert last.reward == 4.0 and last.embedder == "tfidf" and 1 < (last.vendi or 0) <= 2
    assert table[0].coverage == table[3].coverage  # every strategy sees the same candidates
    assert json.loads(json.dumps(last.to_dict()))["k"] == 1


def test_comparison_with_a_model() -> None:
    table = compare_strategies(
        {"m": Majority(), "b": BestOfMajority()}, as_rows(["a", "a", "b"]), ns=[2, 4], llm=ScriptedLLM(reply)
    )
    assert [(r.n, r.calls, r.accuracy) for r in table] == [(2, 2.0, None), (4, 4.0, None)] * 2
    with pytest.raises(BadInput, match="give a model"):
        compare_strategies({"m": Majority()}, as_rows(["a"]))
    with pytest.raises(BadInput, match="needs prompts"):
        compare_strategies({}, as_rows(["a"]))


def test_wilson() -> None:
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1
