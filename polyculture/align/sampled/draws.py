"""Samples of a model for prompts, with their log-probabilities under it, under the base model and under the target."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyculture.align.data.encoding import Encoded
from polyculture.align.data.layout import Layout
from polyculture.align.log_probs.forward import Abilities, score_batch
from polyculture.align.objectives.bounds import at_least_float32
from polyculture.align.sampled.targets import Target
from polyculture.align.watching.samples import sample_policy

Numbered = tuple[int, Encoded]


@dataclass(frozen=True)
class Draws:
    """Samples, one entry each.

    Args:
        rows: where its prompt is in the data, and its tokens.
        prompts: its prompt as text.
        proposal: (n,) log q.
        target: (n,) log P.
        base: (n,) log a.
    """

    rows: list[Numbered]
    prompts: list[str]
    proposal: np.ndarray
    target: np.ndarray
    base: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """Several as one."""
        arrays = (np.concatenate([getattr(one, name) for one in parts]) for name in ("proposal", "target", "base"))
        return cls([row for one in parts for row in one.rows], [p for one in parts for p in one.prompts], *arrays)


@dataclass
class Drawer:
    """Draws samples at temperature 1, nothing cut off, and computes log-probabilities a few sequences at a time.

    Args:
        tokenizer: turns tokens into the text that the target sees.
        samples: of each prompt.
        max_new_tokens: of a sample.
        max_length: of a prompt and a sample.
        at_once: sequences computed together.
        end: tokens that end a sample.
        pad: the padding token.
        abilities: of the models.
        prepare: puts a batch on the device.
        context: in which models are run, such as autocast.
        texts: prompts as text, by their tokens.
    """

    tokenizer: Any
    samples: int
    max_new_tokens: int
    max_length: int
    at_once: int
    end: Sequence[int]
    pad: int
    abilities: Abilities
    prepare: Callable[[Any], Any]
    context: Callable[[], contextlib.AbstractContextManager[Any]]
    texts: dict[tuple[int, ...], str]

    def __post_init__(self) -> None:
        self.layout = Layout(self.pad, share=False)

    def sample(
        self, model: Any, rows: Sequence[Numbered], seed: int, samples: int | None = None
    ) -> tuple[list[Numbered], list[str], list[str]]:
        """Samples of each prompt: rows, prompts and completions as text, one entry a sample.

        Args:
            model: in eval mode.
            rows: prompts with their places in the data.
            seed: of the samples.
            samples: in place of the usual number.
        """
        longest = max(len(example.prompt) for _, example in rows)
        found = sample_policy(
            model,
            [example.prompt for _, example in rows],
            samples or self.samples,
            max_new_tokens=min(self.max_new_tokens, self.max_length - longest),
            seed=seed,
            end=self.end,
            pad=self.pad,
            batch_size=self.at_once,
        )
        flat = [
            (index, replace(example, completions=(completion,)))
            for (index, example), some in zip(rows, found, strict=True)
            for completion in some
        ]
        texts = self.tokenizer.batch_decode([e.completions[0] for _, e in flat], skip_special_tokens=True)
        return flat, [self.prompt_text(example.prompt) for _, example in flat], texts

    def draw(self, model: Any, base: Any, target: Target, rows: Sequence[Numbered], seed: int) -> Draws:
        """Samples of a model, scored.

        Args:
            model: that samples, in eval mode.
            base: gives, as a context, the base model.
            target: what is aimed at.
            rows: prompts with their places in the data.
            seed: of the samples.
        """
        flat, prompts, texts = self.sample(model, rows, seed)
        proposal = self.log_probs(model, flat)
        with base() as base_model:
            below = self.log_probs(base_model, flat)
        return Draws(flat, prompts, proposal, target.log_target(prompts, texts, below), below)

    def log_probs(self, model: Any, rows: Sequence[Numbered]) -> np.ndarray:
        """(n,) summed log-probabilities, without gradient.

        Args:
            model: in eval mode.
            rows: with one completion each.
        """
        found = np.empty(len(rows))
        for those in self.parts(rows):
            batch = self.prepare(self.layout([(*rows[i], {}) for i in those]))
            with torch.no_grad(), self.context():
                found[those] = self.sums(model, batch).double().cpu().numpy()
        return found

    def sums(self, model: Any, batch: Mapping[str, Any]) -> Tensor:
        """(B,) summed log-probabilities of a batch of one completion each.

        Args:
            model: wrapped or not.
            batch: what the layout made.
        """
        logps = score_batch(model, batch, self.abilities).log_probs
        return torch.where(batch["mask"], at_least_float32(logps), 0.0).sum(dim=1)

    def parts(self, rows: Sequence[Numbered]) -> list[list[int]]:
        """Indices of rows in parts that are computed together, those of like length side by side."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][1].prompt) + len(rows[i][1].completions[0]))
        return [order[start : start + self.at_once] for start in range(0, len(order), self.at_once)]

    def prompt_text(self, ids: Sequence[int]) -> str:
        """A prompt as text: as it was given, or, where that is not known, as its tokens read."""
        key = tuple(ids)
        if key not in self.texts:
            self.texts[key] = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return self.texts[key]
