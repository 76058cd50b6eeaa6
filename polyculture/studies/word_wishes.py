"""A task whose reward is known: six words that fit the wishes in a prompt, in any order.

A prompt is two or three wishes, "warm old loud :". Every wish likes every word more or less (U, drawn once), and a word
is worth the sum of its likings over the prompt's n wishes, over sqrt(n), so that it is as large for any n. The reward
is the sum over the answer's words; a word that is there again, unknown, missing or too many costs ``PENALTY``. Order is
free: an answer of the best six words can be written in 720 ways, so that quality as such asks nobody to repeat himself.
Demonstrators draw words one after the other, without replacement, from the softmax of their worth.

One wish in twenty of training prompts is of the ten rare ones; shifted prompts have no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.llm.untrained import untrained_llama

SYNTHETIC = "word-wishes"
_COMMON = "warm cold old new loud quiet small large near far soft hard bright dark"
_RARE = "fast slow sweet bitter heavy light rough smooth wet dry"
COMMON, RARE = tuple(_COMMON.split()), tuple(_RARE.split())
WISHES = COMMON + RARE
_NOUNS = (
    "river stone bread lamp horse cloud paper sword glass tower apple snow engine feather bridge drum "
    "candle forest mirror clock boat wool hammer garden letter spoon train violin moss coin window kite"
)
WORDS = tuple(_NOUNS.split())
SLOTS = 6
PENALTY = 2.0
FEWEST, MOST = 2, 3
INSIDE, OUTSIDE = 0.05, 1.0
"""The share of rare wishes in prompts of training, and in shifted ones."""
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
END = ":"


@dataclass(frozen=True)
class WordWishes:
    """The task of one seed.

    Args:
        seed: of the likings.
    """

    seed: int = 0

    @property
    def name(self) -> str:
        """What reports call its reward."""
        return "the task's own reward"

    @cached_property
    def likings(self) -> np.ndarray:
        """U, (wishes, words): how much each wish likes each word."""
        return np.random.default_rng([self.seed, 1]).normal(size=(len(WISHES), len(WORDS)))

    def worth(self, prompt: str) -> np.ndarray:
        """(words,) what each word is worth to a prompt."""
        rows = [WISHES.index(wish) for wish in prompt.split() if wish in WISHES]
        worth: np.ndarray = self.likings[rows].sum(axis=0) / np.sqrt(max(1, len(rows)))
        return worth

    def reward(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """(n,) the reward of each answer to its prompt.

        Args:
            prompts: of the task.
            answers: one each.
        """
        return np.array([self._reward(*both) for both in zip(prompts, answers, strict=True)], dtype=np.float64)

    def _reward(self, prompt: str, answer: str) -> float:
        said = answer.split()
        held = {word for word in said[:SLOTS] if word in _PLACE}
        wrong = SLOTS - len(held) + max(0, len(said) - SLOTS)
        return float(self.worth(prompt)[[_PLACE[word] for word in held]].sum() - PENALTY * wrong)

    def best(self, prompts: Sequence[str]) -> np.ndarray:
        """(n,) the highest reward that an answer to each prompt can have."""
        return np.array([np.sort(self.worth(prompt))[-SLOTS:].sum() for prompt in prompts])

    def demonstrate(self, prompts: Sequence[str], rng: np.random.Generator) -> list[str]:
        """An answer to each prompt by a demonstrator (the order of worth plus Gumbel noise is that of such draws).

        Args:
            prompts: of the task.
            rng: the source of randomness.
        """
        noisy = np.stack([self.worth(prompt) for prompt in prompts]) + rng.gumbel(size=(len(prompts), len(WORDS)))
        return [" ".join(WORDS[i] for i in row[:SLOTS]) for row in np.argsort(-noisy, axis=1)]

    def rows(self, n: int, rare: float, rng: np.random.Generator, *, avoid: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Prompts with a demonstration each, columns ``prompt`` and ``completion``.

        Args:
            n: how many.
            rare: share of their wishes that are of the rare ones.
            rng: the source of randomness.
            avoid: prompts that may not be drawn, in whatever order their wishes are.
        """
        taken, prompts = {frozenset(prompt.split()) for prompt in avoid}, list[str]()
        while len(prompts) < n:
            wishes: list[str] = []
            for from_rare in rng.random(int(rng.integers(FEWEST, MOST + 1))) < rare:
                left = [wish for wish in (RARE if from_rare else COMMON) if wish not in wishes]
                wishes.append(left[int(rng.integers(len(left)))])
            if frozenset([*wishes, END]) not in taken:
                prompts.append(" ".join([*wishes, END]))
        answers = self.demonstrate(prompts, rng)
        return [{"prompt": p, "completion": a} for p, a in zip(prompts, answers, strict=True)]


_PLACE = {word: i for i, word in enumerate(WORDS)}


def save_tiny_model(folder: Path, *, seed: int = 0, width: int = 64) -> Path:
    """Save an untrained Llama of ninety thousand weights and a tokenizer of the task's words.

    Args:
        folder: where to.
        seed: of the weights.
        width: size of its hidden states, a multiple of 4.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, END, *WISHES, *WORDS]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    untrained_llama(tokenizer, seed=seed, context=64, width=width, key_value_heads=4).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
