"""Policies compared: how often they win, in and out of distribution, and how varied they are for one input and across.

"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023), Sections 4 and 5. Intervals of what is a
mean over inputs are 95 % bootstrap intervals over inputs, of differences paired by input; where there are fewer than
FEW inputs, for which those are too narrow, they reach at least as far as Student's. Diversity across inputs is of the
j-th output of every input; the paper takes j = 1, here it is the mean over all j, with Student's interval, which is
over draws of outputs for these inputs and says nothing of other inputs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure.per_input import Metric, default_metrics
from polyculture.measure.spread import mean_pairwise_distance
from polyculture.measure.tokens import undotted_words
from polyculture.space.embedders import Embedder

RESAMPLES = 2000
ROUNDING = 1e-9
NGRAMS = 5
"""The longest n-grams of the paper's metrics."""
LENGTHENED = 1.1
"""Outputs this many times as long are said to be longer."""
FEW = 20
"""Inputs below which a bootstrap interval is not trusted."""
BLOCK = 2**20
"""Values resampled at once."""
SFT, BEST = "SFT", "best-of-n"
DIFFERENT = "different"
"""Different outputs over all outputs; not one of the paper's metrics, so that no claim is about it."""
HEADLINE = "ead"
"""The metric of the claims' across-input part and of the plots."""

Place = Literal["inside", "outside"]
Diversity = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]
"""By metric: (n,) for one input, (K,) across inputs, and of everything pooled."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the ends equal the value where there is nothing to take one over.

    Args:
        value: the number.
        low: the interval's lower end.
        high: its upper end.
    """

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below 0 by more than rounding, else 0."""
        return 1 if self.low > ROUNDING else -1 if self.high < -ROUNDING else 0

    def __str__(self) -> str:
        value, low, high = (0.0 if abs(x) < ROUNDING else x for x in (self.value, self.low, self.high))
        return f"{value:.3g} [{low:.3g}, {high:.3g}]"


@dataclass(frozen=True)
class Measured:
    """One policy on one set of inputs.

    Args:
        wins: (n,) share of each input's outputs that the judge puts above the reference answer; ties count half.
        scores: (n,) the judge's mean score of each input's outputs.
        per_input: metric -> (n,) diversity of each input's outputs.
        across: metric -> (K,) diversity of the j-th output of every input.
        pooled: metric -> diversity of all outputs.
        length: mean words of an output.
    """

    wins: np.ndarray
    scores: np.ndarray
    per_input: Mapping[str, np.ndarray]
    across: Mapping[str, np.ndarray]
    pooled: Mapping[str, float]
    length: float

    def to_dict(self) -> dict[str, Any]:
        """Values with their intervals."""
        return {
            "win": vars(mean(self.wins)),
            "judge": vars(mean(self.scores)),
            "per_input": {name: vars(mean(values)) for name, values in self.per_input.items()},
            "across_input": {name: vars(over_draws(values)) for name, values in self.across.items()},
            "pooled": dict(self.pooled),
            "length": self.length,
        }


@dataclass(frozen=True)
class Policy:
    """A policy and what was measured of it.

    Args:
        name: to show.
        measured: by place.
        kl: KL(policy || SFT), in nats an answer; None if it was not measured.
        coefficient: of the KL penalty it was trained with; None if it was not trained by RL.
    """

    name: str
    measured: Mapping[Place, Measured]
    kl: float | None = None
    coefficient: float | None = None

    @property
    def gap(self) -> float | None:
        """The generalisation gap: win rate in distribution less that out of it."""
        if "outside" not in self.measured:
            return None
        return float(self.measured["inside"].wins.mean() - self.measured["outside"].wins.mean())


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and whether it shows.

    Args:
        text: the claim.
        difference: what it says is above 0.
    """

    text: str
    difference: Estimate

    @property
    def verdict(self) -> str:
        """What the interval says of the claim: yes, the reverse, or nothing."""
        return {1: "yes", -1: "no, the reverse", 0: "not shown"}[self.difference.sign]


@dataclass(frozen=True)
class Measures:
    """What outputs are measured with.

    Args:
        metrics: name -> diversity of a set of texts.
        embedder: of the texts, for the cosine diversity; None leaves it out.
    """

    metrics: Mapping[str, Metric] = field(default_factory=default_metrics)
    embedder: Embedder | None = None

    def of(self, sets: Mapping[Any, Sequence[Sequence[str]]]) -> dict[Any, Diversity]:
        """Per-input, across-input and pooled diversity of several policies' outputs.

        Args:
            sets: name -> one list of texts an input.
        """
        found: dict[Any, Diversity] = {}
        vectors = self._vectors(sets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an output too short for an n-gram is no news here
            for name, outputs in sets.items():
                held = {metric: _protocol(function, outputs) for metric, function in self.metrics.items()}
                held[DIFFERENT] = _protocol(lambda texts: len(set(texts)) / len(texts), outputs)
                if vectors is not None:
                    held["embedding"] = _protocol(mean_pairwise_distance, vectors[name])
                found[name] = (
                    {metric: one[0] for metric, one in held.items()},
                    {metric: one[1] for metric, one in held.items()},
                    {metric: one[2] for metric, one in held.items()},
                )
        return found

    def _vectors(self, sets: Mapping[Any, Sequence[Sequence[str]]]) -> dict[Any, np.ndarray] | None:
        """(n, K, d) of each set; embedded together, since some embedders are fitted on what they are given."""
        if self.embedder is None:
            return None
        texts = [text for outputs in sets.values() for own in outputs for text in own]
        different = list(dict.fromkeys(texts))
        rows = np.asarray(self.embedder.embed(different), dtype=np.float32)
        place = {text: i for i, text in enumerate(different)}
        return {name: rows[[[place[text] for text in own] for own in outputs]] for name, outputs in sets.items()}


def _protocol(metric: Callable[[Any], float], outputs: Any) -> tuple[np.ndarray, np.ndarray, float]:
    per_input = np.array([metric(own) for own in outputs])
    columns = range(min(len(own) for own in outputs))
    firsts = [[own[j] for own in outputs] for j in columns]
    if isinstance(outputs, np.ndarray):
        return (
            per_input,
            np.array([metric(np.stack(one)) for one in firsts]),
            metric(outputs.reshape(-1, outputs.shape[-1])),
        )
    return per_input, np.array([metric(one) for one in firsts]), metric([text for own in outputs for text in own])


def mean(values: np.ndarray, *, seed: int = 0) -> Estimate:
    """The mean over inputs with its bootstrap interval.

    Args:
        values: (n,) one number an input; NaNs (undefined) are left out.
        seed: of the resampling.
    """
    held = np.asarray(values, dtype=np.float64)
    held = held[~np.isnan(held)]
    if not held.size:
        return Estimate(math.nan, math.nan, math.nan)
    return _estimate(float(held.mean()), _resampled_means(held, np.random.default_rng(seed)), [held])


def over_draws(values: np.ndarray) -> Estimate:
    """The mean over draws with Student's interval.

    Args:
        values: (K,) one number a draw.
    """
    held = np.asarray(values, dtype=np.float64)
    if held.size < 2:
        return Estimate(*([float(held.mean())] * 3))
    from scipy.stats import t

    half = float(t.ppf(0.975, held.size - 1) * held.std(ddof=1) / math.sqrt(held.size))
    return Estimate(float(held.mean()), float(held.mean()) - half, float(held.mean()) + half)


def difference_of_means(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> Estimate:
    """mean(a) - mean(b) of two sets of inputs, resampled apart.

    Args:
        a: (n,) numbers.
        b: (m,) numbers.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = _resampled_means(a, rng) - _resampled_means(b, rng)
    return _estimate(float(a.mean() - b.mean()), drawn, [a, b])


def _estimate(value: float, drawn: np.ndarray, samples: Sequence[np.ndarray]) -> Estimate:
    """A value with the interval of its resamples, or where a sample is small with Student's if that is wider."""
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    fewest = min(len(sample) for sample in samples)
    if 2 <= fewest < FEW:
        from scipy.stats import t

        half = float(t.ppf(0.975, fewest - 1) * math.sqrt(sum(held.var(ddof=1) / len(held) for held in samples)))
        low, high = min(low, value - half), max(high, value + half)
    return Estimate(value, low, high)


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means of as many values drawn with replacement, a block of resamples at a time."""
    n = len(values)
    blocks = range(0, RESAMPLES, max(1, BLOCK // n))
    sizes = np.diff([*blocks, RESAMPLES])
    return np.concatenate([values[rng.integers(n, size=(size, n))].mean(axis=1) for size in sizes])


def win_values(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n,) share of an input's outputs that score above its reference answer; ties count half.

    Args:
        scores: (n, K) of the outputs.
        references: (n,) of the reference answers.

    Raises:
        BadInput: the shapes don't fit.
    """
    if scores.ndim != 2 or references.shape != scores.shape[:1]:
        raise BadInput(f"scores (n, K) and references (n,) have shapes {scores.shape} and {references.shape}")
    above = (scores > references[:, None]) + 0.5 * (scores == references[:, None])
    shares: np.ndarray = above.mean(axis=1)
    return shares


def measured(wins: np.ndarray, scores: np.ndarray, outputs: Sequence[Sequence[str]], diversity: Diversity) -> Measured:
    """What was found of one policy, put together.

    Args:
        wins: (n,) as of :class:`Measured`.
        scores: (n,) as of :class:`Measured`.
        outputs: texts, those of each input.
        diversity: what :meth:`Measures.of` found.
    """
    length = float(np.mean([len(undotted_words(text)) for own in outputs for text in own]))
    return Measured(wins, scores, *diversity, length)


def nearest_to_best_of_n(policies: Mapping[str, Policy], control: float | None = None) -> str:
    """The RL policy whose win rate in distribution is nearest to best-of-n's: the two are compared at equal quality.

    Args:
        policies: by name.
        control: the coefficient that does not count.
    """
    rl = [p for p in policies.values() if p.coefficient is not None and p.coefficient != control]
    goal = policies[BEST].measured["inside"].wins.mean()
    return min(rl, key=lambda p: abs(p.measured["inside"].wins.mean() - goal)).name


def claims_of(policies: Mapping[str, Policy], rl: str) -> list[Claim]:
    """The paper's claims, each as a difference that should be above 0.

    Args:
        policies: by name: SFT, best-of-n, and the RL policy.
        rl: which RL policy.
    """
    sft, best, learned = (policies[name].measured for name in (SFT, BEST, rl))
    lead = {place: learned[place].wins - sft[place].wins for place in learned}
    found = [Claim(f"{rl} wins more than SFT in distribution", mean(lead["inside"]))]
    if "outside" in lead:
        found.append(Claim(f"{rl} wins more than SFT out of distribution", mean(lead["outside"])))
        found.append(
            Claim(
                f"the lead of {rl} over SFT grows with the shift", difference_of_means(lead["outside"], lead["inside"])
            )
        )
    metrics = [name for name in sft["inside"].per_input if name != DIFFERENT]
    for place in learned:
        where = "" if place == "inside" else ", out of distribution"
        for name in metrics:
            less = sft[place].per_input[name] - learned[place].per_input[name]
            found.append(Claim(f"{rl} is less varied than SFT for one input ({name}{where})", mean(less)))
    for name in metrics:
        less = sft["inside"].across[name] - learned["inside"].across[name]
        found.append(Claim(f"{rl} is less varied than SFT across inputs ({name})", over_draws(less)))
    for place in learned:
        where = "" if place == "inside" else ", out of distribution"
        for name in metrics:
            more = best[place].per_input[name] - learned[place].per_input[name]
            found.append(Claim(f"best-of-n is more varied than {rl} for one input ({name}{where})", mean(more)))
    return found


def control_differences(policies: Mapping[str, Policy], control: str) -> dict[str, Estimate]:
    """What RL that may hardly leave SFT differs by from SFT: wins and diversity, paired by input.

    Args:
        policies: by name.
        control: which RL policy.
    """
    found = {}
    for place, held in policies[control].measured.items():
        sft = policies[SFT].measured[place]
        found[f"win, {place}"] = mean(held.wins - sft.wins)
        found[f"{HEADLINE} per input, {place}"] = mean(held.per_input[HEADLINE] - sft.per_input[HEADLINE])
    return found


def length_notes(policies: Mapping[str, Policy]) -> list[str]:
    """What the lengths of outputs do to measures of n-grams, where it matters.

    Args:
        policies: by name.
    """
    lengths = {name: policy.measured["inside"].length for name, policy in policies.items()}
    shortest, longest = min(lengths, key=lambda n: lengths[n]), max(lengths, key=lambda n: lengths[n])
    notes = []
    if lengths[shortest] < NGRAMS:
        notes.append(
            f"Outputs of {shortest} have {lengths[shortest]:.1f} words; ead and distinct count n-grams of up to "
            f"{NGRAMS} words, of which shorter outputs have none, and so look less varied."
        )
    if lengths[longest] > LENGTHENED * lengths[shortest]:
        notes.append(
            f"Outputs of {longest} have {lengths[longest]:.1f} words, those of {shortest} {lengths[shortest]:.1f}: "
            "longer ones repeat n-grams more often, so differences in diversity are partly of length."
        )
    return notes
