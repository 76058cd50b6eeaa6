"""The judge of iterative kMQ with a real tiny model: what it learned has no gap, and every kind of scorer works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.llm.fine_tuning import FineTuning
from polyculture.llm.scripted import ScriptedLLM
from polyculture.llm.transformers import TransformersLLM
from polyculture.llm.untrained import untrained_model
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.reading import read_pool
from polyculture.select.kmq_iterative import IterativeKMQ
from polyculture.select.kmq_model import ModelJudge
from tests.tiny_models import tiny_llama

QUICK = FineTuning(epochs=40, learning_rate=1e-2)


def pool_of(folder: Path, rows: list[dict[str, Any]]) -> Pool:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    n = len(rows)
    X = np.eye(2)[np.arange(n) % 2] + 0.01 * np.random.default_rng(0).normal(size=(n, 2))
    return read_pool(path).with_(embeddings=X, quality=np.ones(n))


@pytest.fixture
def base() -> TransformersLLM:
    return TransformersLLM(*untrained_model(context=48))


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Even rows have one answer, odd ones an unlearnable string each."""
    rng = np.random.default_rng(0)
    noise = ["".join(rng.choice(list("qxzjkvw0123456789"), 10)) for _ in range(12)]
    return pool_of(tmp_path, [{"prompt": f"{i}?", "response": noise[i] if i % 2 else "oats"} for i in range(12)])


def test_what_is_learned_has_no_gap(pool: Pool, base: TransformersLLM) -> None:
    judge = ModelJudge(pool, base, FineTuning(epochs=12, learning_rate=1e-2), max_new_tokens=12)
    gaps = judge(np.arange(12))
    assert judge.generated_[0] == "oats" and gaps.shape == (12,)
    assert np.abs(gaps[::2]).max() < 0.05 < gaps[1::2].mean()


def test_a_reward_by_hand(pool: Pool, base: TransformersLLM) -> None:
    seen: list[tuple[list[Any], list[str]]] = []

    def reward(prompts: list[Any], responses: list[str]) -> list[float]:
        seen.append((prompts, responses))
        return [len(response) for response in responses]

    judge = ModelJudge(pool, base, QUICK, scorer=reward, max_new_tokens=3)
    gaps = judge(np.array([2, 0]))
    assert seen[0] == (["2?", "0?"], ["oats", "oats"]) and seen[1] == (["2?", "0?"], judge.generated_)
    assert gaps.tolist() == [4.0 - len(text) for text in judge.generated_]
    with pytest.raises(BadInput, match="2 finite numbers"):
        ModelJudge(pool, base, scorer=lambda prompts, responses: [np.nan] * len(responses))(np.array([0, 2]))


def test_grades_of_a_language_model(pool: Pool, base: TransformersLLM) -> None:
    grader = ScriptedLLM(lambda prompt, i, rng: "10" if "\noats\n" in str(prompt) else "0")
    judge = ModelJudge(pool, base, scorer="llm", grader=grader, max_new_tokens=2)
    assert judge(np.array([0, 2])).tolist() == [1.0, 1.0]
    with pytest.raises(BadInput, match="--grader"):
        ModelJudge(pool, base, scorer="llm")
    with pytest.raises(UnknownMethod, match="perplexity"):
        ModelJudge(pool, base, scorer="perplexty")


@pytest.mark.filterwarnings("ignore:.*longer than 48 tokens")
def test_prompts_that_do_not_fit(tmp_path: Path, base: TransformersLLM) -> None:
    rows = [
        {"prompt": "p" * 99, "response": "oats"},
        {"prompt": "?", "response": "rye"},
        {"prompt": "!", "response": ""},
    ]
    judge = ModelJudge(pool_of(tmp_path, rows), base, max_new_tokens=4)
    with pytest.warns(UserWarning, match="1 of 3 prompts do not fit the 48 tokens"):
        gaps = judge(np.arange(3))
    assert np.isfinite(gaps).all() and gaps[0] == pytest.approx(gaps[1:].mean())
    with pytest.raises(BadInput, match="no prompt fits"):
        judge(np.array([0]))


def test_a_row_without_response_is_named_before_training(tmp_path: Path, base: TransformersLLM) -> None:
    pool = pool_of(tmp_path, [{"prompt": "a", "response": "b"}, {"prompt": "a", "response": None}])
    with pytest.raises(BadInput, match="row 2: column 'response' is null"):
        ModelJudge(pool, base)


def test_rounds_with_a_model_by_name(pool: Pool, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "model", context=64)
    options = {"model": str(folder), "rounds": "3", "n-clusters": "2", "learning-rate": "0.01", "epochs": "12"}
    selector = build("select", "kmq-iterative", **options, max_new_tokens="12", batch_size="4")
    rows = selector.select(pool, 9, rng=0)
    np.testing.assert_array_equal(rows, selector.select(pool, 9, rng=0))
    assert [len(r.added) for r in selector.history_] == [3, 3, 3] and selector.history_[0].scores is not None
    # The cluster of unlearnable rows has the larger gap, and so the larger weight.
    odd = int(selector.clusters_[1])
    assert selector.history_[1].weights[odd] > 0.5


def test_in_memory_models_are_left_as_they_were(pool: Pool) -> None:
    model, tokenizer = untrained_model(context=48)
    before = {name: p.clone() for name, p in model.named_parameters()}
    rows = IterativeKMQ(model=(model, tokenizer), n_clusters=2, rounds=2, max_new_tokens=2).select(pool, 4, rng=0)
    assert len(rows) == 4 and all((p == before[name]).all() for name, p in model.named_parameters())


def test_without_model_or_judge(pool: Pool) -> None:
    with pytest.raises(BadInput, match="name it with --model"):
        IterativeKMQ(n_clusters=2).select(pool, 4, rng=0)
    assert len(IterativeKMQ(n_clusters=2, rounds=1).select(pool, 4, rng=0)) == 4
