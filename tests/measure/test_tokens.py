import pytest

from polyculture.errors import BadInput
from polyculture.measure.tokens import (
    alphanumeric_words,
    as_texts,
    at_least_one,
    blank_separated,
    ngrams,
    undotted_words,
)


def test_the_full_stop_is_deleted_not_replaced():
    assert undotted_words("One.two  three\nfour, Five.") == ["Onetwo", "threefour,", "Five"]


def test_blanks_make_empty_tokens_and_words_do_not():
    assert blank_separated("a  b") == ["a", "", "b"]
    assert alphanumeric_words("A-b é c3") == ["a", "b", "c3"]


def test_ngrams_of_a_short_text_are_none():
    assert list(ngrams(["a"], 2)) == []
    with pytest.raises(BadInput, match="n of at least 1"):
        list(ngrams(["a"], 0))


def test_one_string_is_not_a_list_of_texts():
    with pytest.raises(BadInput, match="not one string"):
        as_texts("abc")
    with pytest.raises(BadInput, match="row 2 is float"):
        as_texts(["a", float("nan")])
    with pytest.raises(BadInput, match="self_bleu needs at least one text"):
        at_least_one([], "self_bleu")
