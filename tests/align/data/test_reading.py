"""Rows as encoded data sets: what is set aside, what was cut, and how little memory the checks take."""

from __future__ import annotations

from typing import Any

import pytest

from polyculture.align.data.encoding import EncodedExamples, Encoder
from polyculture.align.data.reading import RowReader
from polyculture.align.objective import Objective
from polyculture.errors import BadInput
from tests.tiny_models import train_tokenizer

Rows = list[dict[str, Any]]


def reader(vocabulary: int = 384, max_length: int = 64) -> RowReader:
    return RowReader(Objective.of("dpo"), Encoder(train_tokenizer(), max_length), vocabulary)


def test_what_is_set_aside_and_cut_adds_up(preferences: Rows) -> None:
    held = reader(max_length=16)
    first = held.read([*preferences[:3], {**preferences[3], "chosen": ""}], "train")
    cut = held.cuts.tokens
    again = held.read([{**preferences[4], "rejected": " "}, preferences[5]], "held out")
    assert (len(first), len(again)) == (3, 1) and 0 < cut < held.cuts.tokens
    assert [one.place for one in held.rejected] == ["train row 4", "held out row 1"]
    assert held.read(first, "again") is first


def test_tokens_are_checked_without_making_lists_of_all_examples(
    preferences: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    one = EncodedExamples.__getitem__
    monkeypatch.setattr(EncodedExamples, "__getitem__", lambda held, i: asked.append(i) or one(held, i))
    data = reader().read(preferences, "data")
    assert not asked
    highest, row = data.examples.tokens.largest()
    with pytest.raises(BadInput, match=rf"data row {row + 1}: token {highest} .* is beyond the {highest} that"):
        reader(vocabulary=highest).read(preferences, "data")
