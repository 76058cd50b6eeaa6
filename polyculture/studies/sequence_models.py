"""Small sequence models trained from scratch on examples of rules, and how often they get a whole output right.

Two kinds. The encoder reads x, y and s side by side and names every output character at once: quick, and enough to show
what diversity does. The decoder is the GPT-2 of "Only-IF: Revealing the Decisive Effect of Instruction Diversity on
Generalization" (2024): x, y and s as a prompt, the output written character by character.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.studies.examples import Example

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["encoder", "gpt2"]
PAD, SEPARATOR, END = 0, 1, 2
SPECIAL = 3
IGNORED = -100
SIZES: dict[str, dict[str, Any]] = {
    "encoder": {"width": 48, "heads": 4, "layers": 2, "learning_rate": 2e-3},
    "gpt2": {"width": 256, "heads": 4, "layers": 6, "learning_rate": 5e-4},
}
"""Of the reproduction's encoder, and of the paper's GPT-2 (the learning rate is ours)."""


@dataclass(frozen=True)
class Training:
    """A model and how it is trained: AdamW, a linear warm-up, then a linear fall to 0.

    Args:
        model: "encoder" or "gpt2".
        width: of the hidden states.
        heads: of attention.
        layers: blocks.
        steps: optimiser steps; the same however many rules there are.
        batch_size: examples a step.
        learning_rate: the highest.
        warmup: steps until it is reached.
        device: where to train; None is the first GPU if there is one, else the CPU.
    """

    model: Kind = "encoder"
    width: int = 48
    heads: int = 4
    layers: int = 2
    steps: int = 700
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: int = 100
    device: str | None = None

    def __post_init__(self) -> None:
        if self.model not in SIZES:
            raise unknown("model", self.model, SIZES)
        if min(self.width, self.heads, self.layers, self.steps, self.batch_size) < 1 or self.warmup < 0:
            raise BadInput("width, heads, layers, steps and batch size should be at least 1, warmup at least 0")
        if self.width % self.heads:
            raise BadInput(f"a width of {self.width} can't be shared by {self.heads} heads; use a multiple")
        if not self.learning_rate > 0:
            raise BadInput(f"the learning rate should be above 0, not {self.learning_rate}")

    @classmethod
    def of(cls, model: str, **given: Any) -> Self:
        """The usual size of a model, but for what is given and not None.

        Args:
            model: "encoder" or "gpt2".
            given: other fields.

        Raises:
            UnknownMethod: there is no such model.
        """
        if model not in SIZES:
            raise unknown("model", model, SIZES)
        return cls(**{"model": model, **SIZES[model], **{k: v for k, v in given.items() if v is not None}})

    def settings(self) -> dict[str, Any]:
        """What results depend on, in JSON's types."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


class Coding:
    """Characters as numbers, and the room that x, y, s and the output take.

    Args:
        examples: every example that will be coded, of training and tests.
        model: for which kind of model.
    """

    def __init__(self, examples: Sequence[Example], model: Kind) -> None:
        if not examples:
            raise BadInput("there are no examples to train on")
        letters = sorted({c for e in examples for text in (e.s, e.x, e.y, e.output) for c in text})
        self.model = model
        self.of = {letter: i + SPECIAL for i, letter in enumerate(letters)}
        self.size = len(letters) + SPECIAL
        widths = [max(len(getattr(e, part)) for e in examples) for part in ("x", "y", "s", "output")]
        self.room_x, self.room_y = widths[0], max(widths[1], 1)
        self.room_s = max(widths[2:]) if model == "encoder" else widths[2]
        self.length = self.room_x + self.room_y + self.room_s
        if model == "gpt2":
            self.length = max(len(e.x) + len(e.y) + len(e.s) + len(e.output) for e in examples) + 4

    def __call__(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, (n, length) int16 each; targets are IGNORED where nothing is to be said."""
        inputs = np.full((len(examples), self.length), PAD, dtype=np.int16)
        targets = np.full((len(examples), self.length), IGNORED, dtype=np.int16)
        for i, e in enumerate(examples):
            x, y, s, output = ([self.of[c] for c in text] for text in (e.x, e.y, e.s, e.output))
            if self.model == "encoder":
                start = self.room_x + self.room_y
                for at, part in ((0, x), (self.room_x, y), (start, s)):
                    inputs[i, at : at + len(part)] = part
                targets[i, start:] = PAD
                targets[i, start : start + len(output)] = output
            else:
                prompt = [*x, SEPARATOR, *y, SEPARATOR, *s, SEPARATOR]
                whole = [*prompt, *output, END]
                # A token is named at the place before it.
                inputs[i, : len(whole)] = whole
                targets[i, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
        return inputs, targets


def make_model(training: Training, coding: Coding) -> nn.Module:
    """A new model whose forward takes (n, length) ids and gives (n, length, characters) logits.

    The decoder also takes a shift of the places, (n,): moved about in training, it meets every place that a longer test
    needs.

    Args:
        training: kind and size of the model.
        coding: its characters and length.
    """
    import torch
    from torch import nn

    if training.model == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=coding.size,
            n_positions=coding.length,
            n_embd=training.width,
            n_layer=training.layers,
            n_head=training.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=SEPARATOR,
            eos_token_id=END,
        )

        class Decoder(nn.Module):
            """GPT-2 that gives its logits alone."""

            def __init__(self) -> None:
                super().__init__()
                self.inner = GPT2LMHeadModel(config)

            def forward(self, ids: Tensor, shift: Tensor | None = None) -> Tensor:
                places = torch.arange(ids.shape[1], device=ids.device)[None].expand_as(ids)
                if shift is not None:
                    places = places + shift[:, None]
                found: Tensor = self.inner(input_ids=ids, position_ids=places, use_cache=False).logits
                return found

        return Decoder()

    class Encoder(nn.Module):
        """Pre-norm transformer blocks with learned positions, and a softmax over characters at every place."""

        def __init__(self) -> None:
            super().__init__()
            width = training.width
            self.letters = nn.Embedding(coding.size, width)
            self.places = nn.Parameter(0.02 * torch.randn(coding.length, width))
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, training.heads, round(width * 8 / 3), dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(training.layers)
            )
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, coding.size)

        def forward(self, ids: Tensor) -> Tensor:
            hidden = self.letters(ids) + self.places
            for block in self.blocks:
                hidden = block(hidden)
            found: Tensor = self.head(self.norm(hidden))
            return found

    return Encoder()


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Args:
        model: of :func:`make_model`.
        coding: what it was trained with.
        loss: the mean of the last tenth of steps, in nats a character.
    """

    model: nn.Module
    coding: Coding
    loss: float

    def right(self, examples: Sequence[Example], *, batch_size: int = 512) -> np.ndarray:
        """(n,) bool: whether the whole output is right.

        For the decoder this is whether greedy decoding writes the output and then ends. Greedy decoding does so exactly
        when, given the right beginning, every next character is the likeliest, so one forward pass tells.

        Args:
            examples: to solve; their characters and lengths are within the coding's.
            batch_size: examples at once.
        """
        import torch

        inputs, targets = self.coding(examples)
        device = next(self.model.parameters()).device
        found = []
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(examples), batch_size):
                best = self.model(torch.from_numpy(inputs[start : start + batch_size]).long().to(device)).argmax(-1)
                wanted = targets[start : start + batch_size]
                found.append(((best.cpu().numpy() == wanted) | (wanted == IGNORED)).all(axis=1))
        return np.concatenate(found) if found else np.empty(0, dtype=bool)


def train(
    examples: Sequence[Example],
    coding: Coding,
    training: Training,
    *,
    seed: int,
    tell: Callable[[int], None] = lambda step: None,
) -> Trained:
    """Train a new model on examples, each batch drawn with the next part of a shuffled pass over them.

    Args:
        examples: the training set.
        coding: made of the training and the test examples.
        training: the model and how.
        seed: of the initial weights and the order of the data.
        tell: told of every step.

    Raises:
        BadInput: training diverged, or the device can't be used.
    """
    import torch

    from polyculture.llm.loading import on_device

    rng = np.random.default_rng([seed, 7])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = on_device(make_model(training, coding), training.device)
    device = next(model.parameters()).device
    inputs, targets = (torch.from_numpy(part).to(device) for part in coding(examples))
    optimiser = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, fused=True)
    warm, steps = min(training.warmup, training.steps), training.steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: (t + 1) / warm if t < warm else (steps - t) / max(1, steps - warm)
    )
    model.train()
    order, losses = np.empty(0, dtype=np.int64), []
    # The encoder says something at the places of s alone; the decoder needs no place after the longest example.
    first = coding.room_x + coding.room_y if training.model == "encoder" else 0
    longest = coding.length if training.model == "encoder" else int((inputs != PAD).sum(dim=1).max())
    for step in range(steps):
        tell(step)
        while len(order) < training.batch_size:
            order = np.concatenate([order, rng.permutation(len(examples))])
        rows, order = torch.from_numpy(order[: training.batch_size]).to(device), order[training.batch_size :]
        if training.model == "gpt2":
            shift = torch.from_numpy(rng.integers(coding.length - longest + 1, size=training.batch_size)).to(device)
            logits = model(inputs[rows, :longest].long(), shift)
        else:
            logits = model(inputs[rows].long())[:, first:]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, coding.size), targets[rows, first:longest].reshape(-1).long(), ignore_index=IGNORED
        )
        if not torch.isfinite(loss):
            raise BadInput(f"training diverged at step {step}; use a lower learning rate")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.detach())
    last = torch.stack(losses[-max(1, steps // 10) :]).mean()
    return Trained(model, coding, float(last))
