"""Lexical diversity of one list of tokens: types over tokens, and what corrects it for length.

Type-token ratio, root TTR (Guiraud), log TTR (Herdan); MATTR (Covington & McFall, 2010); HD-D and MTLD (McCarthy &
Jarvis, 2007, 2010). TTR falls with the number of tokens: compare equal numbers, or use MATTR, HD-D or MTLD.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from polyculture.errors import BadInput
from polyculture.measure.tokens import Tokenizer, at_least_one, words
from polyculture.measure.undefined import undefined


def type_token_ratio(tokens: Sequence[str]) -> float:
    """Types over tokens, in [0, 1]; 0 without tokens."""
    return len(set(tokens)) / len(tokens) if tokens else 0.0


def root_type_token_ratio(tokens: Sequence[str]) -> float:
    """Types over the square root of tokens; 0 without tokens."""
    return len(set(tokens)) / math.sqrt(len(tokens)) if tokens else 0.0


def log_type_token_ratio(tokens: Sequence[str]) -> float:
    """Logarithm of types over logarithm of tokens, in [0, 1]; 0 for fewer than two tokens."""
    return math.log(len(set(tokens))) / math.log(len(tokens)) if len(tokens) > 1 else 0.0


def moving_average_ttr(tokens: Sequence[str], *, window: int = 50) -> float:
    """Mean type-token ratio of every window of ``window`` tokens; of the whole text if it is no longer than one.

    Args:
        tokens: the text.
        window: tokens in a window.

    Raises:
        BadInput: the window is empty.
    """
    if window < 1:
        raise BadInput(f"the window of MATTR should be at least 1 token, not {window}")
    if len(tokens) <= window:
        return type_token_ratio(tokens)
    inside = Counter(tokens[:window])
    types = len(inside)
    for old, new in zip(tokens, tokens[window:], strict=False):
        inside[new] += 1
        inside[old] -= 1
        if not inside[old]:
            del inside[old]
        types += len(inside)
    return types / (window * (len(tokens) - window + 1))


def hdd(tokens: Sequence[str], *, sample: int = 42) -> float:
    """HD-D: the type-token ratio expected of ``sample`` tokens drawn without replacement; NaN for fewer tokens.

    The sum over types of (1 - P(type not among the sample)) / sample, P hypergeometric.

    Args:
        tokens: the text.
        sample: size of the sample.
    """
    n = len(tokens)
    if sample < 1:
        raise BadInput(f"the sample of HD-D should be at least 1 token, not {sample}")
    if n < sample:
        return undefined("HD-D", f"it needs at least {sample} tokens and there are {n}")
    frequencies = Counter(Counter(tokens).values())
    # P(0 of f in the sample) = C(n - f, sample) / C(n, sample) = prod_{i < f} (n - sample - i) / (n - i).
    absent, log_p = {}, 0.0
    for f in range(1, max(frequencies) + 1):
        left = n - sample - f + 1
        log_p = log_p + math.log(left / (n - f + 1)) if left > 0 else -math.inf
        absent[f] = log_p
    return math.fsum(-math.expm1(absent[f]) * types for f, types in frequencies.items()) / sample


def mtld(tokens: Sequence[str], *, threshold: float = 0.72, min_tokens: int = 10) -> float:
    """MTLD: the mean length of segments whose type-token ratio stays above ``threshold``; forward and backward mean.

    A segment ends, and counts as one factor, when its ratio is below the threshold and it has ``min_tokens``; at the
    last token the open segment adds (1 - TTR) / (1 - threshold). A pass gives tokens / factors, 0 without a factor.

    Args:
        tokens: the text.
        threshold: type-token ratio below which a segment ends, in (0, 1).
        min_tokens: shortest segment.

    Raises:
        BadInput: the threshold is not in (0, 1).
    """
    if not 0 < threshold < 1:
        raise BadInput(f"the threshold of MTLD should be between 0 and 1, not {threshold}")
    forward = _factor_length(tokens, len(tokens), threshold, min_tokens)
    backward = _factor_length(reversed(tokens), len(tokens), threshold, min_tokens)
    return (forward + backward) / 2


def _factor_length(tokens: Iterable[str], n: int, threshold: float, min_tokens: int) -> float:
    factors, types, length = 0.0, set[str](), 0
    for position, token in enumerate(tokens, 1):
        types.add(token)
        length += 1
        ratio = len(types) / length
        if position == n:
            factors += (1 - ratio) / (1 - threshold)
        elif ratio < threshold and length >= min_tokens:
            factors += 1
            types, length = set(), 0
    return n / factors if factors else 0.0


def lexical_diversity(texts: Sequence[str], *, sample: int = 42, tokenize: Tokenizer = words) -> dict[str, float]:
    """The measures of the pooled tokens that do not depend on their order: ttr, root_ttr, log_ttr and hdd.

    Args:
        texts: the set; its tokens are pooled.
        sample: size of HD-D's sample.
        tokenize: text to tokens.

    Raises:
        BadInput: there is no text.
    """
    tokens = pooled(texts, tokenize, "lexical_diversity")
    return {
        "ttr": type_token_ratio(tokens),
        "root_ttr": root_type_token_ratio(tokens),
        "log_ttr": log_type_token_ratio(tokens),
        "hdd": hdd(tokens, sample=sample),
    }


def mattr_of_texts(texts: Sequence[str], *, window: int = 50, tokenize: Tokenizer = words) -> float:
    """MATTR of the texts' tokens one after another; it depends on their order.

    Args:
        texts: the set; its tokens are pooled.
        window: tokens in a window.
        tokenize: text to tokens.
    """
    return moving_average_ttr(pooled(texts, tokenize, "MATTR"), window=window)


def mtld_of_texts(
    texts: Sequence[str], *, threshold: float = 0.72, min_tokens: int = 10, tokenize: Tokenizer = words
) -> float:
    """MTLD of the texts' tokens one after another; it depends on their order.

    Args:
        texts: the set; its tokens are pooled.
        threshold: type-token ratio below which a segment ends, in (0, 1).
        min_tokens: shortest segment.
        tokenize: text to tokens.
    """
    return mtld(pooled(texts, tokenize, "MTLD"), threshold=threshold, min_tokens=min_tokens)


def pooled(texts: Sequence[str], tokenize: Tokenizer, measure: str) -> list[str]:
    """The tokens of all texts, one after another.

    Raises:
        BadInput: there is no text.
    """
    return [token for text in at_least_one(texts, measure) for token in tokenize(text)]
