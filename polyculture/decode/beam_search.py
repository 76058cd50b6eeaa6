"""Beam search over reasoning steps with a process reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, prompt_rng
from polyculture.decode.particles import ParticleRun, beam_search
from polyculture.decode.scores import Reward
from polyculture.decode.stepwise import FINAL, Reasoner, StepwiseSearch, select_whole
from polyculture.llm.base import LLM, Prompt


@dataclass(frozen=True)
class BeamSearch(StepwiseSearch):
    """Extend n partial solutions step by step, keeping the n / width best by a process reward after each step.

    Scaling LLM Test-Time Compute Optimally (Snell et al., 2024), section 5.2. Candidates that exist already are whole,
    so reranking them is its last step alone: the best process reward.

    Args:
        width: children of each kept solution.
        max_steps: the most steps of a solution.
        score: the process reward: "auto" or "self-certainty" (exp of the mean log-probability of the tokens so far),
            ``python:module:function``, or a callable ``reward(prompts, partial responses) -> (n,)`` in [0, 1]. When
            reranking, "auto" is the candidates' own score if they carry one, else log-probability per token.
        separator: what ends a step; ``sampling.max_tokens`` bounds a step.
        final: a regular expression; a step that holds it is a solution's last.
        answer_of: how the answer of a solution is read.
    """

    name: ClassVar[str] = "beam-search"
    width: int = 4
    max_steps: int = 16
    score: str | Reward = "auto"
    separator: str = "\n\n"
    final: str = FINAL
    answer_of: str | AnswerOf = "final-number"

    def _run(self, reasoner: Reasoner, n: int, rng: np.random.Generator) -> tuple[ParticleRun, str]:
        run = beam_search(reasoner.propose, reasoner.score, n, width=self.width, max_steps=self.max_steps)
        return run, f"the highest process reward of {n} solutions after {run.log[-1].t} steps"

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        return select_whole(candidates, k, "argmax", prompt_rng(seed, prompt))
