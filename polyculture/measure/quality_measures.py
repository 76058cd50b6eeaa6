"""Quality of a data set: ground truth, scorers, perplexity, rubrics and comparisons; judges are callables passed in.

As listed in "Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models"
(2024). What a judge fails to answer is counted and reported, never dropped unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.complexity import one_integer
from polyculture.measure.undefined import undefined


def accuracy(
    answers: Sequence[Any], references: Sequence[Any], *, accepts: Callable[[Any, Any], bool] | None = None
) -> float:
    """Share of samples whose answer equals its reference, or that a verifier accepts.

    Args:
        answers: one a sample.
        references: one a sample.
        accepts: ``accepts(answer, reference)``; None compares for equality.

    Raises:
        BadInput: there is no sample, or lengths differ.
    """
    if len(answers) != len(references) or not len(answers):
        raise BadInput(f"accuracy needs one reference an answer, at least one; got {len(answers)}, {len(references)}")
    right = (a == r if accepts is None else accepts(a, r) for a, r in zip(answers, references, strict=True))
    return sum(bool(x) for x in right) / len(answers)


def pass_at_k(n: Any, c: Any, k: int) -> np.ndarray:
    """The unbiased chance that one of k samples is right: 1 - C(n - c, k) / C(n, k), of the shape of n and c.

    Chen et al., "Evaluating Large Language Models Trained on Code" (2021), eq. 1.

    Args:
        n: samples drawn, at least k.
        c: how many of them are right, 0 to n.
        k: samples allowed, at least 1.

    Raises:
        BadInput: not 0 <= c <= n, or not 1 <= k <= n.
    """
    from scipy.special import gammaln

    n, c = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(c, dtype=np.float64))
    if k < 1 or np.any(n < k) or np.any(c < 0) or np.any(c > n):
        raise BadInput(f"pass_at_k needs 1 <= k <= n and 0 <= c <= n; k is {k}")
    wrong = n - c
    possible = wrong >= k
    left = np.where(possible, wrong, k)
    log_none = gammaln(left + 1) - gammaln(left - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(possible, np.where(c == 0, 0.0, -np.expm1(log_none)), 1.0)


def mean_reward(quality: Sequence[float] | np.ndarray) -> float:
    """Mean of a scorer's outputs.

    Args:
        quality: (n,) scores, at least one.

    Raises:
        BadInput: there is no score, or one is NaN.
    """
    return float(np.mean(_scores(quality, "mean_reward")))


def reward_quantile(quality: Sequence[float] | np.ndarray, *, q: float = 0.5) -> float:
    """Quantile of a scorer's outputs, linearly interpolated.

    Args:
        quality: (n,) scores, at least one.
        q: which quantile, in [0, 1].

    Raises:
        BadInput: there is no score, one is NaN, or q is not in [0, 1].
    """
    if not 0 <= q <= 1:
        raise BadInput(f"a quantile is between 0 and 1, not {q}")
    return float(np.quantile(_scores(quality, "reward_quantile"), q))


@dataclass(frozen=True)
class Perplexity:
    """Of each sample (NaN for a sample without tokens) and of the corpus, one mean over all tokens."""

    per_sample: np.ndarray
    corpus: float


def perplexity(token_logprobs: Sequence[Any]) -> Perplexity:
    """Exponential of minus the mean log-probability a token; lower is better, infinite where one had probability 0.

    Args:
        token_logprobs: one list of log-probabilities a sample; lengths differ.

    Raises:
        BadInput: there is no sample, or a log-probability is NaN or plus infinity.
    """
    held = [np.asarray(sample, dtype=np.float64).reshape(-1) for sample in token_logprobs]
    if not held:
        raise BadInput("perplexity needs at least one sample; the list is empty")
    for row, sample in enumerate(held):
        if not (sample < np.inf).all():
            raise BadInput(f"token_logprobs row {row + 1} holds NaN or plus infinity")
    total, count = sum(float(sample.sum()) for sample in held), sum(sample.size for sample in held)
    each = np.array([_exp(-sample.mean()) if sample.size else math.nan for sample in held])
    if not count:
        return Perplexity(each, undefined("perplexity", "no sample has a token"))
    return Perplexity(each, _exp(-total / count))


def corpus_perplexity(token_logprobs: Sequence[Any]) -> float:
    """:func:`perplexity` of the corpus: one mean over all tokens.

    Args:
        token_logprobs: one list of log-probabilities a sample.
    """
    return perplexity(token_logprobs).corpus


@dataclass(frozen=True)
class RubricScore:
    """Mean in [0, 1] over samples of the mean over answered items; scores (samples, items), NaN where missing."""

    score: float
    scores: np.ndarray
    n_missing: int


def rubric_score(
    samples: Sequence[Any], items: Sequence[str], judge: Callable[[str, Any], int | str | None], *, highest: int = 5
) -> RubricScore:
    """Mean over samples of the mean over rubric items of a judge's integer in 0..5, divided by 5.

    An answer that is not exactly one such integer is missing: left out of its sample's mean, and counted.

    Args:
        samples: what is judged.
        items: the rubric, one question an item.
        judge: ``judge(item, sample)`` answers an integer or a text holding exactly one.
        highest: the best score of an item.

    Raises:
        BadInput: there is no sample or no item.
    """
    if not len(samples) or not len(items):
        raise BadInput("rubric_score needs at least one sample and one item")
    scores = np.array([[one_integer(judge(item, sample), 0, highest) for item in items] for sample in samples])
    answered = ~np.isnan(scores)
    judged = answered.any(axis=1)
    missing = int((~answered).sum())
    if not judged.any():
        return RubricScore(undefined("rubric_score", "the judge gave no usable score"), scores, missing)
    means = np.nansum(scores[judged], axis=1) / answered[judged].sum(axis=1)
    return RubricScore(float(means.mean()) / highest, scores, missing)


@dataclass(frozen=True)
class WinRate:
    """Share that A wins, ties counting half; ``first_bias``: the judge's preference for what it sees first."""

    rate: float
    outcomes: np.ndarray
    n_missing: int
    first_bias: float


def win_rate(a: Sequence[Any], b: Sequence[Any], judge: Callable[[Any, Any], str], *, swap: bool = True) -> WinRate:
    """Wins + ties / 2 over n of A against B, each pair judged in both orders and averaged.

    Args:
        a: one side's candidates.
        b: the other side's, paired with a.
        judge: ``judge(first, second)`` answers "A" (first is better), "B" or "tie"; anything else is missing.
        swap: judge each pair a second time with the two exchanged.

    Returns:
        Outcomes (n,) are 1 for a win of A, 0 for a loss, NaN where no order gave a verdict.

    Raises:
        BadInput: there is no pair, or lengths differ.
    """
    if len(a) != len(b) or not len(a):
        raise BadInput(f"win_rate needs pairs, at least one; got {len(a)} and {len(b)} candidates")
    worth = {"a": 1.0, "b": 0.0, "tie": 0.5}
    seen = np.full((len(a), 2 if swap else 1), np.nan)
    for row, (x, y) in enumerate(zip(a, b, strict=True)):
        seen[row, 0] = worth.get(str(judge(x, y)).strip().lower(), math.nan)
        if swap:
            seen[row, 1] = worth.get(str(judge(y, x)).strip().lower(), math.nan)
    missing = int(np.isnan(seen).sum())
    bias = float(np.nanmean(seen)) - 0.5 if swap and missing < seen.size else math.nan
    if swap:
        seen[:, 1] = 1 - seen[:, 1]
    given = ~np.isnan(seen)
    judged = given.any(axis=1)
    outcomes = np.full(len(a), np.nan)
    outcomes[judged] = np.nansum(seen[judged], axis=1) / given[judged].sum(axis=1)
    if not judged.any():
        return WinRate(undefined("win_rate", "the judge gave no usable verdict"), outcomes, missing, bias)
    return WinRate(float(np.nanmean(outcomes)), outcomes, missing, bias)


def _scores(quality: Any, measure: str) -> np.ndarray:
    held = np.asarray(quality, dtype=np.float64)
    if held.ndim != 1 or not held.size:
        raise BadInput(f"{measure} needs (n,) scores, at least one; these have shape {held.shape}")
    if not np.isfinite(held).all():
        row = int(np.flatnonzero(~np.isfinite(held))[0]) + 1
        raise BadInput(f"{measure}: quality row {row} is NaN or infinite; score or drop it")
    return held


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
