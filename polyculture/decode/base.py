"""What every answer-level strategy shares: candidates, their cost, the trace of a choice, the shape of an answer.

A strategy draws candidates from a model and chooses among them (or makes a new answer out of them). It has two doors:
:meth:`Strategy.answer` asks a model, :meth:`Strategy.rerank` works on candidates that exist already. Both give an
:class:`Answer`, whose trace holds every candidate with its score, its answer key and its cost, and why it was chosen.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from polyculture.decode.groups import Group
from polyculture.errors import BadInput
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Completion, Prompt, Sampling, as_text, prompt_key


@dataclass(frozen=True)
class Cost:
    """What was spent.

    Args:
        calls: completions drawn from a model.
        prompt_tokens: tokens read; a prompt that is shared by several completions of one call counts once.
        tokens: tokens generated.
        money: in the currency of the model's prices.
        scored: texts scored by a reward model.
    """

    calls: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    money: float = 0.0
    scored: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.tokens + other.tokens,
            self.money + other.money,
            self.scored + other.scored,
        )

    @property
    def all_tokens(self) -> int:
        """Tokens read and generated."""
        return self.prompt_tokens + self.tokens


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of some costs."""
    return sum(costs, start=Cost())


def costs_of(completions: Sequence[Completion]) -> list[Cost]:
    """What each completion of one prompt in one call cost; the first carries the prompt they share."""
    return [Cost(1, c.n_prompt_tokens if i == 0 else 0, c.n_tokens, c.cost) for i, c in enumerate(completions)]


@dataclass(frozen=True)
class Candidate:
    """One possible answer.

    Args:
        text: the whole response.
        index: its place in the order in which the candidates came.
        key: what it answers, for comparing (see :mod:`polyculture.decode.answers`); None if none could be read.
        score: how good it was judged, higher is better; None if it was not judged.
        model: the model it came from.
        logprob: natural-log probability under its model (sum over tokens), or None.
        finish_reason: why its model stopped.
        cost: what it cost.
        details: what a strategy wants to say about it; JSON values.
    """

    text: str
    index: int = 0
    key: str | None = None
    score: float | None = None
    model: str = ""
    logprob: float | None = None
    finish_reason: str = "stop"
    cost: Cost = Cost()
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, completion: Completion, index: int, cost: Cost, **details: Any) -> Candidate:
        """A candidate from a model's completion."""
        c = completion
        return cls(c.text, index, None, None, c.model, c.logprob, c.finish_reason, cost, details)

    @property
    def mean_logprob(self) -> float | None:
        """Log-probability per generated token, or None if it is not known."""
        return None if self.logprob is None else self.logprob / max(1, self.cost.tokens)


@dataclass(frozen=True)
class Step:
    """Something a strategy did beside drawing candidates: a call to a judge, a resampling, a recruitment."""

    name: str
    cost: Cost = Cost()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What a strategy decided about some candidates.

    Args:
        chosen: positions of the chosen candidates, best first; empty if none is admissible.
        why: the reason in one sentence.
        groups: the candidates grouped by answer, where the strategy groups them.
        steps: what was done to decide.
        text: a text that was made rather than chosen, or None.
    """

    chosen: Sequence[int]
    why: str
    groups: Sequence[Group] = ()
    steps: Sequence[Step] = ()
    text: str | None = None


@dataclass(frozen=True)
class Trace:
    """How an answer came about: everything that was drawn, done and spent.

    Args:
        strategy: name of the strategy.
        params: its hyper-parameters.
        prompt: the prompt as plain text.
        prompt_id: a hash of the prompt.
        seed: the seed; the same seed gives the same answer.
        candidates: every candidate, in the order drawn.
        groups: the candidates grouped by answer, where the strategy groups them.
        chosen: indices of the chosen candidates, best first.
        why: the reason in one sentence.
        steps: what was done beside drawing candidates.
    """

    strategy: str
    params: Mapping[str, Any]
    prompt: str
    prompt_id: str
    seed: int
    candidates: tuple[Candidate, ...]
    groups: tuple[Group, ...]
    chosen: tuple[int, ...]
    why: str
    steps: tuple[Step, ...] = ()

    @property
    def cost(self) -> Cost:
        """What all candidates and all steps cost together."""
        return total([c.cost for c in self.candidates] + [s.cost for s in self.steps])


@dataclass(frozen=True)
class Answer:
    """An answer with its trace.

    Args:
        text: the answer.
        key: its answer key, or None if none could be read.
        score: its score, or None.
        texts: the k answers that are submitted, best first; ``texts[0]`` is ``text``.
        keys: their answer keys.
        trace: how it came about.
    """

    text: str
    key: str | None
    score: float | None
    texts: tuple[str, ...]
    keys: tuple[str | None, ...]
    trace: Trace

    @property
    def cost(self) -> Cost:
        """What it cost altogether."""
        return self.trace.cost

    def to_dict(self) -> dict[str, Any]:
        """The answer in JSON's own types; infinities become "inf" and "-inf"."""
        from polyculture.files import plain

        return plain({**dataclasses.asdict(self), "cost": dataclasses.asdict(self.cost)})

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Answer:
        """The answer that :meth:`to_dict` wrote."""
        trace = held["trace"]
        candidates = [
            Candidate(
                **{
                    **c,
                    "score": _number(c["score"]),
                    "logprob": _number(c["logprob"]),
                    "cost": Cost(**c["cost"]),
                    "details": dict(c["details"]),
                }
            )
            for c in trace["candidates"]
        ]
        groups = [
            Group(**{**g, "members": tuple(g["members"]), "mean_score": _number(g["mean_score"])})
            for g in trace["groups"]
        ]
        steps = [Step(s["name"], Cost(**s["cost"]), dict(s["details"])) for s in trace["steps"]]
        whole = {
            **trace,
            "candidates": tuple(candidates),
            "groups": tuple(groups),
            "chosen": tuple(trace["chosen"]),
            "steps": tuple(steps),
        }
        return cls(
            held["text"], held["key"], _number(held["score"]), tuple(held["texts"]), tuple(held["keys"]), Trace(**whole)
        )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


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
            pairs = zip(completions, costs_of(completions), strict=True)
            candidates = [Candidate.of(c, i, cost) for i, (c, cost) in enumerate(pairs)]
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
        numbered = [dataclasses.replace(c, index=i) for i, c in enumerate(candidates)]
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
            why = f"no candidate has an answer that could be read; the best scored is given as it is ({why})"
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
        from polyculture.decode.answers import answer_key

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
