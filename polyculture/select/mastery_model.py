"""A mastery model: which knowledge components of a strategy are right at first, and what that prediction attends to.

Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (2023), after Vaswani et al.,
Attention Is All You Need (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent
from polyculture.select.strategy_symmetry import positions

WRONG, RIGHT, PAD, BEGIN, END, FIRST = 0, 1, 2, 3, 4, 5  # tokens; a component is its code + FIRST


class DecoderLayer(nn.Module):
    """Self-attention, attention to the input, and two dense layers; gives back what it attended to."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.input = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dense = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, steps, width) and the attention to the input, (batch, steps, input), averaged over heads."""
        steps = x.shape[1]
        later = torch.ones(steps, steps, dtype=torch.bool, device=x.device).triu(1)
        x = self.norms[0](x + self.dropout(self.own(x, x, x, attn_mask=later, need_weights=False)[0]))
        read, attention = self.input(x, memory, memory, key_padding_mask=padded, need_weights=True)
        x = self.norms[1](x + self.dropout(read))
        return self.norms[2](x + self.dropout(self.dense(x))), attention


class MasteryNetwork(nn.Module):
    """An encoder of components and a decoder of right and wrong."""

    def __init__(self, components: int, layers: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.components = nn.Embedding(components + FIRST, width, padding_idx=PAD)
        self.flags = nn.Embedding(FIRST, width, padding_idx=PAD)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.decoder = nn.ModuleList([DecoderLayer(width, heads, hidden, dropout) for _ in range(layers)])
        self.out = nn.Linear(width, FIRST)
        for matrix in self.parameters():
            if matrix.dim() > 1:
                nn.init.xavier_uniform_(matrix)

    def forward(self, components: Tensor, flags: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next flag, (batch, steps, 5), and the attention averaged over layers, (batch, steps, input)."""
        padded = components == PAD
        memory = self.encoder(self._placed(self.components(components)), src_key_padding_mask=padded)
        x = self._placed(self.flags(flags))
        seen = []
        for layer in self.decoder:
            x, attention = layer(x, memory, padded)
            seen.append(attention)
        return self.out(x), torch.stack(seen).mean(dim=0)

    def _placed(self, x: Tensor) -> Tensor:
        place = torch.tensor(positions(x.shape[1], self.width), dtype=x.dtype, device=x.device)
        return x * math.sqrt(self.width) + place


@dataclass(eq=False)
class MasteryModel(BaseEstimator):
    """Predicts, component by component, whether the first attempt is right; its attention says which components matter.

    Source: arXiv 2308.03892, its hyper-parameters and those of Vaswani et al. (2017). The warm-up is meant for logs of
    many thousand interactions; on a small one lower it with the size of the model.

    Args:
        layers: of the encoder and of the decoder.
        width: of the model.
        heads: of each attention.
        hidden: width of the dense layers.
        dropout: of every layer.
        epochs: passes over the interactions.
        batch_size: interactions a step.
        factor: of the learning rate factor * width^-0.5 * min(step^-0.5, step * warmup^-1.5).
        warmup: steps over which the learning rate rises.
        seed: of the first weights and of the order.
    """

    layers: int = 6
    width: int = 512
    heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    epochs: int = 10
    batch_size: int = 10
    factor: float = 2.0
    warmup: int = 4000
    seed: int = 0

    def fit(
        self,
        sequences: Sequence[Sequence[int]],
        flags: Sequence[Sequence[bool]],
        *,
        n_components: int | None = None,
        progress: Progress = silent,
    ) -> MasteryModel:
        """Learn from component sequences (codes from 0) and as many flags.

        Raises:
            BadInput: there are no sequences with components, or lengths differ.
        """
        if len(sequences) != len(flags) or any(len(s) != len(f) for s, f in zip(sequences, flags, strict=True)):
            raise BadInput("every sequence of components needs a flag for each component")
        rows = [i for i, sequence in enumerate(sequences) if len(sequence)]
        if not rows:
            raise BadInput("there are no sequences with knowledge components to learn from")
        if self.width % self.heads:
            raise BadInput(f"the width ({self.width}) should be a multiple of the heads ({self.heads})")
        self.n_components_ = n_components or 1 + max(max(sequences[i]) for i in rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            shape = (self.layers, self.width, self.heads, self.hidden, self.dropout)
            self.network_ = MasteryNetwork(self.n_components_, *shape)
            optimiser = torch.optim.Adam(self.network_.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9)
            self.losses_: list[float] = []
            step = 0
            for epoch in range(self.epochs):
                total = 0.0
                for batch in torch.tensor(rows)[torch.randperm(len(rows))].split(self.batch_size):
                    step += 1
                    rate = self.factor * self.width**-0.5 * min(step**-0.5, step * self.warmup**-1.5)
                    for group in optimiser.param_groups:
                        group["lr"] = rate
                    components, before = self._tokens(sequences, flags, batch.tolist())
                    after = torch.cat([before[:, 1:], torch.full((len(before), 1), PAD)], dim=1)
                    after[torch.arange(len(before)), (before != PAD).sum(dim=1) - 1] = END
                    logits, _ = self.network_(components, before)
                    loss = nn.functional.cross_entropy(logits.flatten(0, 1), after.flatten(), ignore_index=PAD)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    total += float(loss.detach()) * len(batch)
                self.losses_.append(total / len(rows))
                progress("mastery model", epoch + 1, self.epochs)
        self.network_.eval()
        return self

    def predict_proba(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Probability that each component is right at first, given the likelier flags before it: (L,) each."""
        probabilities, _ = self._decode(sequences, None)
        return probabilities

    def attention(
        self, sequences: Sequence[Sequence[int]], flags: Sequence[Sequence[bool]] | None = None
    ) -> list[np.ndarray]:
        """What predicting each flag attends to: one (L, L) a sequence, averaged over layers and heads.

        Rows are steps of the output, columns components. What goes to the marks of begin and end is left out.

        Args:
            sequences: component codes.
            flags: what was right; None takes what the model predicts.
        """
        return self._decode(sequences, flags)[1]

    def _decode(
        self, sequences: Sequence[Sequence[int]], flags: Sequence[Sequence[bool]] | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if not hasattr(self, "network_"):
            raise BadInput("this mastery model has not been fitted yet; call fit first")
        if any(not 0 <= c < self.n_components_ for sequence in sequences for c in sequence):
            raise BadInput(f"a component is not one of the {self.n_components_} that the mastery model has learnt")
        probabilities = [np.zeros(len(sequence)) for sequence in sequences]
        attention = [np.zeros((len(sequence), len(sequence))) for sequence in sequences]
        order = sorted((i for i in range(len(sequences)) if len(sequences[i])), key=lambda i: len(sequences[i]))
        for start in range(0, len(order), 256):  # by length, so that little is padding
            rows = order[start : start + 256]
            components, before = self._tokens(sequences, flags, rows)
            with torch.no_grad():
                if flags is None:
                    before = before[:, :1]
                    while before.shape[1] < components.shape[1] - 1:
                        logits, _ = self.network_(components, before)
                        likelier = logits[:, -1, [WRONG, RIGHT]].argmax(dim=1)
                        before = torch.cat([before, likelier[:, None]], dim=1)
                logits, seen = self.network_(components, before)
                right = logits[:, :, [WRONG, RIGHT]].softmax(dim=2)[:, :, 1]
            for place, row in enumerate(rows):
                length = len(sequences[row])
                probabilities[row] = right[place, :length].double().numpy()
                attention[row] = seen[place, :length, 1 : length + 1].double().numpy()
        return probabilities, attention

    def _tokens(
        self, sequences: Sequence[Sequence[int]], flags: Sequence[Sequence[bool]] | None, rows: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Padded inputs: begin, components, end; and begin, flags."""
        longest = max(len(sequences[i]) for i in rows)
        components = torch.full((len(rows), longest + 2), PAD)
        before = torch.full((len(rows), longest + 1), PAD)
        before[:, 0] = BEGIN
        for place, i in enumerate(rows):
            held = torch.tensor([BEGIN, *(c + FIRST for c in sequences[i]), END])
            components[place, : len(held)] = held
            if flags is not None:
                before[place, 1 : len(flags[i]) + 1] = torch.tensor([RIGHT if f else WRONG for f in flags[i]])
        return components, before
