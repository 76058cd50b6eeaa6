"""The heuristic: junk is low, good text is high, and each rule answers to what it names."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from polyculture.datasets import make_instructions
from polyculture.pool import Pool
from polyculture.quality.heuristic import RULES, HeuristicQuality

JUNK = [
    "",
    "   \n\t ",
    "asdf jkl; qwer zxcv asdfgh",
    "sdkjfh skdjfh ksjdhf kjsdhf ksjdhf wpqzx",
    "word word word word word word word word",
    "good good good good",
    "\x00\x01\x02\ufffd\ufffdgarbage\x03\x04",
    "!!!! ???? ;;;; ####",
    "CLICK HERE TO BUY NOW!!! BEST PRICE!!!",
    "Home | About | Contact | Privacy Policy | Terms of Use | All rights reserved",
    "lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "http://a.example/b http://c.example/d http://e.example/f",
    "12 38 4 9 2 1 44 2 9 1",
    "a" * 5000,
    "spam and eggs\n" * 200,
]
GOOD = [
    "Explain how vaccines train the immune system, covering antigens, memory cells and why boosters are needed, in "
    "language a curious teenager would follow.",
    "Solve for x: 3x^2 - 12x + 9 = 0. Show each step and check the roots by substituting them back into the equation.",
    "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n\n"
    "Explain why this runs in linear time and rewrite it as a generator.",
    "请解释光合作用的过程，并说明为什么叶子是绿色的。",
    "Wie funktioniert die Photosynthese in den Blättern von Pflanzen, und warum ist Chlorophyll grün? Erkläre es.",
]

ODD = [
    "Tabs\tand\x0bodd\x1cspaces\u3000between \u201cquoted\u201d words \u2014 and 3\xb2 \xbd numbers\u2026 #tag # 1",
    "İstanbul’da ſtrange LETTERS, K-fold Σίσυφος.",
    "We use cookies. Click here: www.a.example/b and HTTP://c.example/d (limited-time offer",
    "mixed \u4e2d\u6587 and \u0e44\u0e17\u0e22 words, with control \x07\x7f\x9f\ue001 characters",
    'if a_b == 2:\n    return {"x": [1, 2, 3]}  # ```',
    "1 2 three 4_ 5five -- six. ... seven... 8",
]
"""White space, letters, digits and control characters in and beyond ASCII."""
RECORDED = [
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.0,
    0.004688952164050072,
    0.01866436513717135,
    0.09858634665347127,
    0.004749341657879386,
    0.0,
    0.0,
    0.0,
    0.6014809589154859,
    0.6014809589154859,
    0.6171071140248879,
    0.6014809589154859,
    0.40180143956340875,
    0.14852673835321334,
    0.1788523236297246,
    0.009500208264273119,
    0.0,
    0.2320069156551142,
    0.18462077422004194,
]
"""Scores of JUNK, GOOD and ODD as the rules were first written, each with one pattern for every script."""


def test_scores_stay_as_they_were() -> None:
    assert list(map(HeuristicQuality().score_text, JUNK + GOOD + ODD)) == pytest.approx(RECORDED, rel=1e-12, abs=1e-15)


def test_junk_is_below_every_good_text() -> None:
    scorer = HeuristicQuality()
    assert max(map(scorer.score_text, JUNK)) < 0.12
    assert min(map(scorer.score_text, GOOD)) > 0.4


@pytest.mark.parametrize(
    "phrase",
    [
        "lorem ipsum",
        "terms of use",
        "terms of service",
        "privacy policy",
        "cookie policy",
        "use cookies",
        "uses cookies",
        "all rights reserved",
        "click here",
        "sign up now",
        "subscribe to our",
        "enable javascript",
        "page not found",
        "skip to content",
        "skip to main content",
        "buy now",
        "add to cart",
        "follow us on",
        "best price",
        "limited time offer",
        "limited-time offer",
        "as an ai language model",
    ],
)
def test_every_phrase_of_boilerplate_is_seen(phrase: str) -> None:
    assert HeuristicQuality().explain(f"Here is {phrase.upper()} again.")["boilerplate"] == pytest.approx(0.4)


def test_score_is_the_product_of_the_rules() -> None:
    scorer = HeuristicQuality()
    for text in JUNK + GOOD:
        factors = scorer.explain(text)
        assert list(factors) == [rule.__name__ for rule in RULES]
        assert all(0.0 <= value <= 1.0 for value in factors.values())
        assert scorer.score_text(text) == pytest.approx(np.prod(list(factors.values())))


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        ("length", "Yes.", GOOD[0]),
        ("word_length", "x y z a b c", GOOD[0]),
        ("word_length", "pneumonoultramicroscopicsilicovolcanoconiosis", GOOD[0]),
        ("alphabetic", "1 2 3 4 5 6 a", GOOD[1]),
        ("symbols", "{}[]<>!!??;;a", GOOD[2]),
        ("ellipses", "well ... so ... then ... what ... now", GOOD[0]),
        ("stop_words", "table chair window lamp carpet ceiling floor door handle brick", GOOD[0]),
        ("letters", "wqzx kjhg vbnm qwrt", GOOD[0]),
        ("repeated_phrases", "one two three one two three one two three", GOOD[0]),
        ("repeated_words", "data data data more", GOOD[0]),
        ("repeated_lines", "the same line\n" * 9 + "another line", GOOD[2]),
        ("compression", "ab" * 400, GOOD[0] * 2),
        ("printable", "half \x00\x01\x02 of it", GOOD[0]),
        ("ending", "and then we", GOOD[0]),
        ("closed", "a list (of [several ((things", GOOD[1]),
        ("closed", "```python\nprint(1)", GOOD[1]),
        ("capitals", "THIS IS ALL IN CAPITALS", GOOD[0]),
        ("links", "see https://example.org/a/very/long/address", GOOD[0]),
        ("boilerplate", "All rights reserved.", GOOD[0]),
    ],
)
def test_each_rule_answers_to_its_fault(rule: str, bad: str, good: str) -> None:
    explain = HeuristicQuality().explain
    assert explain(good)[rule] > explain(bad)[rule]
    if rule != "length":
        assert explain(good)[rule] == 1.0


def test_rank_correlates_with_known_quality() -> None:
    records = make_instructions(600, seed=3)
    pool = Pool.from_arrays(texts=[f"{r['prompt']}\n{r['response']}" for r in records])
    assert spearmanr(HeuristicQuality().score(pool), [r["quality"] for r in records]).statistic > 0.9


def test_huge_text_is_read_in_part() -> None:
    assert HeuristicQuality().score_text("The cat sat on the mat and looked at me. " * 500_000) < 0.2
