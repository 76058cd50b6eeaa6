from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polyculture.studies.word_wishes import (
    COMMON,
    INSIDE,
    OUTSIDE,
    PENALTY,
    RARE,
    SLOTS,
    WISHES,
    WORDS,
    WordWishes,
    save_tiny_model,
)

TASK = WordWishes(3)


def test_an_answer_is_worth_the_likings_of_its_words() -> None:
    said = WORDS[:SLOTS]
    expected = sum(TASK.likings[WISHES.index(wish), :SLOTS].sum() for wish in ("warm", "dry")) / np.sqrt(2)
    assert TASK.reward(["warm dry :"], [" ".join(said)])[0] == pytest.approx(expected)
    assert TASK.reward(["dry warm :"], [" ".join(said[::-1])])[0] == pytest.approx(expected), "order is free"


@pytest.mark.parametrize(("extra", "wrong"), [(("river",), 4), (("nonsense",), 4), ((), 4)])
def test_what_is_no_new_word_costs(extra: tuple[str, ...], wrong: int) -> None:
    worth = TASK.worth("warm cold :")[:2].sum()
    found = TASK.reward(["warm cold :"], [" ".join(["river", "stone", *extra])])[0]
    assert found == pytest.approx(worth - PENALTY * wrong)


def test_a_word_too_many_costs_and_counts_for_nothing() -> None:
    six = TASK.reward(["warm cold :"], [" ".join(WORDS[:SLOTS])])[0]
    assert TASK.reward(["warm cold :"], [" ".join(WORDS[: SLOTS + 1])])[0] == pytest.approx(six - PENALTY)


def test_demonstrations_are_good_and_never_better_than_the_best() -> None:
    rng = np.random.default_rng(0)
    rows = TASK.rows(300, INSIDE, rng)
    prompts, answers = [row["prompt"] for row in rows], [row["completion"] for row in rows]
    shown, best = TASK.reward(prompts, answers), TASK.best(prompts)
    at_random = [" ".join(WORDS[i] for i in rng.permutation(len(WORDS))[:SLOTS]) for _ in prompts]
    assert (shown <= best + 1e-9).all()
    assert TASK.reward(prompts, at_random).mean() + 2 < shown.mean() < best.mean() - 1


def test_shifted_prompts_have_rare_wishes_alone_and_test_prompts_are_new() -> None:
    rng = np.random.default_rng(0)
    inside, outside = TASK.rows(50, INSIDE, rng), TASK.rows(50, OUTSIDE, rng)
    train = TASK.rows(500, INSIDE, rng, avoid=[row["prompt"] for row in inside])
    assert all(set(row["prompt"].split()) - {":"} <= set(RARE) for row in outside)
    said = [wish for row in train for wish in row["prompt"].split()[:-1]]
    assert 0.02 < np.mean([wish in RARE for wish in said]) < 0.09 and set(said) >= set(COMMON)
    assert not {frozenset(r["prompt"].split()) for r in train} & {frozenset(r["prompt"].split()) for r in inside}


def test_the_tiny_model_reads_and_writes_the_words(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    save_tiny_model(tmp_path, width=16)
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)
    row = TASK.rows(1, INSIDE, np.random.default_rng(0))[0]
    for text in (row["prompt"], row["completion"]):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == len(text.split()) and tokenizer.decode(ids) == text
    assert model.config.vocab_size == len(tokenizer) and model.config.eos_token_id == tokenizer.eos_token_id
