"""The seam between models and what wraps them (cache, budget, log): one ask, one completion, told as it happens.

``generate`` is what callers use. Underneath, a call is a list of asks, each one sample of one prompt; a model answers
them in whatever order suits it and says when each begins and ends. So a cache asks only for the samples it lacks and
keeps each the moment it arrives, and a budget can refuse the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeGuard

import numpy as np

from polyculture.llm.base import (
    DEFAULT_SAMPLING,
    LLM,
    Completion,
    Prompt,
    Sampling,
    ScoringLLM,
    check_prompts,
    prompt_key,
)


class Ask(NamedTuple):
    """One sample of one prompt.

    Args:
        prompt: what is asked.
        sample: which sample of the prompt it is, from 0.
    """

    prompt: Prompt
    sample: int


class Watch(NamedTuple):
    """What to tell while asks are answered; both are called with the ask's position, from any thread.

    Args:
        asking: called before an ask costs anything; it may raise to refuse it.
        arrived: called with the completion as soon as it is there.
    """

    asking: Callable[[int], None] = lambda position: None
    arrived: Callable[[int, Completion], None] = lambda position, completion: None


NO_WATCH = Watch()


class AskableLLM(LLM, Protocol):
    """A language model that answers asks one by one."""

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """One completion for each ask, in order."""


class GeneratesByAsk:
    """``generate`` for a model that has ``answer_asks``."""

    def generate(
        self: AskableLLM,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        sampling: Sampling = DEFAULT_SAMPLING,
        seed: int | None = None,
    ) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order: a list of len(prompts) lists.

        Args:
            prompts: strings, or lists of chat messages; one that occurs k times gets k times n samples of its own.
            n: completions a prompt.
            sampling: how to sample them.
            seed: the same seed gives the same completions where the model can; None draws anew.

        Raises:
            BadInput: a prompt is malformed or does not fit, or n < 1.
            ModelFailure: the model did not answer.
        """
        taken: Counter[str] = Counter()
        asks = []
        for prompt in check_prompts(prompts, n):
            # A prompt given twice is asked for further samples, not for the same ones again.
            key = prompt_key(prompt)
            asks += [Ask(prompt, taken[key] + i) for i in range(n)]
            taken[key] += n
        answers = self.answer_asks(asks, sampling=sampling, seed=seed)
        return [answers[start : start + n] for start in range(0, len(answers), n)]


class Wrapper(GeneratesByAsk):
    """A model around a model: its name, its identity and its log-probabilities are the inner one's.

    Args:
        llm: the model inside.
    """

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self.name = llm.name

    @property
    def identity(self) -> str:
        """What tells this model's answers from another's."""
        return identity(self.llm)

    @property
    def logprobs(self) -> Callable[[Sequence[Prompt], Sequence[str]], list[np.ndarray]]:
        """The inner model's ``logprobs``; AttributeError if it has none, so that ``can_score`` sees through."""
        if not can_score(self.llm):
            raise AttributeError(f"{self.name} gives no log-probabilities")
        return self.llm.logprobs

    def answer_asks(
        self, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
    ) -> list[Completion]:
        """Pass the asks on."""
        return answer_asks(self.llm, asks, sampling=sampling, seed=seed, watch=watch)


def identity(llm: LLM) -> str:
    """What tells a model's answers from another's: its ``identity`` where it has one, else its name."""
    return str(getattr(llm, "identity", llm.name))


def can_score(llm: LLM) -> TypeGuard[ScoringLLM]:
    """Whether the model gives log-probabilities of completions (see ScoringLLM), through any wrappers."""
    return callable(getattr(llm, "logprobs", None))


def answer_asks(
    llm: LLM, asks: Sequence[Ask], *, sampling: Sampling, seed: int | None, watch: Watch = NO_WATCH
) -> list[Completion]:
    """Have any model answer asks; one that only has ``generate`` is called a prompt at a time."""
    if hasattr(llm, "answer_asks"):
        return llm.answer_asks(asks, sampling=sampling, seed=seed, watch=watch)
    answers: dict[int, Completion] = {}
    for run in runs_of_prompt(asks):
        positions, refusal = admit(watch, run)
        if positions:
            # Without a seed any samples will do; with one, a sample is the one of its number.
            picks = [asks[p].sample if seed is not None else i for i, p in enumerate(positions)]
            (drawn,) = llm.generate([asks[run[0]].prompt], n=max(picks) + 1, sampling=sampling, seed=seed)
            for position, pick in zip(positions, picks, strict=True):
                answers[position] = drawn[pick]
                watch.arrived(position, drawn[pick])
        if refusal:
            raise refusal
    return [answers[position] for position in range(len(asks))]


def admit(watch: Watch, positions: Sequence[int]) -> tuple[list[int], Exception | None]:
    """The positions up to the first that ``watch`` refuses, and that refusal: what was let in is still answered."""
    admitted: list[int] = []
    for position in positions:
        try:
            watch.asking(position)
        except Exception as refusal:
            return admitted, refusal
        admitted.append(position)
    return admitted, None


def runs_of_prompt(asks: Sequence[Ask]) -> list[list[int]]:
    """Positions of asks, those of one prompt that follow each other together."""
    runs: list[list[int]] = []
    for position, ask in enumerate(asks):
        if runs and asks[runs[-1][-1]].prompt == ask.prompt:
            runs[-1].append(position)
        else:
            runs.append([position])
    return runs
