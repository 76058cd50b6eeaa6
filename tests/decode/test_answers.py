from __future__ import annotations

import pytest

from polyculture.decode.answers import answer_key, boxed, check, choice, exact_match, final_number, parse_choice
from polyculture.errors import BadInput, UnknownMethod


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 72", "72"),
        ("3 + 4 = 7\n#### 1,072.", "1072"),
        ("16 - 9 = <<16-9=7>>7\nA: 18", "18"),
        ("A: $18.50", "18.5"),
        ("A: 2 * 9 = 18 dollars", "18"),
        ("The answer is 7. Not 8.", "7"),
        (r"\boxed{\frac{2}{4}} and 9", "0.5"),
        (r"first \boxed{3}, then \boxed{\text{about } 12}", "12"),
        ("3 eggs and 4 more make 7.", "7"),
        ("-5", "-5"),
        ("16-3", "3"),
        ("16 - 3", "3"),
        ("it is -$1,200.50", "-1200.5"),
        ("$-5", "-5"),
        ("minus sign −5", "-5"),
        ("2/6", "1/3"),
        ("2/4", "0.5"),
        ("3 1/2 cups", "3.5"),
        (".5", "0.5"),
        ("3.0", "3"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("70% of them", "70"),
        ("007", "7"),
        ("-0", "0"),
        ("1/0", None),
        ("no number", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == number


def test_equal_values_share_a_key() -> None:
    assert (
        len({final_number(t) for t in ("A: 0.5", "A: 1/2", r"\boxed{\frac12}".replace("12", "{1}{2}"), "A: .50")}) == 1
    )


def test_exact_match() -> None:
    assert exact_match("  'The  HAGUE'. ") == "the hague"
    assert exact_match(" . ") is None
    assert exact_match("-5") != exact_match("5")


def test_boxed() -> None:
    assert boxed(r"\boxed{x^2 + 1}") == "x^2+1"
    assert boxed(r"\boxed{0.50}") == "0.5"
    assert boxed(r"\boxed{}") is None and boxed("7") is None
    assert boxed(r"\boxed{\frac{1}{2}") == "0.5"  # cut off


def test_choices() -> None:
    assert parse_choice("A) or C) ... final: (D)") == "D"
    assert parse_choice("Because", 4) == "B"  # the last capital anywhere
    assert parse_choice("Because", 4, strict=True) is None
    assert parse_choice("I think so", 10, strict=True) is None
    assert parse_choice("Answer: I", 10, strict=True) == "I"
    assert parse_choice("(E)", 4) is None
    assert choice("A dog, so B.") == "B"


def test_check() -> None:
    assert check("18", "She sells 9 for $2.\nA: 18")
    assert not check(None, "18") and not check("18", "nothing")
    assert check("b", "B", str.lower)


def test_answer_key() -> None:
    assert answer_key(len)("abc") == "3"
    assert answer_key(lambda text: "")("x") is None
    assert answer_key("python:polyculture.decode.answers:exact_match")("Yes!") == "yes"
    with pytest.raises(UnknownMethod, match="did you mean 'boxed'"):
        answer_key("boxd")
    with pytest.raises(BadInput, match="can't import"):
        answer_key("python:no_such_module:f")
