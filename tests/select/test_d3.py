"""D3: the weighted k-center by hand, its weights and their sources, a model that is tuned, and input it can't use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.llm.scripted import ScriptedLLM
from polyculture.llm.untrained import untrained_model
from polyculture.pool import Pool
from polyculture.quality.columns import with_columns
from polyculture.reading import read_pool
from polyculture.select.d3 import D3, weighted_k_center


def test_by_hand() -> None:
    X = [[0.0], [1.0], [10.0], [10.0]]
    cover = weighted_k_center(X, [1.0, 2.0, 0.5, 0.5], 4)
    # Largest weight; then 0.5 * 9 before 1 * 1; then row 0; the duplicate of row 2 last, with no gain.
    assert cover.rows.tolist() == [1, 2, 0, 3]
    assert cover.gains.tolist() == pytest.approx([4.5, 1.0, 0.0])
    assert cover.radius == 0.0
    assert weighted_k_center(X, [1.0, 2.0, 0.5, 0.5], 1).radius == pytest.approx(4.5)
    assert weighted_k_center(X, [[1, 2, 1, 1], [1, 1, 0.5, 0.5]], 2).rows.tolist() == [1, 2]


def test_centres_given_beforehand_and_ties() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    cover = weighted_k_center(X, np.ones(4), 3, chosen=[1])
    assert cover.rows.tolist() == [1, 3, 0] and cover.gains.tolist() == [2.0, 1.0]
    assert weighted_k_center(X, np.zeros(4), 3).rows.tolist() == [0, 1, 2]
    assert weighted_k_center(X, np.ones(4), 1, chosen=[2]).gains.shape == (0,)


def test_against_brute_force_far_from_the_origin() -> None:
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(40, 3)) + 1e6, rng.random(40)
    X[7] = X[3]
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    rows = [int(w.argmax())]
    while len(rows) < 40:
        value = np.where(np.isin(np.arange(40), rows), -1, w * D[:, rows].min(axis=1))
        rows.append(int(value.argmax()))
    assert weighted_k_center(X, w, 40).rows.tolist() == rows


def test_bad_weights_and_sizes() -> None:
    X = np.zeros((3, 1))
    for weights in ([1, -1, 1], [1, np.nan, 1], [1, 1]):
        with pytest.raises(BadInput, match="3 finite numbers of 0 or more"):
            weighted_k_center(X, weights, 2)
    with pytest.raises(BadInput, match="between 1 and the 3 rows"):
        weighted_k_center(X, np.ones(3), 4)
    with pytest.raises(BadInput, match="between 2 and"):
        weighted_k_center(X, np.ones(3), 1, chosen=[0, 1])


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    return Pool.from_arrays(
        rng.normal(size=(30, 4)), quality=rng.uniform(0.1, 1, 30), texts=[f"t{i}" for i in range(30)]
    )


def test_sources_of_weights(pool: Pool) -> None:
    difficulty = np.linspace(0.1, 1, 30)
    held = with_columns(pool, hard=difficulty, sure=1 - difficulty / 2)
    want = weighted_k_center(pool.X, difficulty * (1 - difficulty / 2), 8).rows
    np.testing.assert_array_equal(D3(difficulty="hard", dependability="sure").select(held, 8), want)
    both = D3(difficulty="hard")
    np.testing.assert_array_equal(both.select(held, 8), weighted_k_center(pool.X, difficulty * pool.q, 8).rows)
    assert both.radius_ > 0 and len(both.gains_) == 7
    np.testing.assert_array_equal(both.difficulty_, difficulty)
    alone = D3(difficulty="none", dependability="none")
    np.testing.assert_array_equal(alone.select(held, 8), weighted_k_center(pool.X, np.ones(30), 8).rows)
    assert alone.required() == ("embeddings",)


def test_rounds_keep_what_was_chosen(pool: Pool) -> None:
    seen: list[list[int]] = []

    def difficulties(rows: np.ndarray) -> np.ndarray:
        seen.append(rows.tolist())
        return np.where(np.arange(30) % 2 == len(rows) % 2, 1.0, 1e-9)

    rows = D3(difficulty=difficulties, dependability="none", rounds=3).select(pool, 7)
    assert [len(part) for part in seen] == [0, 2, 5]
    assert seen[2] == rows[:5].tolist()
    assert (rows[:2] % 2 == 0).all() and (rows[2:5] % 2 == 0).all() and (rows[5:] % 2 == 1).all()


def test_all_weights_zero_is_told_and_distance_decides(pool: Pool) -> None:
    with pytest.warns(UserWarning, match="every weight is 0"):
        rows = D3(difficulty="none").select(pool.with_(quality=np.zeros(30)), 5)
    np.testing.assert_array_equal(rows, weighted_k_center(pool.X, np.ones(30), 5).rows)


def test_what_it_refuses(pool: Pool) -> None:
    with pytest.raises(BadInput, match="name one with --model"):
        D3().select(pool, 3)
    with pytest.raises(BadInput, match="name a language model with --judge"):
        D3(difficulty="none", dependability="judge").select(pool, 3)
    with pytest.raises(BadInput, match=r"row 1: dependability is -1.*shift it"):
        D3(difficulty="none").select(pool.with_(quality=np.full(30, -1.0)), 3)
    with pytest.raises(BadInput, match="rounds"):
        D3(difficulty="none", rounds=0).select(pool, 3)
    with pytest.raises(BadInput, match="difficulty has shape"):
        D3(difficulty=lambda rows: np.ones(3)).select(pool, 3)


def test_with_a_model_and_a_judge(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"{i} + 1 =", "response": str(i + 1)} for i in range(12)]
    rows[5]["response"] = ""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = read_pool(path).with_(embeddings=np.random.default_rng(0).normal(size=(12, 3)))
    model, tokenizer = untrained_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    judge = ScriptedLLM(lambda prompt, i, rng: "2" if "\n3\n" in str(prompt) else "9")
    selector = D3((model, tokenizer), dependability="judge", judge=judge, rounds=2, warm_up=0.2, learning_rate=1e-3)
    chosen = selector.select(pool, 4, rng=0)
    np.testing.assert_array_equal(chosen, selector.select(pool, 4, rng=0))
    assert selector.difficulty_[5] == 0 and selector.dependability_[5] == 0  # nothing to learn from an empty response
    assert 5 not in chosen and selector.dependability_[2] == 0.2
    assert ((selector.difficulty_ >= 0) & (selector.difficulty_ <= 1)).all()
    assert all((p == before[name]).all() for name, p in model.named_parameters()), "the model given was changed"
    untuned = D3((model, tokenizer), dependability="none", warm_up=0.0)
    untuned.select(pool, 4, rng=0)
    assert not np.allclose(untuned.difficulty_, selector.difficulty_)


def test_ties_on_a_lattice_go_to_the_first_row() -> None:
    X = np.array([[i, j] for i in range(7) for j in range(7)], dtype=float) * 0.1 + 0.3
    D = np.linalg.norm(X[:, None] - X[None], axis=2).round(12)
    rows = [0]
    while len(rows) < 49:
        value = np.where(np.isin(np.arange(49), rows), -1, D[:, rows].min(axis=1))
        rows.append(int(value.argmax()))
    assert weighted_k_center(X, np.ones(49), 49).rows.tolist() == rows
