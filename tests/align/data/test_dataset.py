"""Completions of other prompts: the reference point of KTO."""

from __future__ import annotations

import pytest

from polyculture.align.data.dataset import EncodedDataset, with_mismatched
from polyculture.align.data.encoding import Encoded
from polyculture.errors import BadInput


def examples(*prompts: int) -> list[Encoded]:
    return [Encoded([prompt], ([10 + i, 1],), {}) for i, prompt in enumerate(prompts)]


def test_the_next_example_of_another_prompt_lends_its_completion_around_the_end() -> None:
    found = with_mismatched(examples(5, 5, 6, 6, 5), 20)
    assert [one.completions[1][0] for one in found] == [12, 12, 14, 14, 12]
    assert [one.completions[0][0] for one in found] == [10, 11, 12, 13, 14]


def test_others_lend_where_there_is_one_prompt() -> None:
    found = with_mismatched(examples(5, 5), 20, examples(5, 7))
    assert [one.completions[1] for one in found] == [[11, 1], [11, 1]]
    with pytest.raises(BadInput, match="there is one prompt"):
        with_mismatched(examples(5, 5), 20, examples(5))


def test_what_is_borrowed_is_cut_to_fit() -> None:
    long = [Encoded([5, 5, 5], ([8, 1],), {}), Encoded([6], ([1, 2, 3, 4],), {})]
    assert with_mismatched(long, 5)[0].completions[1] == [1, 2]


def test_many_examples_of_two_prompts_take_no_long() -> None:
    found = with_mismatched([Encoded([int(i < 30_000)], ([i, 1],), {}) for i in range(60_000)], 20)
    assert found[0].completions[1] == [30_000, 1] and found[-1].completions[1] == [0, 1]


def test_examples_of_another_kind_are_refused() -> None:
    data = EncodedDataset([Encoded([5], ([6, 1], [7, 1]), {"margin": 1.0})], kind="pairs")
    data.check_fits("pairs", ("margin",), "dpo")
    with pytest.raises(BadInput, match="encoded as pairs, and 'kto' trains on labels"):
        data.check_fits("labels", (), "kto")
    with pytest.raises(BadInput, match="lacks the column 'weight', which 'mine' needs"):
        data.check_fits("pairs", ("weight",), "mine")
    EncodedDataset(data.examples).check_fits("labels", (), "kto")  # made by hand: it is not known what it is
