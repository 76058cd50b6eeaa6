from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.studies.string_rewriting import (
    MarkovRun,
    Rule,
    draw_restricted_rules,
    draw_rules,
    families,
    mirror,
    rewrite_once,
    run_markov,
    split_rules,
)

LETTERS = "abcdefgh"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("s", "x", "y", "expected"),
    [
        ("aaaa", "aa", "a", "aaa"),
        ("abab", "ab", "", "ab"),
        ("a.b+c", ".", "\\1", "a\\1b+c"),
        ("a.b", "a.", "$&", "$&b"),
        ("abc", "a.c", "x", "abc"),
        ("", "a", "b", ""),
        ("ab", "abc", "x", "ab"),
        ("abc", "abc", "", ""),
        ("aXbX", "X", "XX", "aXXbX"),
    ],
)
def test_the_leftmost_is_replaced_once_as_plain_text(s: str, x: str, y: str, expected: str) -> None:
    assert rewrite_once(s, x, y) == Rule(x, y).apply(s) == expected


def test_it_is_what_a_scan_from_the_left_does() -> None:
    draw = rng()
    for _ in range(300):
        s, x, y = (
            "".join("ab"[i] for i in draw.integers(2, size=n)) for n in (10, draw.integers(1, 4), draw.integers(4))
        )
        place = next((i for i in range(len(s)) if s[i : i + len(x)] == x), None)
        assert rewrite_once(s, x, y) == (s if place is None else s[:place] + y + s[place + len(x) :])


def test_an_empty_x_is_refused() -> None:
    with pytest.raises(BadInput, match="needs an x"):
        rewrite_once("abc", "", "y")
    with pytest.raises(ValueError, match="y may be empty"):
        Rule("", "y")


def test_a_markov_algorithm_sorts() -> None:
    run = run_markov("cbacba", [Rule("ba", "ab"), Rule("cb", "bc"), Rule("ca", "ac")])
    assert run.result == "aabbcc" and run.stopped == "no rule"
    assert run.trace[0] == "cbacba" and len(set(run.trace)) == len(run.trace)


def test_the_first_rule_that_applies_is_used_even_further_right() -> None:
    assert run_markov("ab", [Rule("b", "c", True), Rule("a", "d", True)]).trace == ("ab", "ac")


def test_a_markov_algorithm_stops() -> None:
    assert run_markov("a", [Rule("a", "aa")], max_steps=3) == MarkovRun(("a", "aa", "aaa", "aaaa"), "max_steps")
    assert run_markov("a", [Rule("a", "b", True), Rule("b", "c")]) == MarkovRun(("a", "b"), "terminal")
    assert run_markov("a", [Rule("a", "b")], max_steps=0) == MarkovRun(("a",), "max_steps")
    assert run_markov("x", [Rule("a", "b")], max_steps=0) == MarkovRun(("x",), "no rule")
    assert run_markov("x", []).result == "x"
    with pytest.raises(BadInput, match="max_steps = -1"):
        run_markov("a", [], max_steps=-1)


def test_families() -> None:
    assert set(families("abc", 1).values()) == {"abc"}
    assert mirror("abc", 4) == "abccbaabccba"
    assert set(families("", 3).values()) == {""}
    with pytest.raises(BadInput, match="strength"):
        families("a", -1)


@pytest.mark.parametrize("lengths", [(1, 1), (1, 4)])
def test_rules_are_different_and_nested(lengths: tuple[int, int]) -> None:
    many = draw_rules(50, LETTERS, rng(3), lengths=lengths)
    assert len(set(many)) == 50 and all(rule.x != rule.y for rule in many)
    assert {len(rule.x) for rule in many} <= set(range(lengths[0], lengths[1] + 1))
    assert draw_rules(20, LETTERS, rng(3), lengths=lengths) == many[:20]
    assert not set(draw_rules(6, LETTERS, rng(3), avoid=many)) & set(many)


def test_all_rules_of_one_letter() -> None:
    assert len(draw_rules(56, LETTERS, rng())) == 56
    assert {rule.x for rule in draw_rules(14, LETTERS, rng(), x_letters="ab")} == {"a", "b"}
    assert draw_rules(0, LETTERS, rng()) == []
    with pytest.raises(BadInput, match="there are 56"):
        draw_rules(57, LETTERS, rng())
    with pytest.raises(BadInput, match="too many"):
        draw_rules(10**6, LETTERS, rng(), lengths=(3, 3))
    with pytest.raises(BadInput, match="lengths of patterns"):
        draw_rules(1, LETTERS, rng(), lengths=(2, 1))


@pytest.mark.parametrize("family", ["repeat", "periodic", "mirror", "mixture"])
def test_restricted_rules_belong_to_a_family(family: str) -> None:
    strong = draw_restricted_rules(60, LETTERS, rng(), family=family, strengths=(3, 4))  # type: ignore[arg-type]
    for rule in strong:
        k = len(rule.x) // 2
        assert k in (3, 4) and len(rule.y) == len(rule.x)
        blocks = {rule.x[:2], rule.x[::k]}  # of periodic and mirror, and of repeat
        assert any(rule.x in families(block, k).values() for block in blocks)
    weak = draw_restricted_rules(60, LETTERS, rng(), family=family, strengths=(1, 2))  # type: ignore[arg-type]
    assert not set(weak) & set(strong) and len(set(strong)) == 60


def test_restricted_rules_that_can_t_be_had() -> None:
    with pytest.raises(UnknownMethod, match="did you mean 'mirror'"):
        draw_restricted_rules(1, LETTERS, rng(), family="miror")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="too many"):
        draw_restricted_rules(10, "ab", rng(), family="repeat", strengths=(3,))
    for wrong in ({"block_length": 9}, {"strengths": ()}, {"strengths": (0,)}):
        with pytest.raises(BadInput, match="a block needs"):
            draw_restricted_rules(1, LETTERS, rng(), **wrong)  # type: ignore[arg-type]


def test_splits_do_not_leak() -> None:
    rules = draw_rules(56, LETTERS, rng())
    train, test = split_rules([*rules, *rules], 10, rng())
    assert len(train) == 46 and len(test) == 10 and not set(train) & set(test)
    train, test = split_rules(rules, 2, rng(), by="x")
    assert len({rule.x for rule in test}) == 2 and not {rule.x for rule in train} & {rule.x for rule in test}
    assert len(train) + len(test) == 56
    for n in (0, 56):
        with pytest.raises(BadInput, match="can't be held out"):
            split_rules(rules, n, rng())
    with pytest.raises(UnknownMethod, match="way to split"):
        split_rules(rules, 1, rng(), by="y")  # type: ignore[arg-type]
