"""The steps of a sampler that transformers' ``generate`` is given: record, truncate, draw with a seed, stop."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    MinPLogitsWarper,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from polyculture.errors import ModelFailure
from polyculture.llm.base import Sampling


@contextlib.contextmanager
def nothing_configured(model: Any) -> Iterator[None]:
    """The model without its own generation config, in the block.

    What a call of ``generate`` leaves open, such as banned tokens or a penalty on repetition, is taken from there; the
    samples would not be the model's own.

    Args:
        model: a transformers model, with adapters or without.
    """
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    configured = core.generation_config
    core.generation_config = GenerationConfig()
    try:
        yield
    finally:
        core.generation_config = configured


def warpers(sampling: Sampling) -> list[LogitsProcessor]:
    """Temperature and truncation in transformers' order: temperature, top-k, top-p, min-p."""
    found: list[LogitsProcessor] = []
    if sampling.temperature != 1.0:
        found.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k > 0:
        found.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        found.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        found.append(MinPLogitsWarper(sampling.min_p))
    return found


class RawLogprobs(LogitsProcessor):
    """Keeps the log-probability of each token chosen under the raw logits; goes first and changes nothing.

    Only one step's distribution is held: a token's term is read off when the next step shows what was chosen.
    """

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._terms: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Note this step's distribution; the scores go on as they are."""
        self._settle(input_ids)
        self._last = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def _settle(self, input_ids: torch.Tensor) -> None:
        if self._last is not None:
            self._terms.append(self._last.gather(1, input_ids[:, -1:])[:, 0])

    def terms(self, sequences: torch.Tensor) -> torch.Tensor:
        """(rows, steps) log-probabilities, given the finished sequences; call once."""
        self._settle(sequences)
        return torch.stack(self._terms, dim=1)


class SeededSampling(LogitsProcessor):
    """Draws each row's token from the processed scores with that row's own seed; goes last, and greedy choice follows.

    A draw inverts the cumulative distribution at one uniform number a row and step, so it does not depend on what
    else is in the batch.

    Args:
        seeds: one a row.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._sources = [random.Random(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores that leave each row one token.

        Raises:
            ModelFailure: a row has no token left, or NaN.
        """
        # Single precision would blur tokens rarer than 1e-7 of a cumulative sum; Metal has no double.
        precise = torch.float32 if scores.device.type == "mps" else torch.float64
        cumulative = torch.softmax(scores.to(precise), dim=-1).cumsum(dim=-1)
        total = cumulative[:, -1:]
        if not torch.isfinite(total).all():
            raise ModelFailure(
                "no token is left to draw: the logits are NaN, or a logits processor ruled out every token"
            )
        uniform = torch.tensor([[source.random()] for source in self._sources], dtype=precise, device=scores.device)
        point = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        chosen = torch.searchsorted(cumulative, point, right=True)
        return torch.full_like(scores, -math.inf).scatter_(1, chosen, 0.0)


class StopStrings(StoppingCriteria):
    """Ends a row whose generated text holds a stop string.

    Args:
        tokenizer: turns tokens into text.
        stop: the strings.
        start: length of the prompt, in tokens.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], start: int) -> None:
        self.tokenizer, self.stop, self.start = tokenizer, stop, start
        # A token has at least one byte, so a string of b bytes lies within b tokens; 4 more for a split character.
        self.window = max(len(text.encode()) for text in stop) + 4

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        """Which rows have ended."""
        tails = input_ids[:, max(self.start, input_ids.shape[1] - self.window) :].cpu().tolist()
        ended = [holds(self.tokenizer, tail, self.stop) for tail in tails]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


def holds(tokenizer: Any, tokens: list[int], stop: tuple[str, ...]) -> bool:
    """Whether the tokens' text holds a stop string; special tokens count as the text they are written with."""
    text, bare = tokenizer.decode(tokens), tokenizer.decode(tokens, skip_special_tokens=True)
    return any(end in text or end in bare for end in stop)


def stop_at(tokenizer: Any, tokens: list[int], stop: tuple[str, ...]) -> tuple[str, int] | None:
    """The text before the first stop string and how many tokens it took to write that string, or None without one."""
    if not holds(tokenizer, tokens, stop):
        return None
    low, high = 1, len(tokens)
    while low < high:  # the shortest run of tokens that holds a stop string
        middle = (low + high) // 2
        low, high = (low, middle) if holds(tokenizer, tokens[:middle], stop) else (middle + 1, high)
    text = tokenizer.decode(tokens[:low], skip_special_tokens=True)
    cuts = [text.index(end) for end in stop if end in text]
    if cuts:
        return text[: min(cuts)], low
    # The stop string is a special token, which the text leaves out.
    return tokenizer.decode(tokens[: low - 1], skip_special_tokens=True), low
