"""Distinct n-grams: how much of what is said is said for the first time.

Distinct-n: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models" (2016).
Expectation-adjusted distinct (EAD): Liu et al., "Rethinking and Refining the Distinct Metric" (2022), as used by
"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023), whose defaults (V = 50257, the mean over
n = 1..5, its tokens) these functions have. N-grams never cross from one text into the next unless a function says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Literal

from polyculture.errors import BadInput, unknown
from polyculture.measure.tokens import (
    Tokenizer,
    as_texts,
    at_least_one,
    blank_separated,
    ngrams,
    undotted_words,
    words,
)
from polyculture.measure.undefined import undefined


def text_ngrams(texts: Sequence[str], n: int, *, tokenize: Tokenizer = undotted_words) -> list[list[tuple[str, ...]]]:
    """The n-grams of each text, one list a text."""
    return [list(ngrams(tokenize(text), n)) for text in as_texts(texts)]


def distinct_n(texts: Sequence[str], *, n: int = 3, tokenize: Tokenizer = undotted_words) -> float:
    """Distinct n-grams over all n-grams of the whole set, in [0, 1]; higher is more diverse, 0 if there is no n-gram.

    Longer sets look less diverse: compare equal lengths, or use :func:`ead`.

    Args:
        texts: the set.
        n: length of the n-grams.
        tokenize: text to tokens.
    """
    distinct, total = _counts(_tokens(texts, tokenize), n)
    return _ratio(distinct, total)


def distinct_averaged(
    texts: Sequence[str], *, n_min: int = 1, n_max: int = 5, tokenize: Tokenizer = undotted_words
) -> float:
    """The mean of :func:`distinct_n` over n = n_min..n_max inclusive; an order without n-grams contributes 0.

    Args:
        texts: the set.
        n_min: shortest n-gram.
        n_max: longest n-gram.
        tokenize: text to tokens.

    Raises:
        BadInput: the orders are not 1 <= n_min <= n_max.
    """
    tokens = _tokens(texts, tokenize)
    orders = _orders(n_min, n_max)
    return math.fsum(_ratio(*_counts(tokens, n)) for n in orders) / len(orders)


def ead_n(
    texts: Sequence[str], *, n: int = 1, vocabulary_size: int = 50257, tokenize: Tokenizer = undotted_words
) -> float:
    """Distinct n-grams over the number expected from C uniform draws: N / (V (1 - ((V - 1) / V)^C)); 0 if C = 0.

    V bounds single tokens, not n-grams, so the value can exceed 1; it is not clipped.

    Args:
        texts: the set.
        n: length of the n-grams.
        vocabulary_size: V, the same for every n.
        tokenize: text to tokens.

    Raises:
        BadInput: the vocabulary is empty.
    """
    distinct, total = _counts(_tokens(texts, tokenize), n)
    return _adjusted(distinct, total, vocabulary_size)


def ead(
    texts: Sequence[str],
    *,
    n_min: int = 1,
    n_max: int = 5,
    vocabulary_size: int = 50257,
    tokenize: Tokenizer = undotted_words,
) -> float:
    """Expectation-adjusted distinct n-grams: the mean of :func:`ead_n` over n = n_min..n_max inclusive.

    Args:
        texts: the set.
        n_min: shortest n-gram.
        n_max: longest n-gram.
        vocabulary_size: V, the same for every n.
        tokenize: text to tokens.

    Raises:
        BadInput: the orders are not 1 <= n_min <= n_max, or the vocabulary is empty.
    """
    tokens = _tokens(texts, tokenize)
    orders = _orders(n_min, n_max)
    return math.fsum(_adjusted(*_counts(tokens, n), vocabulary_size) for n in orders) / len(orders)


def ngram_diversity(texts: Sequence[str], *, ns: Sequence[int] = (1, 2, 3, 4), tokenize: Tokenizer = words) -> float:
    """The mean over n of the pooled distinct-n, in [0, 1]; an order without n-grams contributes 0.

    Args:
        texts: the set.
        ns: lengths of n-grams.
        tokenize: text to tokens.

    Raises:
        BadInput: ``ns`` is empty.
    """
    if not ns:
        raise BadInput("ngram_diversity needs at least one n")
    tokens = _tokens(texts, tokenize)
    return math.fsum(_ratio(*_counts(tokens, n)) for n in ns) / len(ns)


def ngram_diversity_sum(texts: Sequence[str], *, n_max: int = 4) -> float:
    """The SUM over n = 1..n_max of distinct n-grams over n-grams of the joined texts, in [0, n_max].

    The texts are joined by one blank and split at every blank, so n-grams do cross from one text into the next and the
    value depends on their order: this is the n-gram diversity of "Standardizing the Measurement of Text Diversity"
    (Shaib et al., 2024), which "MetaSynth" (2025) reports. 0 without texts.

    Args:
        texts: the set.
        n_max: longest n-gram.
    """
    held = as_texts(texts)
    joined = [blank_separated(" ".join(held))] if held else []
    return math.fsum(_ratio(*_counts(joined, n)) for n in _orders(1, n_max))


def self_repetition(
    texts: Sequence[str],
    *,
    n: int = 4,
    count: Literal["documents", "occurrences"] = "documents",
    tokenize: Tokenizer = str.split,
) -> float:
    """Mean over texts of ln(1 + how often the text's distinct n-grams occur in OTHER texts); higher repeats more.

    Salkar et al., "Self-Repetition in Abstractive Neural Summarizers" (2022).

    Args:
        texts: the set, at least one.
        n: length of the n-grams.
        count: "documents" counts an n-gram once for each other text that holds it, "occurrences" as often as
            it is there.
        tokenize: text to tokens; the default splits on white space and keeps case.

    Raises:
        BadInput: there is no text.
        UnknownMethod: ``count`` is neither.
    """
    if count not in ("documents", "occurrences"):
        raise unknown("count", count, ("documents", "occurrences"))
    # Where no token has white space, a joined n-gram is as good as a tuple, and its hash is computed once.
    kept: Callable[[tuple[str, ...]], Hashable] = " ".join if tokenize in (str.split, words) else tuple
    every = [list(map(kept, ngrams(tokenize(text), n))) for text in at_least_one(texts, "self_repetition")]
    distinct = list(map(set, every))
    own = distinct if count == "documents" else every
    everywhere = Counter(chain.from_iterable(own))
    # The counts of a text's own n-grams hold the text itself: they sum to its length.
    elsewhere = (sum(map(everywhere.__getitem__, seen)) - len(held) for seen, held in zip(distinct, own, strict=True))
    return math.fsum(map(math.log1p, elsewhere)) / len(every)


def mean_inverse_frequency(
    texts: Sequence[str], *, background_counts: Mapping[str, int] | None = None, tokenize: Tokenizer = words
) -> float:
    """Mean over texts of the mean over tokens of 1 / (1 + count of the token in a background corpus), in (0, 1].

    High where the words are rare. Texts without tokens are left out.

    Args:
        texts: the set, at least one.
        background_counts: token -> count; a token that is missing has count 0. None counts the texts themselves.
        tokenize: text to tokens.

    Raises:
        BadInput: there is no text.
    """
    held = _tokens(at_least_one(texts, "mean_inverse_frequency"), tokenize)
    counts = Counter(t for tokens in held for t in tokens) if background_counts is None else background_counts
    means = [math.fsum(1 / (1 + counts.get(t, 0)) for t in tokens) / len(tokens) for tokens in held if tokens]
    if not means:
        return undefined("mean_inverse_frequency", "no text has a token")
    return math.fsum(means) / len(means)


def _tokens(texts: Sequence[str], tokenize: Tokenizer) -> list[list[str]]:
    return [tokenize(text) for text in as_texts(texts)]


def _counts(tokens: Sequence[Sequence[str]], n: int) -> tuple[int, int]:
    """Distinct and all n-grams."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in tokens:
        seen.update(ngrams(text, n))
        total += max(0, len(text) - n + 1)
    return len(seen), total


def _ratio(distinct: int, total: int) -> float:
    return distinct / total if total else 0.0


def _adjusted(distinct: int, total: int, vocabulary_size: int) -> float:
    if vocabulary_size < 1:
        raise BadInput(f"vocabulary_size should be at least 1, not {vocabulary_size}")
    if not total:
        return 0.0
    # 1 - ((V - 1) / V)^C, without losing digits when V is much larger than C.
    seen = 1.0 if vocabulary_size == 1 else -math.expm1(total * math.log1p(-1 / vocabulary_size))
    return distinct / (vocabulary_size * seen)


def _orders(n_min: int, n_max: int) -> range:
    if not 1 <= n_min <= n_max:
        raise BadInput(f"n-gram orders should be 1 <= n_min <= n_max, not {n_min}..{n_max}")
    return range(n_min, n_max + 1)
