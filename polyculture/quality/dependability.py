"""Dependability: how correct, helpful and faithful to its prompt a language model finds a response.

D3: Diversity, Difficulty, and Dependability-Aware Data Selection for Sample-Efficient LLM Instruction Tuning (2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.llm.asks import can_score
from polyculture.llm.base import LLM, as_text
from polyculture.pool import Pool
from polyculture.quality.judge import Judged, filled
from polyculture.quality.pairs import Pair, blocks, pair_key, pairs

BLOCK_PAIRS = 1024
"""Pairs that a judge is asked about in one call."""

SPELLINGS = [*("yes", "Yes", " yes", " Yes"), *("no", "No", " no", " No")]
"""What counts as yes and as no: which of them a model would write depends on its tokenizer and its template."""

RATING = """Here is an instruction and a response to it.

Instruction:
{prompt}

Response:
{response}

How correct, helpful and faithful to the instruction is the response, from 0 (not at all) to 10 (fully)? \
Reply with the number only."""

YES_OR_NO = """Here is an instruction and a response to it.

Instruction:
{prompt}

Response:
{response}

Is the response correct, helpful and faithful to the instruction? Reply yes or no."""


@dataclass(eq=False)
class DependabilityQuality(Judged):
    """How correct, helpful and faithful to its prompt a language model finds each response, in [0, 1].

    Either the model is asked for a number from 0 to 10, or for yes or no, and then the score is the share of yes in
    the probability of both. A reply without a number scores 0, and a warning says how many there were; so does an
    empty response, unasked. Source: D3 (2025), dependability; what the judge is asked is this library's.

    Args:
        model: the judge: a path or hub id, http://host:port/v1#MODEL, scripted:FILE.json, or a language model.
        form: "rating" for a number from 0 to 10, "yes-no" for the probability of yes (needs log-probabilities).
        prompt: column of prompts (texts or chat messages; several with commas between); none judges responses alone.
        response: column of responses; none is the pool's text.
        question: what to ask, with {prompt} and {response} in it; none is the built-in question.
        seed: seed of the replies.
    """

    model: str | LLM
    form: Literal["rating", "yes-no"] = "rating"
    prompt: str | None = "prompt"
    response: str | None = "response"
    question: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What reports call it."""
        return "dependability"

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: a judge that counts, on texts without prompts."""
        return super().test_params() | {"prompt": None, "response": None}

    def score(self, pool: Pool) -> np.ndarray:
        """One score a row, (n,) float64 in [0, 1]."""
        rows = pairs(pool, self.prompt, self.response)
        return np.concatenate([np.zeros(0), *(self.score_pairs(block) for block in blocks(rows, BLOCK_PAIRS))])

    def score_pairs(self, held: Sequence[Pair]) -> np.ndarray:
        """One score a (prompt, response), (n,) float64; equal pairs are asked about once."""
        keys = [pair_key(pair) for pair in held]
        asked = {key: pair for key, pair in zip(keys, held, strict=True) if pair[1].strip()}
        question = self.question or {"rating": RATING, "yes-no": YES_OR_NO}.get(self.form)
        if question is None or self.form not in ("rating", "yes-no"):
            raise unknown("form of judgement", self.form, ("rating", "yes-no"))
        questions = [filled(question, prompt=as_text(p), response=r) for p, r in asked.values()]
        scores = self._yes(questions) if self.form == "yes-no" else [r / 10 for r in self._rate(questions)]
        given = dict(zip(asked, scores, strict=True))
        return np.array([given.get(key, 0.0) for key in keys], dtype=np.float64)

    def _yes(self, questions: list[str]) -> list[float]:
        if not can_score(self.llm):
            raise BadInput(f"{self.llm.name} gives no log-probabilities, which form='yes-no' needs; use form='rating'")
        asked = [question for question in questions for _ in SPELLINGS]
        terms = self.llm.logprobs(asked, SPELLINGS * len(questions))
        logprobs = np.array([term.sum() for term in terms]).reshape(len(questions), 2, -1)
        yes, no = np.logaddexp.reduce(logprobs, axis=2).T
        return list(np.exp(yes - np.logaddexp(yes, no)))
