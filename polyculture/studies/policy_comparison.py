"""Policies compared: how often they win, in and out of distribution, and how varied they are for one input and across.

"Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023), Sections 4 and 5. Diversity across
inputs is of the j-th output of every input; the paper takes j = 1, here it is the mean over all j. Its interval is over
draws of outputs for these inputs and says nothing of other inputs; all others are over inputs, of differences paired.
"""

from __future__ import annotations

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
from polyculture.studies.intervals import Estimate, difference_of_means, mean, over_draws

NGRAMS = 5
"""The longest n-grams of the paper's metrics."""
LENGTHENED = 1.1
"""Outputs this many times as long are said to be longer."""
SFT, BEST = "SFT", "best-of-n"
DIFFERENT = "different"
"""Different outputs over all outputs; not one of the paper's metrics, so that no claim is about it."""
HEADLINE = "ead"
"""The metric of the claims' across-input part and of the plots."""

Place = Literal["inside", "outside"]
Diversity = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]
"""By metric: (n,) for one input, (K,) across inputs, and of everything pooled."""


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


def paired_win_values(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) share of pairs of an input's outputs and another policy's in which the former score higher; ties count half.

    Args:
        scores: (n, K) of the outputs.
        others: (n, M) of the other policy's, of the same inputs.

    Raises:
        BadInput: the shapes don't fit.
    """
    if scores.ndim != 2 or others.ndim != 2 or len(scores) != len(others):
        raise BadInput(f"scores (n, K) and others (n, M) have shapes {scores.shape} and {others.shape}")
    above = scores[:, :, None] - others[:, None, :]
    shares: np.ndarray = ((above > 0) + 0.5 * (above == 0)).mean(axis=(1, 2))
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


def claims_against(policies: Mapping[str, Policy], name: str, first: str) -> list[Claim]:
    """That a policy wins more than another one and is less varied, each as a difference that should be above 0.

    Args:
        policies: by name, the two among them.
        name: which policy.
        first: what it is compared with, on the same inputs.
    """
    base, learned = policies[first].measured, policies[name].measured
    lead = {place: learned[place].wins - base[place].wins for place in learned}
    found = [Claim(f"{name} wins more than {first} in distribution", mean(lead["inside"]))]
    if "outside" in lead:
        found.append(Claim(f"{name} wins more than {first} out of distribution", mean(lead["outside"])))
        grows = difference_of_means(lead["outside"], lead["inside"])
        found.append(Claim(f"the lead of {name} over {first} grows with the shift", grows))
    metrics = [metric for metric in base["inside"].per_input if metric != DIFFERENT]
    for place in learned:
        where = "" if place == "inside" else ", out of distribution"
        for metric in metrics:
            less = base[place].per_input[metric] - learned[place].per_input[metric]
            found.append(Claim(f"{name} is less varied than {first} for one input ({metric}{where})", mean(less)))
    for metric in metrics:
        less = base["inside"].across[metric] - learned["inside"].across[metric]
        found.append(Claim(f"{name} is less varied than {first} across inputs ({metric})", over_draws(less)))
    return found


def claims_of(policies: Mapping[str, Policy], rl: str) -> list[Claim]:
    """The paper's claims, each as a difference that should be above 0.

    Args:
        policies: by name: SFT, best-of-n, and the RL policy.
        rl: which RL policy.
    """
    found, best, learned = claims_against(policies, rl, SFT), policies[BEST].measured, policies[rl].measured
    for place in learned:
        where = "" if place == "inside" else ", out of distribution"
        for name in learned[place].per_input:
            if name != DIFFERENT:
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
