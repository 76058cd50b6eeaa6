"""Skills by name: which keywords a question asks for, who is good at them, and who is recruited.

Symbolic Mixture-of-Experts: Adaptive Skill-based Routing for Heterogeneous Reasoning (2025, arXiv:2503.05641). Where
the article and its released code differ (the normalisation of strengths), this follows the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polyculture.errors import BadInput
from polyculture.space.kernels import unit_rows


def parse_keywords(text: str) -> list[str]:
    """The keywords in a reply: after the last "Keywords:" (or the whole text), split on commas, lower case, no dots.

    >>> parse_keywords("Sure. Keywords: Algebra, number theory.")
    ['algebra', 'number theory']
    """
    return [part.strip().lower().replace(".", "") for part in text.split("Keywords:")[-1].split(",")]


def repeated_keywords(parsed: Sequence[Sequence[str]], *, max_len: int = 20, more_than: int = 1) -> list[str]:
    """The keywords of at most ``max_len`` characters that occur more than ``more_than`` times over all lists.

    In order of first appearance; a list that repeats a keyword counts it again.
    """
    counts = Counter(keyword for keywords in parsed for keyword in keywords if len(keyword) <= max_len)
    return [keyword for keyword, count in counts.items() if count > more_than]


@dataclass(frozen=True)
class SkillProfile:
    """What one expert is good at.

    Attributes:
        scores: keyword -> questions right minus questions wrong.
        counts: keyword -> questions it was tried on; few mean a noisy score.
        accuracy: share of all questions it got right.
    """

    scores: dict[str, int]
    counts: dict[str, int]
    accuracy: float

    @property
    def accuracy_percent(self) -> float:
        """Accuracy in percent, to two decimals."""
        return round(100 * self.accuracy, 2)


def skill_profile(keywords: Sequence[Sequence[str]], right: Sequence[bool]) -> SkillProfile:
    """An expert's profile: each keyword of a question gains 1 if the expert was right on it and loses 1 if not.

    Args:
        keywords: (n,) keywords of each validation question.
        right: (n,) whether the expert was right.

    Raises:
        BadInput: not one outcome a question, or no question.
    """
    if len(keywords) != len(right) or not len(right):
        raise BadInput(
            f"{len(keywords)} questions but {len(right)} outcomes; give one outcome a question, at least one"
        )
    scores: dict[str, int] = {}
    counts: dict[str, int] = {}
    for own, correct in zip(keywords, right, strict=True):
        for keyword in own:
            scores[keyword] = scores.get(keyword, 0) + (1 if correct else -1)
            counts[keyword] = counts.get(keyword, 0) + 1
    return SkillProfile(scores, counts, float(np.mean(np.asarray(right, dtype=bool))))


def normalised_strength(totals: Sequence[float], temperature: float = 0.5) -> np.ndarray:
    """Totals as shares: shifted by -min + 1 if any is negative, to the power 1 / temperature, over their sum.

    Args:
        totals: (m,) net scores.
        temperature: 0.5 squares them; above 0.

    Returns:
        (m,) shares summing to 1; equal where all totals are 0.

    Raises:
        BadInput: there are no totals, or the temperature is not above 0.
    """
    if not len(totals) or temperature <= 0:
        raise BadInput("strengths need at least one total and a temperature above 0")
    held = np.asarray(totals, dtype=np.float64)
    low = held.min()
    raised = (held - low + 1 if low < 0 else held) ** (1 / temperature)
    whole = raised.sum()
    return np.asarray(raised / whole if whole > 0 else np.full(len(held), 1 / len(held)))


def global_strength(
    profiles: Mapping[str, Mapping[str, float]], temperature: float = 0.5
) -> tuple[dict[str, float], dict[str, float]]:
    """How strong each expert is overall.

    Args:
        profiles: expert -> {keyword: net score}.
        temperature: see :func:`normalised_strength`.

    Returns:
        The total of each profile, and the strengths, which sum to 1.
    """
    totals = {name: sum(profile.values()) for name, profile in profiles.items()}
    shares = normalised_strength(list(totals.values()), temperature)
    return totals, {name: float(share) for name, share in zip(totals, shares, strict=True)}


def local_scores(profiles: Mapping[str, Mapping[str, float]], keywords: Sequence[str]) -> dict[str, float]:
    """How well each expert does on a question's keywords: the sum of its net scores, a repeated keyword counting again.

    An expert that knows none of the keywords is left out.
    """
    return {
        name: sum(profile[keyword] for keyword in keywords if keyword in profile)
        for name, profile in profiles.items()
        if any(keyword in profile for keyword in keywords)
    }


def recruit_probabilities(scores: Mapping[str, float], strength: Mapping[str, float]) -> dict[str, float]:
    """Who is drawn for a question, proportional to local score times global strength.

    Args:
        scores: local scores; experts at 0 or below are left out, unless all are: then score - min + 1 counts for all.
        strength: global strengths of all experts.

    Returns:
        Expert -> probability, summing to 1. Without any local score all experts are equally likely; so are those left
        when every weight is 0.
    """
    if not scores:
        return dict.fromkeys(strength, 1 / len(strength)) if strength else {}
    eligible = {name: score for name, score in scores.items() if score > 0}
    if not eligible:
        low = min(scores.values())
        eligible = {name: score - low + 1 for name, score in scores.items()}
    weights = {name: score * strength[name] for name, score in eligible.items()}
    whole = sum(weights.values())
    if whole <= 0:
        return dict.fromkeys(weights, 1 / len(weights))
    return {name: weight / whole for name, weight in weights.items()}


def trim_replacement(counts: Mapping[str, int], expert: str, threshold: float = 0.05) -> dict[str, float]:
    """Who answers a slot recruited for an expert when rarely recruited ones are replaced, to save loading them.

    Args:
        counts: expert -> recruited slots.
        expert: whose slot it is.
        threshold: share of all slots below which an expert is replaced.

    Returns:
        Expert -> probability: itself if it is frequent, else the frequent ones in proportion to their slots.

    Raises:
        BadInput: no expert is frequent.
    """
    whole = sum(counts.values())
    frequent = {name: count for name, count in counts.items() if whole and count / whole >= threshold}
    if not frequent:
        raise BadInput(f"no expert holds {threshold:.0%} of the slots; lower the threshold")
    if expert in frequent:
        return {expert: 1.0}
    held = sum(frequent.values())
    return {name: count / held for name, count in frequent.items() if count}


def map_keywords(
    target_embeddings: np.ndarray, available_embeddings: np.ndarray, available: Sequence[str]
) -> list[str]:
    """For each target the available keyword with the highest cosine similarity, the first of equals.

    Args:
        target_embeddings: (t, d).
        available_embeddings: (a, d), a >= 1.
        available: (a,) keywords.

    Raises:
        BadInput: nothing is available, or an embedding is not finite.
    """
    targets, held = np.atleast_2d(target_embeddings), np.atleast_2d(available_embeddings)
    if not len(available) or len(held) != len(available):
        raise BadInput(f"{len(available)} keywords but {len(held)} embeddings; give one embedding a keyword")
    if not (np.isfinite(targets).all() and np.isfinite(held).all()):
        raise BadInput("a keyword's embedding is not finite")
    if not targets.size:
        return []
    similarity = unit_rows(targets.astype(np.float64)) @ unit_rows(held.astype(np.float64)).T
    # A matrix product need not round equal columns alike: what is as near but for rounding counts as equal.
    nearest = np.argmax(similarity >= similarity.max(axis=1, keepdims=True) - 1e-12, axis=1)
    return [available[int(i)] for i in nearest]
