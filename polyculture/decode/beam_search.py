"""Beam search over reasoning steps with a process reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import (
    Answer,
    Candidate,
    Decision,
    Step,
    Strategy,
    check_counts,
    checked_seed,
    prompt_rng,
)
from polyculture.decode.particles import beam_search
from polyculture.decode.scores import Reward, with_keys
from polyculture.decode.stepwise import FINAL, Reasoner, score_whole, select_whole
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Prompt, Sampling


@dataclass(frozen=True)
class BeamSearch(Strategy):
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

    def answer_batch(
        self,
        llm: LLM,
        prompts: Sequence[Prompt],
        n: int,
        *,
        k: int = 1,
        sampling: Sampling = DEFAULT_SAMPLING,
        seed: int | None = None,
    ) -> list[Answer]:
        """Run one beam search of n partial solutions for each prompt."""
        check_counts(n, k)
        seed = checked_seed(seed)
        return [self._search(llm, prompt, n, k, sampling, seed) for prompt in prompts]

    def _search(self, llm: LLM, prompt: Prompt, n: int, k: int, sampling: Sampling, seed: int) -> Answer:
        reasoner = Reasoner(llm, prompt, sampling, self.score, self.separator, self.final, seed)
        run = beam_search(reasoner.propose, reasoner.score, n, width=self.width, max_steps=self.max_steps)
        candidates, steps, order = reasoner.outcome(run, self.score in ("auto", "self-certainty"))
        why = f"the highest process reward of {n} solutions after {run.log[-1].t} steps"
        return self._finish(with_keys(candidates, self.answer_of), Decision(order[:k], why), prompt, seed, steps)

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return score_whole(with_keys(candidates, self.answer_of), self.score, prompt)

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        return select_whole(candidates, k, "argmax", prompt_rng(seed, prompt))
