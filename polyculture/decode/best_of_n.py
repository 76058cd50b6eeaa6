"""Best-of-n: the candidate that a reward model likes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import Candidate, Decision, Step, Strategy
from polyculture.decode.scores import Reward, judged, with_keys, with_scores
from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Prompt


def best_of_n(scores: Sequence[float]) -> int:
    """Position of the highest score; ties go to the first.

    Args:
        scores: (n,) scores, n >= 1; NaN never wins.

    Raises:
        BadInput: there is no score, or all are NaN.

    >>> best_of_n([0.1, 0.9, 0.9])
    1
    """
    held = np.asarray(scores, dtype=np.float64)
    numbers = np.flatnonzero(~np.isnan(held))  # nanargmax would take a NaN for the -inf beside it
    if numbers.size == 0:
        raise BadInput("best-of-n needs at least one score that is a number")
    return int(numbers[np.argmax(held[numbers])])


@dataclass(frozen=True)
class BestOfN(Strategy):
    """Draw n candidates, submit the k with the highest scores; ties go to the first drawn.

    Training Verifiers to Solve Math Word Problems (Cobbe et al., 2021), section 4. The stronger the search, the more a
    wrong reward is exploited: more candidates can make it worse.

    Args:
        score: "auto" (the candidates' own scores, else log-probability per token), "given", "logprob", "length",
            "quality:NAME", ``python:module:function``, or a callable ``reward(prompts, responses) -> (n,)``.
        answer_of: how answers are read for the trace; they play no part in the choice.
    """

    name: ClassVar[str] = "best-of-n"
    score: str | Reward = "auto"
    answer_of: str | AnswerOf = "final-number"

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return with_scores(with_keys(candidates, self.answer_of), self.score, prompt)

    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        order = sorted(judged(candidates), key=lambda i: -(candidates[i].score or 0.0))
        if not order:
            return Decision([], "no candidate has a score that is a number")
        best = candidates[order[0]]
        return Decision(order[:k], f"its score {best.score:.6g} is the highest of {len(order)}")
