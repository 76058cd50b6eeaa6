"""The rows of the training step: both trainers compute the same, and a difference is noticed."""

import pytest

from benchmarks.dpo_step import preferences, rows, tokenizer
from benchmarks.harness import Disagreement

ROWS = {row.name: row for row in rows(True)}


def test_trainers_agree_and_a_difference_is_noticed():
    row = ROWS["dpo-long-prompts-1000"]
    ours, peer = row.ours()(), row.theirs()()
    assert "over 2 steps" in row.check(ours, peer) and "losses by" in row.check(ours, peer)
    assert peer[1]["loss"] < peer[0]["loss"] and peer[0]["gradient"] > 0
    with pytest.raises(Disagreement, match=r"losses differ by up to 1\.0e-02"):
        row.check([step | {"loss": 1.01 * step["loss"]} for step in peer], peer)
    with pytest.raises(Disagreement, match="norms of the gradients differ"):
        row.check([step | {"gradient": float("nan")} for step in peer], peer)
    with pytest.raises(Disagreement, match="ours took 1 steps"):
        row.check(ours[:1], peer)


def test_references_agree_and_a_difference_is_noticed():
    row = ROWS["dpo-reference-1000"]
    ours, peer = row.ours()(), row.theirs()()
    assert "log-probabilities of completions" in row.check(ours, peer)
    with pytest.raises(Disagreement, match=r"differ by up to 1\.0e-03"):
        row.check([[1.001 * value for value in pair] for pair in peer], peer)


def test_checkpointing_is_on_in_its_row_alone():
    assert [name for name, row in ROWS.items() if "checkpointing" in row.what] == ["dpo-checkpointing-1000"]


def test_every_word_is_a_token():
    from benchmarks.dpo_step import Size

    pair = preferences(Size(104, 24, 8))[0]
    words = pair["prompt"].split()
    assert 18 <= len(words) <= 30
    assert tokenizer(104)(pair["prompt"])["input_ids"] == [int(word[1:]) for word in words]
