"""How a training is watched: what is sampled, how it is judged, and when there is an alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from polyculture.errors import BadInput


@dataclass(frozen=True)
class Watch:
    """How a training is watched.

    Args:
        every: steps from one evaluation to the next, 0 for about ten evaluations; there is also one before the first
            step and one after the last.
        prompts: most held-out prompts that are sampled at an evaluation.
        samples: of each prompt.
        max_new_tokens: of a sample.
        temperature: of the samples; 0 is greedy. Entropies and divergences are at temperature 1 in any case.
        reward: of a sample: a quality scorer ("heuristic" judges form alone), "python:module:function" of (prompts,
            responses) or of (responses), or "none".
        embedder: of the Vendi scores; "tfidf" compares words and needs no model, "minilm" compares meaning.
        pairs: most held-out pairs whose likelihood is taken.
        alarm: what happens when the policy shows a sign of over-optimisation: "warn", "stop" training, or "off".
        k: likeliest next tokens whose entropy and mass the alarm looks at.
        window: evaluations in a row at which a fall must be seen before there is an alarm.
        tolerance: relative fall that counts, where it is more than noise explains (see
            :class:`polyculture.align.watching.alarm.FallAlarm`).
        collapse: share of the starting entropy below which there is an alarm at once.
        divergence: measure the distance from the reference; without an adapter that holds a second model in memory.
        shown: prompts whose samples are kept for the report.
        batch_size: sequences sampled together; None takes as many as have 1 GiB of keys and values.
        seed: of the choice of prompts and of the samples.
    """

    every: int = 0
    prompts: int = 32
    samples: int = 4
    max_new_tokens: int = 64
    temperature: float = 1.0
    reward: str = "heuristic"
    embedder: str = "tfidf"
    pairs: int = 64
    alarm: Literal["warn", "stop", "off"] = "warn"
    k: int = 10
    window: int = 2
    tolerance: float = 0.02
    collapse: float = 0.5
    divergence: bool = True
    shown: int = 8
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "max_new_tokens", "k", "window"):
            if getattr(self, name) < 1:
                raise BadInput(f"watch: {name} should be at least 1, not {getattr(self, name)}")
        for name in ("every", "pairs", "shown"):
            if getattr(self, name) < 0:
                raise BadInput(f"watch: {name} should be 0 or more, not {getattr(self, name)}")
        if not 0 <= self.temperature < math.inf:
            raise BadInput(f"watch: temperature should be 0 or more, and finite, not {self.temperature}")
        if self.batch_size is not None and self.batch_size < 1:
            raise BadInput(f"watch: batch_size should be at least 1, not {self.batch_size}")
        if self.alarm not in ("warn", "stop", "off"):
            raise BadInput(f"watch: alarm should be 'warn', 'stop' or 'off', not '{self.alarm}'")
