"""A language model as a reasoner that goes step by step: what particle filters and beam search extend and score."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from polyculture.decode.answers import AnswerOf
from polyculture.decode.base import (
    Answer,
    Candidate,
    Cost,
    Decision,
    Step,
    Strategy,
    check_counts,
    checked_seed,
    cost_of,
    prompt_rng,
    sub_seed,
    total,
)
from polyculture.decode.particles import ParticleRun, prm_log_weights, tempered_probabilities
from polyculture.decode.scores import Reward, judged, with_keys, with_scores
from polyculture.errors import BadInput, unknown
from polyculture.files import plain
from polyculture.functions import named_function
from polyculture.llm.base import DEFAULT_SAMPLING, LLM, Completion, Prompt, Sampling, as_messages, as_text

FINAL = r"\\boxed\{|####|(?im:^\s*a:)|(?i:answer is)"
"""What a step holds when it is the last: a boxed answer, ``####``, a line ``A:``, "answer is"."""


@dataclass(frozen=True)
class Thought:
    """One step of a solution."""

    text: str
    tokens: int
    logprob: float | None
    model: str


def continuation(prompt: Prompt, partial: str) -> Prompt:
    """The prompt that asks for what follows a partial solution; a string is continued, a chat gets it as a turn."""
    if not partial:
        return prompt
    if isinstance(prompt, str):
        return f"{prompt}{'' if prompt.endswith((' ', chr(10))) else chr(10)}{partial}"
    return [
        *as_messages(prompt),
        {"role": "assistant", "content": partial},
        {"role": "user", "content": "Continue with the next step only. Do not repeat earlier steps."},
    ]


@dataclass
class Reasoner:
    """Proposes and scores steps with a model and a process reward, and keeps account of what that costs.

    Args:
        llm: the model.
        prompt: the question.
        sampling: how to sample; ``max_tokens`` bounds a step, ``separator`` is added to the stop strings.
        score_by: "self-certainty" (exp of the mean log-probability of the tokens so far), ``python:module:function``,
            or a callable ``reward(prompts, partial responses) -> (n,)`` in [0, 1].
        separator: what ends a step.
        final: a regular expression; a step that holds it is the last. An empty step is the last as well.
        seed: the seed.
    """

    llm: LLM
    prompt: Prompt
    sampling: Sampling
    score_by: str | Reward
    separator: str
    final: str
    seed: int
    spent: dict[int, Cost] = field(default_factory=dict)

    def text(self, prefix: Sequence[Thought]) -> str:
        """The partial solution as text."""
        return self.separator.join(t.text for t in prefix if t.text)

    def propose(self, prefixes: Sequence[tuple[Thought, ...]], t: int) -> list[tuple[Thought, bool]]:
        """The next step of each prefix; copies are asked for as samples of one prompt, so that they differ."""
        partials = [self.text(p) + (self.separator if p else "") for p in prefixes]
        sampling = self.sampling
        if self.separator not in sampling.stop:
            sampling = replace(sampling, stop=(*sampling.stop, self.separator))
        drawn: dict[str, list[Completion]] = {}
        costs: list[Cost] = []
        copies = Counter(partials)
        for count in sorted(set(copies.values())):
            asked = [partial for partial, m in copies.items() if m == count]
            prompts = [continuation(self.prompt, partial) for partial in asked]
            got = self.llm.generate(prompts, n=count, sampling=sampling, seed=sub_seed(self.seed, t))
            drawn.update(zip(asked, got, strict=True))
            costs += [cost_of(completion) for completions in got for completion in completions]
        self.spent[t] = total([self.spent.get(t, Cost()), *costs])
        taken: Counter[str] = Counter()
        steps = []
        for partial in partials:
            completion = drawn[partial][taken[partial]]
            taken[partial] += 1
            text = completion.text.strip("\n")
            thought = Thought(text, completion.n_tokens, completion.logprob, completion.model)
            steps.append((thought, not text.strip() or re.search(self.final, text) is not None))
        return steps

    def score(self, prefixes: Sequence[tuple[Thought, ...]]) -> np.ndarray:
        """The process reward of each prefix."""
        if self.score_by in ("auto", "self-certainty"):
            return np.array([self._certainty(p) for p in prefixes])
        if isinstance(self.score_by, str) and not self.score_by.startswith("python:"):
            raise unknown("process reward", self.score_by, ("self-certainty",))
        reward: Reward = named_function(self.score_by) if isinstance(self.score_by, str) else self.score_by
        return np.asarray(reward([as_text(self.prompt)] * len(prefixes), [self.text(p) for p in prefixes]), dtype=float)

    def _certainty(self, prefix: Sequence[Thought]) -> float:
        logprobs = [t.logprob for t in prefix]
        if any(v is None for v in logprobs):
            raise BadInput(f"{self.llm.name} gives no log-probabilities; give a process reward as score")
        return math.exp(sum(v for v in logprobs if v is not None) / max(1, sum(t.tokens for t in prefix)))

    def outcome(self, run: ParticleRun, own_score: bool) -> tuple[list[Candidate], list[Step], list[int]]:
        """The run as candidates, steps and order of choice; what the steps cost is in the steps, not the candidates."""
        odds = 1 / (1 + np.exp(-run.log_weights))
        candidates = []
        for i, prefix in enumerate(run.particles):
            logprob = sum(t.logprob or 0.0 for t in prefix) if all(t.logprob is not None for t in prefix) else None
            details: dict[str, Any] = {
                "log_weight": float(run.log_weights[i]),
                "steps": len(prefix),
                "origin": run.origins[i],
                "tokens": sum(t.tokens for t in prefix),
            }
            candidates.append(
                Candidate(
                    self.text(prefix),
                    i,
                    None,
                    float(odds[i]),
                    prefix[-1].model if prefix else "",
                    logprob,
                    "stop" if run.stopped[i] else "length",
                    Cost(),
                    details,
                )
            )
        steps = []
        for entry in run.log:
            cost = self.spent.get(entry.t, Cost()) + Cost(scored=0 if own_score else entry.scored)
            steps.append(Step("resample", cost, {k: v for k, v in plain(vars(entry)).items() if k != "scored"}))
        late = [cost for t, cost in self.spent.items() if t > run.log[-1].t]
        if late:  # steps that were looked ahead to and never taken
            steps.append(Step("look-ahead", total(late)))
        rest = sorted((i for i in range(len(candidates)) if i != run.chosen), key=lambda i: -run.log_weights[i])
        return candidates, steps, distinct([run.chosen, *rest], candidates)


class StepwiseSearch(Strategy):
    """A strategy that searches over steps: what beam search and the particle filters do alike.

    A subclass has the options declared here, and says in ``_run`` how it searches.
    """

    score: str | Reward
    separator: str
    final: str
    answer_of: str | AnswerOf

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
        """Run one search of n partial solutions for each prompt."""
        check_counts(n, k)
        seed = checked_seed(seed)
        return [self._search(llm, prompt, n, k, sampling, seed) for prompt in prompts]

    @abstractmethod
    def _run(self, reasoner: Reasoner, n: int, rng: np.random.Generator) -> tuple[ParticleRun, str]:
        """A run over the reasoner's steps, and why its first solution is chosen."""

    def _search(self, llm: LLM, prompt: Prompt, n: int, k: int, sampling: Sampling, seed: int) -> Answer:
        reasoner = Reasoner(llm, prompt, sampling, self.score, self.separator, self.final, seed)
        run, why = self._run(reasoner, n, prompt_rng(seed, prompt))
        candidates, steps, order = reasoner.outcome(run, self.score in ("auto", "self-certainty"))
        return self._finish(with_keys(candidates, self.answer_of), Decision(order[:k], why), prompt, seed, steps)

    def _prepare(self, candidates: list[Candidate], prompt: Prompt) -> tuple[list[Candidate], list[Step]]:
        return score_whole(with_keys(candidates, self.answer_of), self.score, prompt)


def distinct(order: Sequence[int], candidates: Sequence[Candidate]) -> list[int]:
    """The order without candidates whose text came before: resampling makes copies, and a copy is no second answer."""
    seen: set[str] = set()
    kept = []
    for i in order:
        if candidates[i].text not in seen:
            seen.add(candidates[i].text)
            kept.append(i)
    return kept


def score_whole(
    candidates: Sequence[Candidate], score: str | Reward, prompt: Prompt
) -> tuple[list[Candidate], list[Step]]:
    """Whole solutions judged by the process reward: what is left of a search when the candidates exist already."""
    if score == "self-certainty":
        judged_, steps = with_scores(candidates, "logprob", prompt)
        return [replace(c, score=None if c.score is None else math.exp(c.score)) for c in judged_], steps
    return with_scores(candidates, score, prompt)


def select_whole(
    candidates: Sequence[Candidate], k: int, selection: Literal["argmax", "sample"], rng: np.random.Generator
) -> Decision:
    """The final choice of a search among whole solutions: the best scored, or one drawn by its odds."""
    held = judged(candidates)
    order = distinct(sorted(held, key=lambda i: -(candidates[i].score or 0.0)), candidates)
    if not order:
        return Decision([], "no candidate has a score that is a number")
    why = "its process reward is the highest"
    if selection == "sample":
        weights = tempered_probabilities(prm_log_weights([candidates[i].score or 0.0 for i in order]))
        first = int(rng.choice(len(order), p=weights))
        order.insert(0, order.pop(first))
        why = f"drawn by its odds, with probability {weights[first]:.4g}"
    return Decision(order[:k], why)
