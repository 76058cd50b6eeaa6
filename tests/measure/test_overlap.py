import json
import math
import random
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from polyculture.errors import BadInput
from polyculture.measure import overlap
from polyculture.measure.overlap import (
    bleu_homogenization,
    lcs_of_pairs,
    ngram_cosine_diversity,
    pairwise_bleu,
    rouge_l_homogenization,
    self_bleu,
)
from polyculture.measure.tokens import words
from polyculture.measure.undefined import UndefinedMeasureWarning

PEER = json.loads((Path(__file__).parent / "data" / "diversity_0_3_1.json").read_text())["cases"]


def some_texts(seed, n=25, longest=14, vocabulary=12):
    draw = random.Random(seed)
    return [" ".join(f"w{draw.randrange(vocabulary)}" for _ in range(draw.randint(0, longest))) for _ in range(n)]


def lcs(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        above = row[:]
        for j, y in enumerate(b):
            row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
    return row[-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_n", [2, 4])
def test_bleu_is_nltks(seed, max_n):
    texts = some_texts(seed)
    tokens = [words(t) for t in texts]
    weights, smooth = (1 / max_n,) * max_n, SmoothingFunction().method1

    def bleu(references, hypothesis):
        return sentence_bleu(references, hypothesis, weights=weights, smoothing_function=smooth)

    others = [tokens[:i] + tokens[i + 1 :] for i in range(len(tokens))]
    expected = np.mean([bleu(rest, own) for rest, own in zip(others, tokens, strict=True)])
    assert self_bleu(texts, max_n=max_n) == pytest.approx(expected, abs=1e-14)
    expected = np.mean(
        [[bleu([reference], own) for reference in rest] for rest, own in zip(others, tokens, strict=True)]
    )
    assert pairwise_bleu(texts, max_n=max_n) == pytest.approx(expected, abs=1e-14)


def test_pairwise_bleu_in_blocks(monkeypatch):
    texts = some_texts(9)
    whole = pairwise_bleu(texts)
    monkeypatch.setattr(overlap, "PAIR_BLOCK", 60)
    assert pairwise_bleu(texts) == pytest.approx(whole, abs=1e-14)


def test_bleu_of_copies_is_one():
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(1.0)
    assert bleu_homogenization(["a b c d e"] * 3) == pytest.approx(1.0)
    assert bleu_homogenization(["a b c d", "a b c x"]) == 0.0  # no common 4-gram
    assert self_bleu(["", ""]) == 0.0


@pytest.mark.parametrize("bits", [5, 40, 32_768])
def test_lcs_of_every_pair_once(monkeypatch, bits):
    monkeypatch.setattr(overlap, "LCS_BITS", bits)
    tokens = [words(t) for t in some_texts(4, n=18, longest=90, vocabulary=20)]
    seen = {}
    for i, start, common in lcs_of_pairs(tokens):
        for j, length in enumerate(common.tolist(), start):
            assert (i, j) not in seen
            seen[i, j] = length
    assert seen == {(i, j): lcs(tokens[i], tokens[j]) for j in range(len(tokens)) for i in range(j)}


@pytest.mark.parametrize("case", PEER, ids=lambda case: case["name"])
def test_rouge_l_is_the_diversity_packages(case):
    # The peer rounds to three decimals, and calls a set that shares nothing identical (1 instead of 0).
    value, peer = rouge_l_homogenization(case["texts"]), case["rouge_l_homogenization"]
    if value == 0:
        assert peer == 1
    else:
        assert value == pytest.approx(peer, abs=5.001e-4)


def test_rouge_l_by_hand():
    assert rouge_l_homogenization(["The cat sat.", "the dog sat"]) == pytest.approx(2 / 3)
    assert rouge_l_homogenization(["a", "", "a"]) == pytest.approx(1 / 3)


def test_rouge_l_of_60_texts_of_60_words_takes_a_fortieth_of_the_peer():
    texts = some_texts(1, n=60, longest=60, vocabulary=300)
    start = time.process_time()
    rouge_l_homogenization(texts)
    assert time.process_time() - start < 2.3 / 40


def test_ngram_cosine_diversity_visits_no_pair_and_agrees():
    texts = some_texts(6)
    counts = [{} for _ in texts]
    for held, text in zip(counts, texts, strict=True):
        tokens = text.split()
        for gram in pairwise(tokens):
            held[gram] = held.get(gram, 0) + 1

    def cosine(a, b):
        dot = sum(v * b.get(g, 0) for g, v in a.items())
        return dot / math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values())) if dot else 0.0

    pairs = [cosine(counts[i], counts[j]) for i in range(len(texts)) for j in range(i)]
    assert ngram_cosine_diversity(texts, n=2) == pytest.approx(1 - np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize("measure", [self_bleu, pairwise_bleu, rouge_l_homogenization, ngram_cosine_diversity])
def test_one_text_has_nobody_to_overlap_with(measure):
    with pytest.warns(UndefinedMeasureWarning, match="at least two texts"):
        assert math.isnan(measure(["a b c"]))
    with pytest.raises(BadInput, match="at least one text"):
        measure([])


def test_max_n_is_positive():
    with pytest.raises(BadInput, match="max_n"):
        self_bleu(["a", "b"], max_n=0)
