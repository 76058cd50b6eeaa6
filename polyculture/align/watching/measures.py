"""How good and how diverse a policy's samples are: the reward of each, and diversity for one prompt and across prompts.

Per prompt and across prompts as in "Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023): the
samples of one prompt, and the first sample of every prompt.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.functions import PREFIX, named_function
from polyculture.measure.ngrams import distinct_averaged, ead
from polyculture.measure.per_input import diversity_by_input
from polyculture.measure.vendi import vendi_score
from polyculture.pool import Pool
from polyculture.quality.base import make_scorer, score_pool
from polyculture.records import ArrowRows, Texts
from polyculture.space.embedders import Embedder

Reward = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Prompts and responses, one each -> one number each."""


def make_reward(spec: str | Callable[..., Any]) -> Reward | None:
    """A reward of samples by name.

    Args:
        spec: the name of a quality scorer, which is handed the responses as texts with the columns ``prompt`` and
            ``response``; "python:module:function", or a function, of (prompts, responses) or of (responses) alone;
            "none" for no reward.

    Raises:
        UnknownMethod: there is no scorer of that name.
        BadInput: the function can't be imported.
    """
    if spec == "none":
        return None
    if isinstance(spec, str) and not spec.startswith(PREFIX):
        return _of_scorer(spec)
    function = named_function(spec) if isinstance(spec, str) else spec
    name = spec if isinstance(spec, str) else getattr(spec, "__name__", "function")
    both = _takes_two(function)

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        given = function(list(prompts), list(responses)) if both else function(list(responses))
        return _checked(given, len(responses), name)

    return reward


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with its 95 % interval (Student t); the ends are NaN for fewer than two values.

    >>> [round(value, 2) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    held = np.asarray(values, dtype=np.float64)
    if held.size < 2:
        return (float(held.mean()) if held.size else math.nan), math.nan, math.nan
    from scipy.stats import t

    half = float(t.ppf(0.975, held.size - 1) * held.std(ddof=1) / math.sqrt(held.size))
    return float(held.mean()), float(held.mean()) - half, float(held.mean()) + half


def reward_measures(rewards: Sequence[Sequence[float] | np.ndarray]) -> dict[str, float]:
    """``reward`` with ``reward_low`` and ``reward_high``: samples of one prompt are alike, so prompts are what counts.

    Args:
        rewards: those of each prompt's samples.
    """
    mean, low, high = mean_interval([float(np.mean(own)) for own in rewards])
    return {"reward": mean, "reward_low": low, "reward_high": high}


def diversity_measures(samples: Sequence[Sequence[str]], embedder: Embedder) -> dict[str, float]:
    """Vendi score, EAD and distinct n-grams (means over n = 1..5) for one prompt and across prompts.

    ``vendi_prompt`` (the mean over prompts, from 1 to the samples a prompt, with a 95 % interval ``vendi_prompt_low``,
    ``vendi_prompt_high``) and ``vendi_across`` (of the first samples, from 1 to the number of prompts); likewise
    ``ead_*`` and ``distinct_*``. Samples without a word count as one kind.

    Args:
        samples: those of each prompt.
        embedder: of the Vendi scores.
    """
    flat = [text for texts in samples for text in texts]
    X = _vectors(flat, embedder)
    ends = np.cumsum([len(texts) for texts in samples])
    own = np.split(X, ends[:-1])
    mean, low, high = mean_interval([vendi_score(rows) for rows in own])
    found = {
        "vendi_prompt": mean,
        "vendi_prompt_low": low,
        "vendi_prompt_high": high,
        "vendi_across": vendi_score(np.stack([rows[0] for rows in own])),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sample too short for an n-gram is no news here
        report = diversity_by_input(samples, metrics={"ead": ead, "distinct": distinct_averaged})
    for name, diversity in report.metrics.items():
        found |= {f"{name}_prompt": diversity.per_input, f"{name}_across": diversity.across_input}
    return found


def _vectors(texts: Sequence[str], embedder: Embedder) -> np.ndarray:
    """Vectors with one more column, which is 1 for texts the embedder has nothing for, so that those are alike."""
    X = np.asarray(embedder.embed(texts), dtype=np.float64)
    if X.ndim != 2 or len(X) != len(texts) or not np.isfinite(X).all():
        raise BadInput(f"embedder '{embedder.name}' gave shape {X.shape} for {len(texts)} samples, or NaN")
    nothing = ~X.any(axis=1)
    return np.column_stack([X, nothing.astype(np.float64)])


def _of_scorer(spec: str) -> Reward:
    import pyarrow as pa

    scorer = make_scorer(spec)

    def reward(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        rows = pa.table({"prompt": list(prompts), "response": list(responses)})
        pool = Pool(ArrowRows(rows), Texts(list(responses)), source="samples")
        scores = score_pool(pool, scorer, cache=None).quality
        assert scores is not None
        return scores

    return reward


def _takes_two(function: Callable[..., Any]) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in positional and parameter.default is parameter.empty
    ]
    return len(needed) >= 2


def _checked(given: Any, n: int, name: str) -> np.ndarray:
    try:
        scores = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(f"reward '{name}' should give one number a response ({error})") from error
    if scores.shape != (n,):
        raise BadInput(f"reward '{name}' gave an array of shape {scores.shape} for {n} responses")
    if not np.isfinite(scores).all():
        raise BadInput(f"reward '{name}' gave NaN or infinity for response {int(np.argmin(np.isfinite(scores))) + 1}")
    return scores
