"""Soft best-of-n: answers drawn in proportion to their share times the exponential of their reward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, Step, Strategy, prompt_rng
from polyculture.decode.groups import Group
from polyculture.decode.majority import scored_groups
from polyculture.decode.scores import Reward, with_keys, with_scores
from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Prompt


def soft_best_of_n_probabilities(groups: Sequence[Group], beta: float = 1.0) -> np.ndarray:
    """The probability of each answer, proportional to freq * exp(beta * mean score).

    Args:
        groups: answers with their shares and mean scores.
        beta: inverse temperature, >= 0; 0 draws by share alone.

    Returns:
        (len(groups),) probabilities; where scores are infinite, the answers with +inf alone (or, if all are -inf, all)
        share by freq.

    Raises:
        BadInput: a group has no score, or beta is negative.
    """
    if beta < 0:
        raise BadInput(f"beta should be at least 0, not {beta}")
    if any(g.mean_score is None for g in groups):
        raise BadInput("the candidates have no scores; give a score to draw answers by")
    share = np.array([g.freq for g in groups])
    score = np.array([g.mean_score for g in groups], dtype=np.float64)
    if not len(groups) or beta == 0:
        return share / max(share.sum(), math.ulp(0.0))
    top = score.max()
    raised = (score == top) * share if math.isinf(top) else share * np.exp(beta * (score - top))
    return np.asarray(raised / raised.sum())


def calibrated(groups: Sequence[Group]) -> list[Group]:
    """The groups with their scores replaced by mid-rank quantiles: (samples of worse answers + own samples / 2) / N.

    Answers of equal score share one quantile, in the middle of their samples.
    """
    n = round(groups[0].count / groups[0].freq) if groups else 1
    scores = [g.mean_score or 0.0 for g in groups]
    worse = [sum(o.count for o, s in zip(groups, scores, strict=True) if s < own) for own in scores]
    same = [sum(o.count for o, s in zip(groups, scores, strict=True) if s == own) for own in scores]
    return [replace(g, mean_score=(w + e / 2) / n) for g, w, e in zip(groups, worse, same, strict=True)]


@dataclass(frozen=True)
class SoftBestOfN(Strategy):
    """Draw n candidates, then k answers without replacement with probability proportional to share * exp(beta r).

    The baseline SBoN of Best-of-Majority (2025, arXiv:2510.03199); with ``calibrate`` its SBoN(C).

    Args:
        beta: inverse temperature; 0 draws by share, large ones approach best-of-n.
        calibrate: replace rewards by their mid-rank quantiles first, so that their scale plays no part.
        score: "auto" (the candidates' own scores, else log-probability per token), "given", "logprob", "length",
            "quality:NAME", ``python:module:function``, or a callable ``reward(prompts, responses) -> (n,)``.
        answer_of: what counts as the same answer.
    """

    name: ClassVar[str] = "soft-best-of-n"
    beta: float = 1.0
    calibrate: bool = False
    score: str | Reward = "auto"
    answer_of: str | AnswerOf = "final-number"

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_scores(with_keys(candidates, self.answer_of), self.score, prompt)

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        groups = scored_groups(candidates)
        if not groups:
            return Decision([], "no answer could be read")
        # Sorted by key, so that the order of the candidates does not change which answer a seed draws.
        order = sorted(range(len(groups)), key=lambda i: str(groups[i].key))
        chances = soft_best_of_n_probabilities(calibrated(groups) if self.calibrate else groups, self.beta)[order]
        size = min(k, int(np.count_nonzero(chances)))
        drawn = [order[i] for i in prompt_rng(seed, prompt).choice(len(order), size, replace=False, p=chances)]
        why = f"drawn with probability {chances[order.index(drawn[0])]:.4g}"
        step = Step(
            "probabilities", details={str(groups[i].key): float(p) for i, p in zip(order, chances, strict=True)}
        )
        return Decision([groups[i].representative for i in drawn], why, groups, [step])
