"""Asking a language model for a number: the judge, its question, and the number in its reply."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from polyculture.errors import BadInput
from polyculture.llm.base import LLM, Sampling
from polyculture.llm.make import make_llm

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
SHORT = Sampling(max_tokens=16, temperature=0.0)
"""How a reply that is a number is sampled."""


class Judged:
    """What scorers that ask a language model share: the judge named by ``model`` is loaded at its first use."""

    model: str | LLM
    seed: int

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: a judge that counts."""
        from polyculture.llm.scripted import ScriptedLLM

        return {"model": ScriptedLLM(lambda prompt, sample, random: str(len(str(prompt)) % 11))}

    @cached_property
    def llm(self) -> LLM:
        """The judge, loaded at its first use."""
        return make_llm(self.model) if isinstance(self.model, str) else self.model

    def _rate(self, questions: Sequence[str]) -> list[float]:
        """The number from 0 to 10 in each reply; 0 where there is none, with a warning that says how often."""
        if not questions:
            return []
        replies = self.llm.generate(questions, sampling=SHORT, seed=self.seed)
        numbers = [first_number(reply.text, 0, 10) for (reply,) in replies]
        if None in numbers:
            warnings.warn(
                f"{numbers.count(None)} of {len(numbers)} replies of {self.llm.name} hold no number and count 0; the "
                f"first is {replies[numbers.index(None)][0].text[:60]!r}",
                stacklevel=4,
            )
        return [0.0 if number is None else number for number in numbers]


def filled(question: str, **fields: str) -> str:
    """The question with its fields filled in.

    Raises:
        BadInput: it holds braces other than those fields.
    """
    try:
        return question.format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        may = " and ".join(f"{{{name}}}" for name in fields)
        raise BadInput(f"the question may hold {may}, and no other braces: {error}") from None


def first_number(reply: str, low: float, high: float) -> float | None:
    """The first number of a reply, brought into [low, high]; None if there is none.

    >>> first_number("Score: 7/10", 0, 10), first_number("12", 0, 10), first_number("good", 0, 10)
    (7.0, 10.0, None)
    """
    found = NUMBER.search(reply)
    return None if found is None else float(min(high, max(low, float(found.group()))))
