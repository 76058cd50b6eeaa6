import math
import random

import pytest

from polyculture.errors import BadInput
from polyculture.measure.lexical import (
    hdd,
    lexical_diversity,
    log_type_token_ratio,
    mattr_of_texts,
    moving_average_ttr,
    mtld,
    mtld_of_texts,
    root_type_token_ratio,
    type_token_ratio,
)
from polyculture.measure.undefined import UndefinedMeasureWarning


@pytest.fixture
def tokens():
    draw = random.Random(3)
    return [f"w{min(int(draw.paretovariate(0.8)), 40)}" for _ in range(150)]


def test_ratios_by_hand():
    assert type_token_ratio(list("aab")) == pytest.approx(2 / 3)
    assert root_type_token_ratio(list("aabb")) == 1.0
    assert log_type_token_ratio(list("aabb")) == pytest.approx(0.5)
    assert log_type_token_ratio(["a"]) == 0.0
    assert type_token_ratio([]) == root_type_token_ratio([]) == log_type_token_ratio([]) == 0.0


def test_moving_average_is_that_of_every_window(tokens):
    windows = [tokens[i : i + 20] for i in range(len(tokens) - 19)]
    expected = sum(type_token_ratio(w) for w in windows) / len(windows)
    assert moving_average_ttr(tokens, window=20) == pytest.approx(expected)
    assert moving_average_ttr(tokens[:15], window=20) == type_token_ratio(tokens[:15])
    with pytest.raises(BadInput, match="at least 1 token"):
        moving_average_ttr(tokens, window=0)


def test_hdd_is_the_expected_ratio_of_a_sample(tokens):
    n = len(tokens)
    expected = sum(1 - math.comb(n - tokens.count(t), 42) / math.comb(n, 42) for t in set(tokens)) / 42
    assert hdd(tokens) == pytest.approx(expected, rel=1e-10)
    assert hdd(["a"] * 42) == pytest.approx(1 / 42)
    with pytest.warns(UndefinedMeasureWarning, match="at least 42 tokens and there are 41"):
        assert math.isnan(hdd(tokens[:41]))


def test_mtld_by_hand():
    # a b a b ...: below .72 at length 3, but a segment has at least 10 tokens: 20 tokens are one factor and a rest of
    # 10 whose ratio .2 adds .8 / .28.
    tokens = list("ab" * 10)
    assert mtld(tokens) == pytest.approx(20 / (1 + 0.8 / 0.28))
    assert mtld(list("abc")) == 0.0
    assert mtld([]) == 0.0
    with pytest.raises(BadInput, match="between 0 and 1"):
        mtld(tokens, threshold=1.0)


def test_measures_of_texts_pool_the_tokens(tokens):
    texts = [" ".join(tokens[:70]).upper(), " ".join(tokens[70:])]
    found = lexical_diversity(texts)
    assert found["ttr"] == type_token_ratio(tokens)
    assert found["hdd"] == hdd(tokens)
    assert mattr_of_texts(texts) == moving_average_ttr(tokens)
    assert mtld_of_texts(texts) == mtld(tokens)
    with pytest.raises(BadInput, match="lexical_diversity needs at least one text"):
        lexical_diversity([])
