"""Candidates, what they cost, the trace of a choice among them, and the shape of an answer; all of it JSON-able."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polyculture.decode.groups import Group
from polyculture.llm.base import Completion


@dataclass(frozen=True)
class Cost:
    """What was spent.

    Args:
        calls: completions drawn from a model.
        prompt_tokens: tokens read, as billed.
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


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of some costs."""
    return sum(costs, start=Cost())


def cost_of(completion: Completion) -> Cost:
    """What one completion cost."""
    return Cost(1, completion.n_prompt_tokens, completion.n_tokens, completion.cost)


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
    def of(cls, completion: Completion, index: int = 0, **details: Any) -> Candidate:
        """A candidate from a model's completion."""
        c = completion
        return cls(c.text, index, None, None, c.model, c.logprob, c.finish_reason, cost_of(c), details)

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
