"""How much texts repeat one another: self-BLEU, pairwise BLEU, ROUGE-L homogenisation, n-gram cosine diversity.

BLEU (Papineni et al., 2002) is nltk's ``sentence_bleu`` with smoothing method 1, to the last digit, without a pass
over the references for each text: the clipping count of an n-gram among all OTHER texts is its largest count, or the
second largest for the text that holds the largest (self-BLEU), and the clipped matches of all pairs are one sparse
product (pairwise BLEU).
ROUGE-L takes all pairs at once through bit-parallel longest common subsequences, side by side in one big integer.

Sources: "Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models"
(2024), and the papers that a function names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.tokens import Tokenizer, alphanumeric_words, at_least_one, ngrams, undotted_words, words
from polyculture.measure.undefined import undefined

PAIR_BLOCK = 4_000_000
"""Pairs held at a time, as float64."""
LCS_BITS = 32_768
"""Tokens compared at a time by the bit-parallel LCS: one big integer of as many bits."""


def self_bleu(texts: Sequence[str], *, max_n: int = 4, epsilon: float = 0.1, tokenize: Tokenizer = words) -> float:
    """Mean over texts of the BLEU of each against all the others, in [0, 1]; LOWER is more diverse.

    Zhu et al., "Texygen" (2018). It grows with the number of texts: compare sets of one size. O(tokens).

    Args:
        texts: the set, at least two; with one it is NaN, with a warning. A text without tokens has BLEU 0.
        max_n: longest n-gram, all orders weighing the same.
        epsilon: what a match count of zero becomes (smoothing method 1).
        tokenize: text to tokens.

    Raises:
        BadInput: there is no text, or max_n is below 1.
    """
    held = at_least_one(texts, "self_bleu")
    if len(held) < 2:
        return undefined("self_bleu", "it needs at least two texts")
    tokens = [tokenize(text) for text in held]
    matches = np.empty((max_n, len(held)))
    for n in _orders(max_n):
        counts = [Counter(ngrams(text, n)) for text in tokens]
        highest = _two_highest(counts)
        for i, own in enumerate(counts):
            matches[n - 1, i] = sum(
                min(count, highest[gram][1] if highest[gram][2] == i else highest[gram][0])
                for gram, count in own.items()
            )
    lengths = np.array([len(text) for text in tokens])
    return float(np.mean(_bleu(matches, lengths, _closest_other_length(lengths), epsilon)))


def pairwise_bleu(texts: Sequence[str], *, max_n: int = 4, epsilon: float = 0.1, tokenize: Tokenizer = words) -> float:
    """Mean over ordered pairs of the BLEU of one text against the other, in [0, 1]; LOWER is more diverse.

    With ``epsilon=0`` a pair without a common n-gram of some order has BLEU 0: BLEU homogenisation.

    Args:
        texts: the set, at least two; with one it is NaN, with a warning.
        max_n: longest n-gram, all orders weighing the same.
        epsilon: what a match count of zero becomes (smoothing method 1).
        tokenize: text to tokens.

    Raises:
        BadInput: there is no text, or max_n is below 1.
    """
    held = at_least_one(texts, "pairwise_bleu")
    n_texts = len(held)
    if n_texts < 2:
        return undefined("pairwise_bleu", "it needs at least two texts")
    tokens = [tokenize(text) for text in held]
    lengths = np.array([len(text) for text in tokens])
    levels = [_ngram_matrix(tokens, n, as_levels=True) for n in _orders(max_n)]
    total = 0.0
    for rows in _row_blocks(n_texts):
        # min(a, b) = number of levels 1..a that are also in 1..b, so the clipped matches are inner products.
        matches = np.stack([(level[rows] @ level.T).toarray() for level in levels])
        scores = _bleu(matches, lengths[rows, None], lengths[None, :], epsilon)
        scores[np.arange(len(scores)), np.arange(rows.start, rows.stop)] = 0.0
        total += float(scores.sum())
    return total / (n_texts * (n_texts - 1))


def bleu_homogenization(texts: Sequence[str], *, max_n: int = 4, tokenize: Tokenizer = words) -> float:
    """Mean pairwise BLEU without smoothing, in [0, 1]; LOWER is more diverse.

    Args:
        texts: the set, at least two; with one it is NaN, with a warning.
        max_n: longest n-gram.
        tokenize: text to tokens.
    """
    return pairwise_bleu(texts, max_n=max_n, epsilon=0.0, tokenize=tokenize)


def rouge_l_homogenization(texts: Sequence[str], *, tokenize: Tokenizer = alphanumeric_words) -> float:
    """Mean over pairs of the ROUGE-L F-measure, in [0, 1]; LOWER is more diverse.

    Padmakumar & He, "Does Writing with Language Models Reduce Content Diversity?" (2023). Exact, all pairs: 1000
    texts of 60 words take under a second.

    Args:
        texts: the set, at least two; with one it is NaN, with a warning.
        tokenize: text to tokens; the default is ROUGE's own, without stemming.

    Raises:
        BadInput: there is no text.
    """
    held = at_least_one(texts, "rouge_l_homogenization")
    n = len(held)
    if n < 2:
        return undefined("rouge_l_homogenization", "it needs at least two texts")
    tokens = [tokenize(text) for text in held]
    lengths = np.array([len(text) for text in tokens], dtype=np.float64)
    total = 0.0
    for i, start, common in lcs_of_pairs(tokens):
        both = lengths[i] + lengths[start : start + len(common)]
        # F = 2PR / (P + R) with P = LCS / |a| and R = LCS / |b|, which is 2 LCS / (|a| + |b|); 0 without tokens.
        total += float(np.sum(2 * common / np.where(both > 0, both, 1)))
    return total / (n * (n - 1) / 2)


def lcs_of_pairs(tokens: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Lengths of the longest common subsequences of all pairs: yields (i, j, LCS of text i with texts j, j + 1, ...).

    Every pair i < j comes exactly once. Hyyrö's recurrence ("Bit-Parallel LCS-length Computation Revisited", 2004),
    V <- (V + (V & M)) | (V & ~M), is run on the texts of a block laid side by side in one integer; a spare bit after
    each text catches the carry, so that no text disturbs the next.
    """
    for first, last in _blocks_of_tokens(tokens):
        widths = np.array([len(tokens[j]) + 1 for j in range(first, last)])
        offsets = np.concatenate([[0], np.cumsum(widths)])
        masks, every = _position_masks(tokens, first, last, offsets)
        for i in range(last - 1):
            held = every
            for token in tokens[i]:
                mask = masks.get(token)
                if mask is not None:
                    # held & ~mask and the sum, whose carries end in the spare bits that & every clears.
                    hit = held & mask
                    held = ((held + hit) | (held ^ hit)) & every
            matched = every ^ held
            bits = np.unpackbits(
                np.frombuffer(matched.to_bytes((int(offsets[-1]) + 7) // 8, "little"), dtype=np.uint8),
                bitorder="little",
            )
            common = np.add.reduceat(bits, offsets[:-1], dtype=np.int64)
            start = max(i + 1, first)
            yield i, start, common[start - first :]


def ngram_cosine_diversity(texts: Sequence[str], *, n: int = 3, tokenize: Tokenizer = undotted_words) -> float:
    """1 - mean over pairs of the cosine similarity of the texts' n-gram counts (0 where they share none).

    "Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023). O(n-grams), no pair is visited.

    Args:
        texts: the set, at least two; with one it is NaN, with a warning.
        n: length of the n-grams.
        tokenize: text to tokens.

    Raises:
        BadInput: there is no text.
    """
    held = at_least_one(texts, "ngram_cosine_diversity")
    if len(held) < 2:
        return undefined("ngram_cosine_diversity", "it needs at least two texts")
    counts = _ngram_matrix([tokenize(text) for text in held], n, as_levels=False)
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    unit = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    pooled = counts.T @ unit
    similarities = float(pooled @ pooled) - np.count_nonzero(norms)
    return float(1.0 - max(0.0, similarities) / (len(held) * (len(held) - 1)))


def _orders(max_n: int) -> range:
    if max_n < 1:
        raise BadInput(f"max_n should be at least 1, not {max_n}")
    return range(1, max_n + 1)


def _two_highest(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """n-gram -> its highest count in any text, the highest among the other texts, and the text of the highest."""
    found: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for i, own in enumerate(counts):
        for gram, count in own.items():
            first, second, owner = found.get(gram, (0, 0, -1))
            if count > first:
                found[gram] = (count, first, i)
            elif count > second:
                found[gram] = (first, count, owner)
    return found


def _closest_other_length(lengths: np.ndarray) -> np.ndarray:
    """For each text the length, among the others, that is closest to its own; the shorter of two."""
    counted = Counter(lengths.tolist())
    present = sorted(counted)
    closest = {}
    for length in present:
        if counted[length] > 1:
            closest[length] = length
            continue
        at = bisect_left(present, length)
        others = present[max(0, at - 1) : at] + present[at + 1 : at + 2]
        closest[length] = min(others, key=lambda other: (abs(other - length), other))
    return np.array([closest[length] for length in lengths.tolist()])


def _bleu(matches: np.ndarray, lengths: np.ndarray, reference: np.ndarray, epsilon: float) -> np.ndarray:
    """BLEU from clipped matches (orders, ...), hypothesis lengths and reference lengths, each broadcast to (...)."""
    shape = np.broadcast_shapes(matches.shape[1:], lengths.shape, reference.shape)
    log_precision = np.zeros(shape)
    for n, matched in enumerate(matches, 1):
        possible = np.maximum(1, lengths - n + 1)
        precision = np.where(matched == 0, epsilon, matched) / possible
        log_precision += np.log(precision, out=np.full(shape, -np.inf), where=precision > 0) / len(matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = np.where(lengths > reference, 1.0, np.exp(1 - reference / lengths))
    return np.where((matches[0] == 0) | (lengths == 0), 0.0, penalty * np.exp(log_precision))


def _ngram_matrix(tokens: Sequence[Sequence[str]], n: int, *, as_levels: bool) -> Any:
    """Sparse (texts, n-grams) counts; ``as_levels`` gives a column of ones to each (n-gram, 1..count) instead."""
    from scipy.sparse import csr_array

    columns: dict[Any, int] = {}
    indices: list[int] = []
    values: list[float] = []
    starts = [0]
    for text in tokens:
        for gram, count in Counter(ngrams(text, n)).items():
            keys = [(gram, level) for level in range(count)] if as_levels else [gram]
            indices += [columns.setdefault(key, len(columns)) for key in keys]
            values += [1.0] * len(keys) if as_levels else [float(count)]
        starts.append(len(indices))
    return csr_array((values, indices, starts), shape=(len(tokens), max(1, len(columns))), dtype=np.float64)


def _row_blocks(n: int) -> Iterator[slice]:
    step = max(1, PAIR_BLOCK // n)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _blocks_of_tokens(tokens: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Runs of texts, each of about LCS_BITS tokens; the first text has nobody before it and is left out."""
    first, size = 1, 0
    for j in range(1, len(tokens)):
        size += len(tokens[j]) + 1
        if size >= LCS_BITS or j == len(tokens) - 1:
            yield first, j + 1
            first, size = j + 1, 0


def _position_masks(
    tokens: Sequence[Sequence[str]], first: int, last: int, offsets: np.ndarray
) -> tuple[dict[str, int], int]:
    """For each token the integer with a bit at each of its places in texts first..last, and the one with all."""
    places: dict[str, list[int]] = {}
    for offset, j in zip(offsets.tolist(), range(first, last), strict=False):
        for position, token in enumerate(tokens[j], offset):
            places.setdefault(token, []).append(position)
    everywhere = [position for held in places.values() for position in held]
    size = int(offsets[-1])
    return {token: _integer(held, size) for token, held in places.items()}, _integer(everywhere, size)


def _integer(positions: list[int], size: int) -> int:
    bits = np.zeros(size, dtype=np.uint8)
    bits[positions] = 1
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")
