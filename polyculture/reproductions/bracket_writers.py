"""Small transformers that close brackets: a task for alignment whose rule violations can be counted.

A prompt is six brackets of two kinds that leave two or more open; the right answer closes them. Several models of one
shape run side by side as one stack of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import log_softmax

OPEN, CLOSE = "([", ")]"
END, BEGIN = "$", "^"
ALPHABET = OPEN + CLOSE + END + BEGIN
PROMPT, ANSWER, NOISE = 6, 8, 0.15


def violations(prompt: str, answer: str) -> int:
    """Rules broken by an answer: closing brackets that don't match, brackets left open, and no end."""
    stack: list[str] = []
    broken = 0
    for bracket in prompt + answer.partition(END)[0]:
        if bracket in OPEN:
            stack.append(bracket)
        elif not stack or OPEN.index(stack.pop()) != CLOSE.index(bracket):
            broken += 1
    return broken + len(stack) + (END not in answer)


def make_prompt(rng: np.random.Generator) -> str:
    """Six brackets, those closed closed rightly, two or more left open."""
    while True:
        text = ""
        stack: list[str] = []
        for _ in range(PROMPT):
            if stack and rng.random() < 0.3:
                text += CLOSE[OPEN.index(stack.pop())]
            else:
                stack.append(OPEN[rng.integers(len(OPEN))])
                text += stack[-1]
        if len(stack) >= 2:
            return text


def demonstration(prompt: str, rng: np.random.Generator) -> str:
    """An answer that closes what is open, each bracket replaced by a random one with probability NOISE."""
    stack: list[str] = []
    for bracket in prompt:
        if bracket in OPEN:
            stack.append(bracket)
        else:
            stack.pop()
    right = "".join(CLOSE[OPEN.index(bracket)] for bracket in reversed(stack))
    return "".join((OPEN + CLOSE)[rng.integers(4)] if rng.random() < NOISE else b for b in right) + END


def encode(prompts: Sequence[str], answers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids of beginning, prompt and answer, (n, 15), and which of the 8 answer tokens there are, (n, 8)."""
    whole = [(BEGIN + p + a).ljust(1 + PROMPT + ANSWER, END) for p, a in zip(prompts, answers, strict=True)]
    ids = torch.tensor([[ALPHABET.index(c) for c in text] for text in whole])
    lengths = torch.tensor([len(answer) for answer in answers])
    return ids, torch.arange(ANSWER)[None, :] < lengths[:, None]


def side_by_side(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """One (M, n, ...) tensor for each of the parts' tensors; the shorter parts begin again until they are as long."""
    longest = max(len(part[0]) for part in parts)
    rows = [torch.arange(longest) % len(part[0]) for part in parts]
    return tuple(
        torch.stack([tensor[i] for i, tensor in zip(rows, same, strict=True)]) for same in zip(*parts, strict=True)
    )


class Writers:
    """Several transformers of one shape, run side by side.

    Args:
        skeleton: one of them, for its shape.
        weights: name -> (M, ...) weights of all.
    """

    def __init__(self, skeleton: Any, weights: dict[str, Tensor]) -> None:
        self.skeleton, self.weights = skeleton, weights

    @classmethod
    def untrained(cls, seeds: Sequence[int]) -> Writers:
        """One for each seed."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=len(ALPHABET), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=32, bos_token_id=ALPHABET.index(BEGIN), eos_token_id=ALPHABET.index(END),
            attn_implementation="eager",
        )  # fmt: skip
        models: list[Any] = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                models.append(LlamaForCausalLM(config))
        names = dict(models[0].named_parameters())
        return cls(models[0], {name: torch.stack([m.get_parameter(name).detach() for m in models]) for name in names})

    def copy(self, times: int = 1) -> Writers:
        """The same models anew, so many times over."""
        return Writers(self.skeleton, {name: torch.cat([w.detach()] * times) for name, w in self.weights.items()})

    def __call__(self, ids: Tensor) -> Tensor:
        """(M, n, length, vocabulary) log-probabilities of the next token, of (M, n, length) ids."""
        length = ids.shape[-1]
        ahead = torch.full((length, length), -1e9).triu(1)[None, None]

        def one(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
            given = {"input_ids": ids, "attention_mask": ahead.expand(len(ids), -1, -1, -1), "use_cache": False}
            return functional_call(self.skeleton, weights, kwargs=given).logits

        return log_softmax(vmap(one)(self.weights, ids), dim=-1)

    def summed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(M, n) log-probability of each answer."""
        logs = self(ids[..., :-1])[..., PROMPT:, :].gather(-1, ids[..., PROMPT + 1 :, None])[..., 0]
        return torch.where(mask, logs, 0.0).sum(dim=-1)

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[str]], rng: torch.Generator) -> list[list[str]]:
        """One answer to each of a model's prompts, up to and with its end."""
        ids = torch.tensor([[[ALPHABET.index(c) for c in BEGIN + prompt] for prompt in own] for own in prompts])
        for _ in range(ANSWER):
            chances = self(ids)[:, :, -1].exp()
            chances[..., ALPHABET.index(BEGIN)] = 0
            drawn = torch.multinomial(chances.flatten(0, 1), 1, generator=rng)
            ids = torch.cat([ids, drawn.view(*ids.shape[:2], 1)], dim=2)
        texts = [["".join(ALPHABET[i] for i in row[PROMPT + 1 :]) for row in own] for own in ids.tolist()]
        return [[text[: text.index(END) + 1] if END in text else text for text in own] for own in texts]
