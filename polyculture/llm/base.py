"""What every language model here answers to: prompts in, completions out, log-probabilities where they can be had."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from polyculture.errors import BadInput

Prompt = str | Sequence[Mapping[str, str]]
"""A string, or chat messages: dicts with "role" and "content"."""


@dataclass(frozen=True)
class Sampling:
    """How to sample a completion.

    Args:
        max_tokens: most tokens a completion may have, at least 1.
        temperature: 0 is greedy; 1 is the model's own distribution.
        top_p: nucleus mass kept, in (0, 1]; 1 keeps all.
        top_k: number of tokens kept; 0 keeps all.
        min_p: smallest probability kept, as a share of the largest; 0 keeps all.
        stop: strings that end a completion; the string itself is left out.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        stop: Any = self.stop
        if isinstance(stop, str):
            raise BadInput(f"sampling: stop should be a tuple of strings; write stop=({stop!r},)")
        object.__setattr__(self, "stop", tuple(stop))
        if "" in self.stop:
            raise BadInput("sampling: a stop string is empty; leave it out")
        for name, fine, wanted in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more, and finite"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("top_k", self.top_k >= 0, "0 (keep all) or more"),
            ("min_p", 0 <= self.min_p <= 1, "in [0, 1]"),
        ):
            if not fine:
                raise BadInput(f"sampling: {name} should be {wanted}, not {getattr(self, name)}")


DEFAULT_SAMPLING = Sampling()
"""256 tokens at temperature 1, nothing cut off."""


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Args:
        text: the answer, without the prompt, stop string or special tokens.
        n_tokens: tokens generated; of samples an endpoint counts together, a share by length.
        n_prompt_tokens: tokens of the prompt; an endpoint that answers several samples in one request bills them once,
            so there the first carries them and sums are what was billed.
        logprob: natural-log probability of the answer under the model at temperature 1, or None if it is not known.
        token_logprobs: its terms, one a generated token, or None.
        finish_reason: "stop" (the model or a stop string ended it) or "length"; an endpoint may say others.
        model: name of the model that answered.
        cost: money spent on it, in the currency of the prices given; 0 when it was free or served from a cache.
        cached: whether it came from a cache.
    """

    text: str
    n_tokens: int = 0
    n_prompt_tokens: int = 0
    logprob: float | None = None
    token_logprobs: tuple[float, ...] | None = None
    finish_reason: str = "stop"
    model: str = ""
    cost: float = 0.0
    cached: bool = False


@runtime_checkable
class LLM(Protocol):
    """A language model that answers prompts."""

    name: str

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, sampling: Sampling = DEFAULT_SAMPLING, seed: int | None = None
    ) -> list[list[Completion]]:
        """``n`` completions of each prompt, in order: a list of len(prompts) lists."""


@runtime_checkable
class ScoringLLM(LLM, Protocol):
    """A language model that can also say how probable a given completion is."""

    def logprobs(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[np.ndarray]:
        """Natural-log probability of each token of each completion after its prompt, one float array a pair."""


def as_messages(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as chat messages; a string becomes one user message.

    Raises:
        BadInput: a message lacks its role or content.

    >>> as_messages("hello")
    [{'role': 'user', 'content': 'hello'}]
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    messages = []
    for position, message in enumerate(prompt):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise BadInput(
                f"prompt: message {position + 1} should be a dict with 'role' and 'content', not {message!r}"
            )
        messages.append({"role": str(message["role"]), "content": str(message["content"])})
    if not messages:
        raise BadInput("prompt: the list of messages is empty; give at least one user message")
    return messages


def as_text(prompt: Prompt) -> str:
    """A prompt as plain text; messages become a transcript that ends where the assistant speaks.

    >>> print(as_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]))
    System: Be brief.
    User: 2+2?
    Assistant:
    """
    if isinstance(prompt, str):
        return prompt
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in as_messages(prompt)]
    return "\n".join([*lines, "Assistant:"])


def prompt_key(prompt: Prompt) -> str:
    """A hash of a prompt, for caches and logs; whatever the mapping type of its messages."""
    plain = prompt if isinstance(prompt, str) else as_messages(prompt)
    return hashlib.sha256(
        json.dumps(plain, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
    ).hexdigest()


def check_prompts(prompts: Sequence[Prompt], n: int) -> list[Prompt]:
    """The prompts as a list, checked before any is paid for.

    Raises:
        BadInput: a lone string was given, a prompt is not a prompt, or n < 1.
    """
    if isinstance(prompts, str):
        raise BadInput("prompts should be a list of prompts; put the one string into a list")
    if n < 1:
        raise BadInput(f"n should be at least 1 completion a prompt, not {n}")
    checked = list(prompts)
    for position, prompt in enumerate(checked):
        if isinstance(prompt, str):
            continue
        if not isinstance(prompt, Sequence):
            raise BadInput(f"prompt {position + 1} should be a string or a list of messages, not {prompt!r}")
        as_messages(prompt)
    return checked


def sample_seed(seed: int, prompt: Prompt, index: int) -> int:
    """The seed of one sample, in [0, 2^63): made from the seed, the prompt and the sample's index, and from nothing
    else, so that a sample is the same whatever else is asked in the same call.
    """
    digest = hashlib.sha256(f"{seed}:{index}:{prompt_key(prompt)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
