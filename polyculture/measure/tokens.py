"""How a text becomes tokens: the four ways the measures' sources do it, each under its own name.

Lexical measures depend on the tokeniser as much as on the text, so each measure states which one it uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from polyculture.errors import BadInput

Tokenizer = Callable[[str], list[str]]
T = TypeVar("T")

_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def words(text: str) -> list[str]:
    """Lower-cased, split on white space: the default of the lexical measures.

    >>> words("The cat  sat.")
    ['the', 'cat', 'sat.']
    """
    return text.lower().split()


def undotted_words(text: str) -> list[str]:
    r"""Full stops and newlines deleted (not replaced), split on single spaces, empty tokens dropped; case is kept.

    The tokens of "Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023).

    >>> undotted_words("One.two  three\nfour five")
    ['Onetwo', 'threefour', 'five']
    """
    return [token for token in text.replace(".", "").replace("\n", "").split(" ") if token]


def blank_separated(text: str) -> list[str]:
    """Split at every single blank, so that two blanks in a row make an empty token; case is kept.

    >>> blank_separated("a  b")
    ['a', '', 'b']
    """
    return text.split(" ")


def alphanumeric_words(text: str) -> list[str]:
    """Lower-cased runs of a-z and 0-9: the tokens of ROUGE, without stemming.

    >>> alphanumeric_words("Don't stop, it's 9am!")
    ['don', 't', 'stop', 'it', 's', '9am']
    """
    return _NOT_ALPHANUMERIC.sub(" ", text.lower()).split()


def ngrams(tokens: Sequence[T], n: int) -> Iterator[tuple[T, ...]]:
    """The runs of n consecutive tokens, in order; none if there are fewer than n.

    >>> list(ngrams("abc", 2))
    [('a', 'b'), ('b', 'c')]

    Raises:
        BadInput: n is below 1.
    """
    if n < 1:
        raise BadInput(f"n-grams need n of at least 1, not {n}")
    return zip(*(islice(tokens, start, None) for start in range(n)), strict=False)


def as_texts(texts: Iterable[str]) -> Sequence[str]:
    """``texts`` as a sequence of strings.

    Raises:
        BadInput: a single string was given (its characters would count as texts), or an item is not a string.
    """
    if isinstance(texts, str):
        raise BadInput("texts should be a list of strings, not one string; put it in a list")
    held = texts if isinstance(texts, (list, tuple)) else list(texts)
    for row, text in enumerate(held):
        if not isinstance(text, str):
            raise BadInput(f"texts row {row + 1} is {type(text).__name__}, not a string; convert or drop it")
    return held


def at_least_one(texts: Iterable[str], measure: str) -> Sequence[str]:
    """``texts`` as a sequence of at least one string.

    Raises:
        BadInput: as :func:`as_texts`, or there is no text at all.
    """
    held = as_texts(texts)
    if not held:
        raise BadInput(f"{measure} needs at least one text; the list is empty")
    return held
