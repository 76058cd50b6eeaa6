"""Majority voting: the answer most samples agree on, each sample counting once or by its score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, Step, Strategy
from polyculture.decode.groups import Group, by_count, group_answers
from polyculture.decode.scores import Reward, judged, with_keys, with_scores
from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Prompt

K = TypeVar("K", bound=Hashable)


def majority_vote(answers: Sequence[K | None]) -> K | None:
    """The most frequent answer; ties go to the one that appears first.

    Args:
        answers: answer keys; None and "" are not votes.

    Returns:
        The winner, or None if there is no vote.

    >>> majority_vote(["D", None, "A", "A", "D"])
    'D'
    """
    groups = by_count(group_answers(answers)) if len(answers) else []
    return groups[0].key if groups else None


@dataclass(frozen=True)
class Majority(Strategy):
    """Draw n candidates, submit the k answers that occur most often; ties go to the one drawn first.

    Self-Consistency Improves Chain of Thought Reasoning in Language Models (Wang et al., 2022). Responses without a
    readable answer have no vote. Each answer is shown by the first response that gives it.

    Args:
        answer_of: what counts as the same answer: "final-number", "exact-match", "choice", "boxed",
            ``python:module:function``, or a callable.
    """

    name: ClassVar[str] = "majority"
    answer_of: str | AnswerOf = "final-number"

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_keys(candidates, self.answer_of), []

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        return vote(candidates, k)


def vote(candidates: Sequence[Candidate], k: int = 1) -> Decision:
    """The decision of a plain majority vote over candidates that have their keys."""
    groups = group_answers([c.key for c in candidates])
    ranked = by_count(groups)
    why = f"{ranked[0].count} of {len(candidates)} candidates agree on it" if ranked else "there is no vote"
    return Decision([g.members[0] for g in ranked[:k]], why, groups)


def vote_weights(
    scores: Sequence[float], weight: Literal["softmax", "score"] = "softmax", temperature: float = 1.0
) -> np.ndarray:
    """What each candidate's vote counts, (n,), summing to 1.

    Args:
        scores: (n,) scores; -inf has no vote.
        weight: "softmax" for scores of any sign, "score" for probabilities and other scores that are at least 0.
        temperature: of the softmax, above 0.

    Raises:
        BadInput: a score is negative under "score", or the temperature is not above 0.
    """
    held = np.asarray(scores, dtype=np.float64)
    if weight == "score":
        if (held < 0).any():
            raise BadInput("a score is negative: it can't weigh a vote as it is; use weight='softmax'")
        if 0 < held.sum() < math.inf:
            return np.asarray(held / held.sum())
        return _equal_votes(held == held.max(initial=0.0))
    if temperature <= 0:
        raise BadInput(f"temperature should be above 0, not {temperature}")
    top = held.max(initial=-math.inf)
    if math.isinf(top):
        return _equal_votes(held == top)
    raised = np.exp((held - top) / temperature)
    return np.asarray(raised / raised.sum())


def _equal_votes(which: np.ndarray) -> np.ndarray:
    """Where weights can't be told apart (all zero, all -inf) all vote alike; where some are infinite, those alone."""
    return np.asarray(which / max(1, which.sum()))


@dataclass(frozen=True)
class WeightedMajority(Strategy):
    """Draw n candidates, submit the k answers with the largest sum of votes, each vote weighing what its score says.

    Making Large Language Models Better Reasoners with Step-Aware Verifier (Li et al., 2022), equation 2. Each answer is
    shown by its best scored response. With equal scores this is the majority.

    Args:
        score: "auto" (the candidates' own scores, else log-probability per token), "given", "logprob", "length",
            "quality:NAME", ``python:module:function``, or a callable ``reward(prompts, responses) -> (n,)``.
        weight: "softmax" turns scores of any sign into weights, "score" takes scores >= 0 as weights.
        temperature: of the softmax; small ones approach best-of-n, large ones the plain majority.
        answer_of: what counts as the same answer.
    """

    name: ClassVar[str] = "weighted-majority"
    score: str | Reward = "auto"
    weight: Literal["softmax", "score"] = "softmax"
    temperature: float = 1.0
    answer_of: str | AnswerOf = "final-number"

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_scores(with_keys(candidates, self.answer_of), self.score, prompt)

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        held = judged(candidates)
        weights = np.zeros(len(candidates))
        scores = [candidates[i].score or 0.0 for i in held]
        weights[held] = vote_weights(scores, self.weight, self.temperature)
        groups = scored_groups(candidates)
        # Sums in a fixed order, so that the order of the candidates can't decide between equal answers.
        votes = {g.key: math.fsum(sorted(weights[list(g.members)])) for g in groups}
        ranked = sorted(groups, key=lambda g: -votes[g.key])
        why = f"its votes weigh {votes[ranked[0].key]:.4g} of {weights.sum():.4g}" if ranked else "there is no vote"
        steps = [Step("votes", details={str(key): value for key, value in votes.items()})]
        return Decision([g.representative for g in ranked[:k]], why, groups, steps)


def scored_groups(candidates: Sequence[Candidate]) -> list[Group]:
    """The groups of candidates that have their keys and scores; one without a score is in no group, nor in N."""
    held = judged(candidates)
    if not held:
        return []
    groups = group_answers([candidates[i].key for i in held], [candidates[i].score for i in held])
    return [
        dataclasses.replace(g, members=tuple(held[i] for i in g.members), representative=held[g.representative])
        for g in groups
    ]
