"""How meaningful, well-formed and harmless a language model finds a prompt, from 0 to 10.

Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models (FiFA, 2024), text quality.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Sampling
from polyculture.llm.make import make_llm
from polyculture.pool import Pool
from polyculture.quality.judge import first_number

BLOCK_TEXTS = 1024

QUESTION = """Rate this prompt from 0 to 10 as material to train a generative model on. Give a high number if it is \
meaningful, well-formed and harmless, a low one if it is gibberish, broken, or asks for something harmful.

Prompt:
{text}

Reply with one whole number from 0 to 10, and nothing else."""


@dataclass(eq=False)
class PromptQuality:
    """A language model's rating of each text, a whole number from 0 to 10; equal texts are asked about once.

    The first number of a reply counts, rounded down and brought into 0 to 10; a reply without one scores 0, and a
    warning says how many there were. Source: FiFA (2024), text quality; the wording is this library's.

    Args:
        model: the judge: a path or hub id, http://host:port/v1#MODEL, scripted:FILE.json, or a language model.
        question: what to ask, with {text} in it; none is the built-in question.
        seed: seed of the replies.
    """

    model: str | LLM
    question: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What reports call it."""
        return "prompt-quality"

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: a judge that counts."""
        from polyculture.llm.scripted import ScriptedLLM

        return {"model": ScriptedLLM(lambda prompt, sample, random: str(len(str(prompt)) % 11))}

    @cached_property
    def llm(self) -> LLM:
        """The judge, loaded at its first use."""
        return make_llm(self.model) if isinstance(self.model, str) else self.model

    def score(self, pool: Pool) -> np.ndarray:
        """One rating a row, (n,) float64 from 0 to 10.

        Raises:
            BadInput: the pool has no texts, or the question holds braces other than {text}.
        """
        pool.need("texts")
        held: dict[str, float] = {}
        scores: list[float] = []
        texts = iter(pool.texts or ())
        while block := list(itertools.islice(texts, BLOCK_TEXTS)):
            fresh = [text for text in dict.fromkeys(block) if text not in held]
            held |= dict(zip(fresh, self._rate(fresh), strict=True))
            scores += [held[text] for text in block]
        return np.array(scores, dtype=np.float64)

    def _rate(self, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        try:
            questions = [(self.question or QUESTION).format(text=text) for text in texts]
        except (KeyError, IndexError, ValueError) as error:
            raise BadInput(f"the question may hold {{text}}, and no other braces: {error}") from None
        replies = self.llm.generate(questions, sampling=Sampling(max_tokens=16, temperature=0.0), seed=self.seed)
        numbers = [first_number(reply.text, 0, 10) for (reply,) in replies]
        if None in numbers:
            warnings.warn(
                f"{numbers.count(None)} of {len(numbers)} replies of {self.llm.name} hold no number and count 0",
                stacklevel=4,
            )
        return [0.0 if number is None else float(math.floor(number)) for number in numbers]
