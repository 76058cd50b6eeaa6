from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from polyculture.errors import BadInput, BudgetExceeded, ModelFailure
from polyculture.llm.budget import Budget, MeteredLLM
from polyculture.llm.cache import CachedLLM
from polyculture.llm.log import LoggedLLM
from polyculture.llm.scripted import ScriptedLLM


def test_tokens_and_money_are_counted():
    budget = Budget(price_in=2.0, price_out=10.0)
    (c,) = MeteredLLM(ScriptedLLM(["one two three"]), budget).generate(["a b"])[0]
    assert (budget.calls, budget.tokens_in, budget.tokens_out) == (1, 2, 3)
    assert c.cost == pytest.approx((2 * 2.0 + 3 * 10.0) / 1e6) == budget.cost
    assert budget.spent() == "1 calls, 2 + 3 tokens, cost 3.4e-05"


@pytest.mark.parametrize(
    ("budget", "calls", "words"),
    [
        (Budget(max_calls=4), 4, "max_calls = 4"),
        (Budget(max_tokens=10), 3, "max_tokens = 10"),
        (Budget(max_cost=9e-6, price_out=1.0), 3, "max_cost = 9e-06"),
        (Budget(max_calls=0), 0, "max_calls = 0"),
    ],
)
def test_nothing_is_asked_once_a_limit_is_reached(budget: Budget, calls: int, words: str):
    llm = ScriptedLLM(["one two three"])
    with pytest.raises(BudgetExceeded, match=f"{words}.*{calls} calls, .* raise it to go on"):
        MeteredLLM(llm, budget).generate(["a"] * 20)
    assert llm.n_completions == calls == budget.calls


def test_threads_and_models_share_a_budget():
    budget = Budget(max_calls=100)
    models = [MeteredLLM(ScriptedLLM(["x"]), budget) for _ in range(4)]

    def spend(model: MeteredLLM) -> None:
        with pytest.raises(BudgetExceeded):
            for _ in range(101):
                model.generate(["a"])

    threads = [threading.Thread(target=spend, args=(m,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.calls == budget.tokens_in == 100 == sum(m.llm.n_completions for m in models)


def test_cached_completions_are_free(tmp_path: Path):
    budget = Budget(max_calls=5)
    outside = MeteredLLM(CachedLLM(ScriptedLLM(["x"]), tmp_path / "c"), budget)
    outside.generate(["a", "b"], seed=0)
    assert outside.generate(["a", "b", "c"], seed=0)[0][0].cached
    assert budget.calls == budget.tokens_in == 3


def test_bad_budgets():
    with pytest.raises(BadInput, match="max_calls should be 0 or more, not -1"):
        Budget(max_calls=-1)
    with pytest.raises(BadInput, match="max_cost needs prices"):
        Budget(max_cost=1.0)


def test_log_lines(tmp_path: Path):
    fail = ScriptedLLM(["x y"], fail=lambda turn: ModelFailure("it broke") if turn == 3 else None)
    logged = LoggedLLM(CachedLLM(fail, tmp_path / "c"), tmp_path / "logs" / "calls.jsonl")
    logged.generate(["a b c", "d"], seed=0)
    logged.generate(["d", "e"], seed=0)
    with pytest.raises(ModelFailure):
        logged.generate(["f"], seed=0)
    rows = [json.loads(line) for line in (tmp_path / "logs" / "calls.jsonl").read_text().splitlines()]
    assert [row.get("cached") for row in rows] == [False, False, True, False, None]
    assert rows[0]["tokens_in"] == 3 and rows[0]["tokens_out"] == 2 and rows[0]["model"] == "scripted"
    assert rows[0]["latency"] >= 0 and rows[2]["latency"] is None and rows[0]["error"] is None
    assert rows[1]["prompt"] == rows[2]["prompt"] != rows[0]["prompt"] and len(rows[0]["prompt"]) == 64
    assert rows[4]["error"] == "ModelFailure: it broke"
    assert "a b c" not in (tmp_path / "logs" / "calls.jsonl").read_text()


def test_texts_are_logged_only_if_asked_for(tmp_path: Path):
    LoggedLLM(ScriptedLLM(["über\nalles"]), tmp_path / "l", texts=True).generate([[{"role": "user", "content": "q"}]])
    (row,) = [json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]
    assert row["completion"] == "über\nalles" and row["prompt_text"] == [{"role": "user", "content": "q"}]


def test_threads_append_whole_lines(tmp_path: Path):
    logged = LoggedLLM(ScriptedLLM(["x" * 5000]), tmp_path / "l", texts=True)
    other = LoggedLLM(ScriptedLLM(["y" * 5000]), tmp_path / "l", texts=True)
    threads = [threading.Thread(target=m.generate, args=([f"p{i}" for i in range(50)],)) for m in (logged, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]) == 200


def test_a_log_that_can_not_be_written(tmp_path: Path):
    with pytest.raises(BadInput, match="can't write the log"):
        LoggedLLM(ScriptedLLM(["x"]), tmp_path)
