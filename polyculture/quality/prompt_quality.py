"""How meaningful, well-formed and harmless a language model finds a prompt, from 0 to 10.

Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models (FiFA, 2024), text quality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from polyculture.llm.base import LLM
from polyculture.pool import Pool
from polyculture.quality.judge import Judged, filled
from polyculture.quality.pairs import blocks

BLOCK_TEXTS = 1024

QUESTION = """Rate this prompt from 0 to 10 as material to train a generative model on. Give a high number if it is \
meaningful, well-formed and harmless, a low one if it is gibberish, broken, or asks for something harmful.

Prompt:
{text}

Reply with one whole number from 0 to 10, and nothing else."""


@dataclass(eq=False)
class PromptQuality(Judged):
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

    def score(self, pool: Pool) -> np.ndarray:
        """One rating a row, (n,) float64 from 0 to 10.

        Raises:
            BadInput: the pool has no texts, or the question holds braces other than {text}.
        """
        pool.need("texts")
        held: dict[str, float] = {}
        scores: list[float] = []
        for block in blocks(pool.texts or (), BLOCK_TEXTS):
            fresh = [text for text in dict.fromkeys(block) if text not in held]
            ratings = self._rate([filled(self.question or QUESTION, text=text) for text in fresh])
            held |= {text: float(math.floor(rating)) for text, rating in zip(fresh, ratings, strict=True)}
            scores += [held[text] for text in block]
        return np.array(scores, dtype=np.float64)
