"""How good a candidate is: its own score, its model's confidence, its length, or what a reward model says."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polyculture.decode.answers import AnswerOf, answer_key
from polyculture.decode.base import Candidate, Cost, Step
from polyculture.errors import BadInput, unknown
from polyculture.functions import named_function
from polyculture.llm.base import Prompt, as_text

Reward = Callable[[Sequence[str], Sequence[str]], Any]
"""``reward(prompts, responses) -> (n,)`` numbers, higher is better: the signature of ``RewardModel.score``."""

NAMES = ("auto", "given", "logprob", "length")


def with_keys(candidates: Sequence[Candidate], answer_of: str | AnswerOf) -> list[Candidate]:
    """The candidates with their answer keys read from their texts; a key that is there already is kept."""
    read = answer_key(answer_of)
    return [c if c.key is not None else dataclasses.replace(c, key=read(c.text)) for c in candidates]


def with_scores(
    candidates: Sequence[Candidate], score: str | Reward, prompt: Prompt
) -> tuple[list[Candidate], list[Step]]:
    """The candidates with their scores, and what scoring cost.

    Args:
        candidates: the candidates.
        score: "given" (the scores they carry), "logprob" (log-probability per token under their model), "length"
            (characters), "auto" ("given" if all carry one, else "logprob"), "quality:NAME" (a scorer of the quality
            stage, on the responses alone), ``python:module:function``, or a callable
            ``reward(prompts, responses) -> (n,)``.
        prompt: what they answer.

    Returns:
        The candidates, and a step for the calls of a reward model, if any. A score that is NaN becomes None, with a
        warning and the detail ``{"score": "nan"}``.

    Raises:
        BadInput: a candidate lacks what the score is made of, or the reward has the wrong length.
        UnknownMethod: no score of that name.
    """
    steps: list[Step] = []
    values: list[float | None]
    if score == "auto":
        score = "given" if all(c.score is not None for c in candidates) else "logprob"
        if score == "logprob" and any(c.logprob is None for c in candidates):
            raise BadInput("the candidates carry neither scores nor log-probabilities; give a score (a reward model)")
    if score == "given":
        values = [c.score for c in candidates]
        if any(v is None for v in values):
            raise BadInput("a candidate carries no score; give every candidate one, or name another score")
    elif score == "logprob":
        values = [c.mean_logprob for c in candidates]
        if any(v is None for v in values):
            raise BadInput("a candidate has no log-probability: its model doesn't give them; give a reward as score")
    elif score == "length":
        values = [float(len(c.text)) for c in candidates]
    else:
        reward = _reward(score)
        got = np.asarray(reward([as_text(prompt)] * len(candidates), [c.text for c in candidates]), dtype=np.float64)
        if got.shape != (len(candidates),):
            raise BadInput(f"the reward gave an array of shape {got.shape} for {len(candidates)} responses")
        values = [float(v) for v in got]
        steps.append(Step("score", Cost(scored=len(candidates))))
    broken = sum(v is not None and math.isnan(v) for v in values)
    if broken:
        warnings.warn(f"{broken} of {len(values)} candidates have a NaN score and are set aside", stacklevel=2)
    scored = [
        dataclasses.replace(c, score=None, details={**c.details, "score": "nan"})
        if v is not None and math.isnan(v)
        else (c if v is c.score else dataclasses.replace(c, score=v))
        for c, v in zip(candidates, values, strict=True)
    ]
    return scored, steps


def _reward(score: str | Reward) -> Reward:
    if not isinstance(score, str):
        return score
    if score.startswith("python:"):
        return named_function(score)
    if not score.startswith("quality:"):
        raise unknown("score", score, (*NAMES, "quality:NAME", "python:module:function"))
    from polyculture.pool import Pool
    from polyculture.quality.base import make_scorer

    scorer = make_scorer(score.removeprefix("quality:"))
    return lambda prompts, responses: scorer.score(Pool.from_arrays(texts=list(responses)))


def judged(candidates: Sequence[Candidate]) -> list[int]:
    """Positions of the candidates that have a score."""
    return [i for i, c in enumerate(candidates) if c.score is not None]
