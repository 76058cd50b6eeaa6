"""How far a trained model has moved from the model that it began with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polyculture.align.data.encoding import Encoder
from polyculture.align.data.examples import read_examples
from polyculture.align.reference.model import placed
from polyculture.align.watching.samples import (
    context_of,
    end_tokens,
    pad_token,
    read_completions,
    sample_policy,
    undisturbed,
)
from polyculture.errors import BadInput
from polyculture.llm.loading import load, on_device


@dataclass(frozen=True)
class KLToBase:
    """KL(model || base) in nats a completion: on the model's own samples, exact over the vocabulary at each token.

    The base need not be the reference that the model was trained against: over stages each with its own reference,
    this is the number that can be compared.

    Args:
        base: folder or hub id of the original model, or the model.
        rows: data whose prompts are sampled.
        tokenizer: a tokenizer, where to load it from, or None for where the base is.
        prompts: most prompts, the first ones that differ.
        samples: of each prompt.
        max_new_tokens: of a sample; what comes after is not counted.
        max_length: most tokens of a prompt.
        dtype: to load the models in.
        device: to put them on; None is the first GPU if there is one.
        seed: of the samples.
    """

    base: Any
    rows: Sequence[Mapping[str, Any]]
    tokenizer: Any = None
    prompts: int = 64
    samples: int = 2
    max_new_tokens: int = 128
    max_length: int = 1024
    dtype: Any = "float32"
    device: Any = None
    seed: int = 0

    def __call__(self, model: Any) -> float:
        """The mean over samples.

        Args:
            model: folder of the trained model, or the model.

        Raises:
            BadInput: a model can't be loaded, the rows hold no prompt, or its window no prompt and sample.
        """
        base, tokenizer = load(self.base, self.tokenizer, self.dtype)
        policy, _ = load(model, tokenizer, self.dtype)
        if policy is not model:
            policy = on_device(policy, self.device)
        room = min(self.max_length, (context_of(policy) or math.inf) - self.max_new_tokens)
        if room < 2:
            raise BadInput(f"samples of {self.max_new_tokens} tokens leave no room for a prompt in the model's window")
        asked = self._prompts(tokenizer, int(room))
        end, pad = end_tokens(policy, tokenizer), pad_token(tokenizer)
        with placed(base, next(policy.parameters()).device), undisturbed(policy, base):
            drawn = sample_policy(
                policy, asked, self.samples, max_new_tokens=self.max_new_tokens, seed=self.seed, end=end, pad=pad
            )
            repeated = [prompt for prompt, some in zip(asked, drawn, strict=True) for _ in some]
            flat = [completion for some in drawn for completion in some]
            readings = read_completions(policy, repeated, flat, reference=base, pad=pad)
        return float(np.mean([reading.reverse_kl for reading in readings]))

    def _prompts(self, tokenizer: Any, room: int) -> list[list[int]]:
        examples, _ = read_examples(self.rows, "samples", source="prompt")
        encoded, _, _ = Encoder(tokenizer, room).encode([replace(example, completions=()) for example in examples])
        distinct = {tuple(example.prompt): example.prompt for example in encoded}
        return list(distinct.values())[: self.prompts]
