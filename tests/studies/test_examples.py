from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.studies.budgets import budget_split
from polyculture.studies.examples import rewriting_examples
from polyculture.studies.string_rewriting import draw_rules

LETTERS = "abcdefgh"


def test_examples_are_right_and_different() -> None:
    rules = draw_rules(30, LETTERS, np.random.default_rng(0), lengths=(1, 3))
    rng = np.random.default_rng(1)
    train = rewriting_examples(rules, budget_split(1000, 30), LETTERS, rng, lengths=(5, 9), no_op=0.3)
    assert len(train) == len({(e.s, e.x, e.y) for e in train}) == 1000
    assert {len(e.s) for e in train} == set(range(5, 10))
    absent = [e for e in train if e.no_op]
    assert len(absent) == 300
    assert all(e.x not in e.s and e.output == e.s for e in absent)
    for e in train:
        if not e.no_op:
            at = e.s.index(e.x)
            assert e.output == e.s[:at] + e.y + e.s[at + len(e.x) :]
    test = rewriting_examples(rules, budget_split(500, 30), LETTERS, rng, lengths=(5, 9), avoid=train)
    assert not {(e.s, e.x, e.y) for e in train} & {(e.s, e.x, e.y) for e in test}


def test_sizes_are_kept() -> None:
    rules = draw_rules(3, LETTERS, np.random.default_rng(0))
    found = rewriting_examples(rules, [5, 0, 2], LETTERS, np.random.default_rng(0))
    assert [sum((e.x, e.y) == (r.x, r.y) for e in found) for r in rules] == [5, 0, 2]
    again = rewriting_examples(rules, [5, 0, 2], LETTERS, np.random.default_rng(0))
    assert found == again
    assert rewriting_examples(rules, [0, 0, 0], LETTERS, np.random.default_rng(0)) == []


def test_examples_that_can_t_be_had() -> None:
    rules = draw_rules(1, LETTERS, np.random.default_rng(0), lengths=(3, 3))
    rng = np.random.default_rng(0)
    with pytest.raises(BadInput, match="does not fit strings of 2"):
        rewriting_examples(rules, [1], LETTERS, rng, lengths=(2, 4))
    with pytest.raises(BadInput, match="no new string with"):
        rewriting_examples(rules, [2], LETTERS, rng, lengths=(3, 3))
    with pytest.raises(BadInput, match="no new string without 'a'"):
        rewriting_examples(draw_rules(1, "ab", rng, x_letters="a"), [3], "ab", rng, lengths=(1, 1), no_op=1.0)
    with pytest.raises(BadInput, match="share of the examples"):
        rewriting_examples(rules, [1], LETTERS, rng, no_op=1.5)
    with pytest.raises(BadInput, match="lengths of strings"):
        rewriting_examples(rules, [1], LETTERS, rng, lengths=(0, 4))
