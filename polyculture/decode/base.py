"""What every answer-level strategy shares: two doors, the order of work behind them, and the trace that comes out.

A strategy draws candidates from a model and chooses among them (or makes a new answer out of them).
:meth:`Strategy.answer` asks a model, :meth:`Strategy.rerank` works on candidates that exist already. Both give an
:class:`Answer`, whose trace holds every candidate with its score, its answer key and its cost, and why it was chosen.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.decode.answers import answer_key
from polyculture.decode.trace import Answer, Candidate, Cost, Decision, Step, Trace, cost_of, total
from polyculture.errors import BadInput
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Prompt, Sampling, as_text, prompt_key

__all__ = ["Answer", "Candidate", "Cost", "Decision", "Step", "Strategy", "Trace", "cost_of", "total"]


@dataclass(frozen=True)
class Strategy(ABC):
    """An answer-level strategy; subclasses are frozen dataclasses whose fields are the hyper-parameters."""

    name: ClassVar[str]

    def answer(
        self,
        llm: LLM,
        prompt: Prompt,
        n: int,
        *,
        k: int = 1,
        sampling: Sampling = DEFAULT_SAMPLING,
        seed: int | None = None,
    ) -> Answer:
        """Answer one prompt with n candidates.

        Args:
            llm: the model to ask.
            prompt: a string or chat messages.
            n: how many candidates to draw, at least 1.
            k: how many answers to submit, best first; fewer come back where fewer are admissible.
            sampling: how to sample.
            seed: None draws one, which the trace names.

        Raises:
            BadInput: n or k is below 1, or the strategy lacks something it needs.
        """
        return self.answer_batch(llm, [prompt], n, k=k, sampling=sampling, seed=seed)[0]

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
        """Answer several prompts; each gets what :meth:`answer` would give it under the same seed.

        By default n samples of each prompt are drawn in one call, then each prompt is decided on its own.
        """
        seed = checked_seed(seed)
        check_counts(n, k)
        drawn = llm.generate(list(prompts), n=n, sampling=sampling, seed=seed)
        answers = []
        for prompt, completions in zip(prompts, drawn, strict=True):
            candidates = [Candidate.of(c, i) for i, c in enumerate(completions)]
            answers.append(self.rerank(candidates, k, prompt=prompt, seed=seed, llm=llm))
        return answers

    def rerank(
        self,
        candidates: Sequence[Candidate],
        k: int = 1,
        *,
        prompt: Prompt = "",
        seed: int | None = None,
        llm: LLM | None = None,
    ) -> Answer:
        """Decide on candidates that exist already.

        Args:
            candidates: at least one; they are numbered anew in the order given.
            k: how many answers to submit, best first.
            prompt: what they answer.
            seed: for strategies that draw.
            llm: a model for strategies that ask one to decide; without it they fall back as their docs say.

        Raises:
            BadInput: there is no candidate, or the strategy lacks something it needs.
        """
        check_counts(len(candidates), k)
        seed = checked_seed(seed)
        numbered = [c if c.index == i else dataclasses.replace(c, index=i) for i, c in enumerate(candidates)]
        prepared, steps = self._prepare(numbered, prompt)
        decision = self._decide(prepared, k, prompt, seed, llm)
        return self._finish(prepared, decision, prompt, seed, [*steps, *decision.steps])

    def choose(
        self,
        candidates: Sequence[Candidate],
        k: int = 1,
        *,
        prompt: Prompt = "",
        seed: int | None = None,
        llm: LLM | None = None,
    ) -> list[Candidate]:
        """The chosen candidates themselves, best first; see :meth:`rerank`."""
        trace = self.rerank(candidates, k, prompt=prompt, seed=seed, llm=llm).trace
        return [trace.candidates[i] for i in trace.chosen]

    def params(self) -> dict[str, Any]:
        """The hyper-parameters as JSON values; callables become ``python:module:name``, models their name."""
        return {f.name: as_param(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @abstractmethod
    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        """Give candidates their keys and scores."""

    @abstractmethod
    def _decide(self, candidates: list[Candidate], k: int, prompt: Prompt, seed: int, llm: LLM | None) -> Decision:
        """The choice itself; the candidates are at least one, numbered, and prepared."""

    def _finish(
        self, candidates: Sequence[Candidate], decision: Decision, prompt: Prompt, seed: int, steps: Sequence[Step]
    ) -> Answer:
        chosen, why = list(decision.chosen), decision.why
        if not chosen and decision.text is None:
            chosen = [best_scored(candidates)]
            why = f"{why}: the best scored candidate is given as it is"
        trace = Trace(
            self.name,
            self.params(),
            as_text(prompt),
            prompt_key(prompt),
            seed,
            tuple(candidates),
            tuple(decision.groups),
            tuple(int(i) for i in chosen),
            why,
            tuple(steps),
        )
        picked = [candidates[i] for i in chosen]
        texts, keys = tuple(c.text for c in picked), tuple(c.key for c in picked)
        if decision.text is None:
            return Answer(texts[0], keys[0], picked[0].score, texts, keys, trace)
        key = self._key(decision.text)
        return Answer(decision.text, key, None, (decision.text, *texts), (key, *keys), trace)

    def _key(self, text: str) -> str | None:
        return answer_key(getattr(self, "answer_of", "final-number"))(text)


def best_scored(candidates: Sequence[Candidate]) -> int:
    """Position of the highest score; unjudged ones come last, ties go to the first."""
    scores = [-math.inf if c.score is None else c.score for c in candidates]
    return int(np.argmax(scores))


def check_counts(n: int, k: int) -> None:
    """Refuse less than one candidate or less than one answer.

    Raises:
        BadInput: n < 1 or k < 1.
    """
    if n < 1:
        raise BadInput(f"n = {n} candidates, but a strategy needs at least 1")
    if k < 1:
        raise BadInput(f"k = {k} answers, but at least 1 should be submitted")


def checked_seed(seed: int | None) -> int:
    """The seed, or a fresh one."""
    return int(np.random.default_rng().integers(2**31)) if seed is None else int(seed)


def prompt_rng(seed: int, prompt: Prompt) -> np.random.Generator:
    """A generator for one prompt, so that a prompt's answer does not depend on which others are asked with it."""
    return np.random.default_rng([seed & (2**63 - 1), int(prompt_key(prompt)[:16], 16)])


def sub_seed(seed: int, *path: int) -> int:
    """A seed for one part of the work, in [0, 2^31)."""
    return int(np.random.SeedSequence([seed & (2**63 - 1), *path]).generate_state(1)[0] >> 1)


def as_param(value: Any) -> Any:
    """A hyper-parameter as a JSON value."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_param(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): as_param(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_param(item) for item in value]
    if isinstance(getattr(value, "name", None), str):
        return value.name
    if callable(value):
        function = typing.cast(Callable[..., Any], value)
        return f"python:{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
    return str(value)
