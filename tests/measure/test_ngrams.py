import json
import math
from pathlib import Path

import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.measure.ngrams import (
    distinct_averaged,
    distinct_n,
    ead,
    ead_n,
    mean_inverse_frequency,
    ngram_diversity,
    ngram_diversity_sum,
    self_repetition,
)
from polyculture.measure.undefined import UndefinedMeasureWarning

PEER = json.loads((Path(__file__).parent / "data" / "diversity_0_3_1.json").read_text())["cases"]


def test_distinct_counts_over_the_whole_set_and_not_across_texts():
    assert distinct_n(["a b", "a b"], n=2) == 0.5
    assert distinct_n(["a b", "b c"], n=3) == 0.0
    assert distinct_n([], n=1) == 0.0


def test_averages_count_an_order_without_ngrams_as_zero():
    assert distinct_averaged(["a b"], n_min=1, n_max=4) == pytest.approx((1 + 1 + 0 + 0) / 4)


def test_ead_corrects_for_length_and_may_exceed_one():
    texts = ["a b c d"]
    assert ead_n(texts, n=1, vocabulary_size=4) == pytest.approx(4 / (4 * (1 - 0.75**4)))
    assert ead_n(texts, n=1, vocabulary_size=4) > 1
    assert ead_n(texts, n=1, vocabulary_size=10**9) == pytest.approx(1.0, abs=1e-8)
    assert ead_n(["a a"], n=1, vocabulary_size=1) == 1.0
    assert ead([""]) == 0.0
    with pytest.raises(BadInput, match="vocabulary_size"):
        ead_n(texts, vocabulary_size=0)
    with pytest.raises(BadInput, match="1 <= n_min <= n_max"):
        ead(texts, n_min=3, n_max=2)


def test_ngram_diversity_lowers_case():
    assert ngram_diversity(["A a"], ns=(1,)) == 0.5
    with pytest.raises(BadInput, match="at least one n"):
        ngram_diversity(["a"], ns=())


@pytest.mark.parametrize("case", PEER, ids=lambda case: case["name"])
def test_the_diversity_package_agrees_to_its_three_decimals(case):
    assert ngram_diversity_sum(case["texts"]) == pytest.approx(case["ngram_diversity"], abs=5.001e-4)
    assert self_repetition(case["texts"]) == pytest.approx(case["self_repetition"], abs=1e-12)


def test_ngram_diversity_sum_crosses_texts():
    assert ngram_diversity_sum(["a", "b"], n_max=2) == 2.0
    assert ngram_diversity_sum([]) == 0.0
    assert ngram_diversity_sum(["a b", "a b"], n_max=2) == pytest.approx(2 / 4 + 2 / 3)


def test_self_repetition_counts_documents_or_occurrences():
    texts = ["x y", "x y x y", "z"]
    assert self_repetition(texts, n=2) == pytest.approx((math.log(2) + math.log(2)) / 3)
    assert self_repetition(texts, n=2, count="occurrences") == pytest.approx((math.log(3) + math.log(2)) / 3)
    apart = {"x": ["a b", "c"], "y": ["a", "b c"]}
    assert self_repetition(["x", "y"], n=2, tokenize=apart.__getitem__) == 0.0, "tokens may hold white space"
    with pytest.raises(UnknownMethod, match="did you mean 'documents'"):
        self_repetition(texts, count="document")
    with pytest.raises(BadInput, match="at least one text"):
        self_repetition([])


def test_mean_inverse_frequency():
    assert mean_inverse_frequency(["Rare the"], background_counts={"the": 9}) == pytest.approx((1 + 0.1) / 2)
    assert mean_inverse_frequency(["a a b"]) == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)
    with pytest.warns(UndefinedMeasureWarning, match="no text has a token"):
        assert math.isnan(mean_inverse_frequency([""]))
