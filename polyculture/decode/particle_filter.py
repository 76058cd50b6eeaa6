"""Particle filters as strategies: plain, and with entropic annealing against premature exploitation.

Mitigating Premature Exploitation in Particle-based Monte Carlo for Inference-Time Scaling (2025, arXiv:2510.05825).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, prompt_rng
from polyculture.decode.particles import Annealing, ParticleRun, Resampling, particle_filter
from polyculture.decode.scores import Reward
from polyculture.decode.stepwise import FINAL, Reasoner, StepwiseSearch, select_whole
from polyculture.llm.base import LLM, Prompt


@dataclass(frozen=True)
class ParticleFilter(StepwiseSearch):
    """Extend n partial solutions step by step, resampling them by a process reward after each step.

    Plain particle filtering: multinomial resampling, no annealing. Candidates that exist already are whole, so
    reranking them is its last step alone: the best process reward.

    Args:
        max_steps: T, the most steps of a solution.
        score: the process reward: "auto" or "self-certainty" (exp of the mean log-probability of the tokens so far),
            ``python:module:function``, or a callable ``reward(prompts, partial responses) -> (n,)`` in [0, 1]. When
            reranking, "auto" is the candidates' own score if they carry one, else log-probability per token.
        resampling: "multinomial", "systematic", or "none".
        selection: "argmax" takes the final particle with the highest weight, "sample" draws one by its weight.
        separator: what ends a step; ``sampling.max_tokens`` bounds a step.
        final: a regular expression; a step that holds it is a solution's last.
        answer_of: how the answer of a solution is read.
    """

    name: ClassVar[str] = "particle-filter"
    max_steps: int = 16
    score: str | Reward = "auto"
    resampling: Resampling = "multinomial"
    selection: Literal["argmax", "sample"] = "argmax"
    separator: str = "\n\n"
    final: str = FINAL
    answer_of: str | AnswerOf = "final-number"

    def _run(self, reasoner: Reasoner, n: int, rng: np.random.Generator) -> tuple[ParticleRun, str]:
        annealing, ess_threshold, early_phase, look_ahead = self._annealing()
        run = particle_filter(
            reasoner.propose,
            reasoner.score,
            n,
            max_steps=self.max_steps,
            rng=rng,
            resampling=self.resampling,
            selection=self.selection,
            annealing=annealing,
            ess_threshold=ess_threshold,
            early_phase=early_phase,
            look_ahead=look_ahead,
        )
        how = "highest weight" if self.selection == "argmax" else "particle drawn by weight"
        return run, f"the {how} of {n} particles after {run.log[-1].t} steps"

    def _annealing(self) -> tuple[Annealing | None, float, float, bool]:
        return None, 0.0, 0.0, False

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        return select_whole(candidates, k, self.selection, prompt_rng(seed, prompt))


@dataclass(frozen=True)
class EntropicParticleFilter(ParticleFilter):
    """Particle filtering that flattens the resampling weights while the particles collapse and the run is early.

    Early over-confident process rewards make a particle set collapse onto one branch. Entropic annealing raises the
    temperature of resampling (never of the final choice) until half of the run is over.

    Args:
        max_steps: T, the most steps of a solution; what counts as early is measured by it.
        score: the process reward: "auto" or "self-certainty" (exp of the mean log-probability of the tokens so far),
            ``python:module:function``, or a callable ``reward(prompts, partial responses) -> (n,)`` in [0, 1]. When
            reranking, "auto" is the candidates' own score if they carry one, else log-probability per token.
        resampling: "systematic", "multinomial", or "none".
        selection: "argmax" takes the final particle with the highest weight, "sample" draws one by its weight.
        separator: what ends a step; ``sampling.max_tokens`` bounds a step.
        final: a regular expression; a step that holds it is a solution's last.
        answer_of: how the answer of a solution is read.
        annealing: "ess" (the paper's), "entropy" or "base".
        ess_threshold: kappa, share of effective particles below which the set counts as collapsing.
        early_phase: share of the run that counts as early; 0 never anneals.
        look_ahead: weigh a particle also by where its next step leads, at one more reward a step (our reading of the
            paper's look-ahead modulation).
    """

    name: ClassVar[str] = "entropic-particle-filter"
    resampling: Resampling = "systematic"
    annealing: Annealing = "ess"
    ess_threshold: float = 0.5
    early_phase: float = 0.5
    look_ahead: bool = False

    def _annealing(self) -> tuple[Annealing | None, float, float, bool]:
        return self.annealing, self.ess_threshold, self.early_phase, self.look_ahead
