"""Vectors for the tokens of short lists, so that tokens seen together lie close.

Mikolov et al., Distributed Representations of Words and Phrases (2013): continuous bag of words with negative sampling,
the model of relations in Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent


@dataclass(eq=False)
class RelationVectors(BaseEstimator):
    """A token is predicted from the mean vector of the tokens around it, against random other tokens.

    After ``fit``, ``tokens_`` are the tokens in order of first appearance, and ``vectors_`` (tokens, size) float32.
    Source: arXiv 2308.03892, whose released code trains it with window 8 and size 300.

    Args:
        size: width of the vectors.
        window: tokens to each side that count as around.
        negative: random tokens a prediction is told from, drawn by count^0.75.
        epochs: passes over the lists.
        batch_size: predictions a step.
        learning_rate: of Adam.
        seed: of the first vectors and of the draws.
    """

    size: int = 300
    window: int = 8
    negative: int = 5
    epochs: int = 5
    batch_size: int = 1024
    learning_rate: float = 0.01
    seed: int = 0

    def fit(self, lists: Sequence[Sequence[str]], *, progress: Progress = silent) -> RelationVectors:
        """Learn vectors from lists of tokens.

        Raises:
            BadInput: no list has two tokens.
        """
        import torch
        from torch.nn.functional import embedding_bag, logsigmoid

        codes: dict[str, int] = {}
        coded = [[codes.setdefault(token, len(codes)) for token in tokens] for tokens in lists]
        contexts, targets = self._examples(coded, len(codes))
        counts = np.bincount(np.concatenate([np.asarray(held, dtype=np.int64) for held in coded]), minlength=len(codes))
        device = torch.device("cpu")
        generator = torch.Generator(device).manual_seed(self.seed)
        inner = ((torch.rand(len(codes) + 1, self.size, generator=generator) - 0.5) / self.size).requires_grad_()
        outer = torch.zeros(len(codes), self.size, requires_grad=True)
        often = torch.tensor(counts**0.75, dtype=torch.float32)
        optimiser = torch.optim.Adam([inner, outer], lr=self.learning_rate)
        around, wanted = torch.tensor(contexts), torch.tensor(targets)
        for epoch in range(self.epochs):
            for batch in torch.randperm(len(wanted), generator=generator).split(self.batch_size):
                mean = embedding_bag(around[batch], inner, mode="mean", padding_idx=len(codes))
                others = torch.multinomial(often, len(batch) * self.negative, replacement=True, generator=generator)
                told = torch.cat([wanted[batch, None], others.view(-1, self.negative)], dim=1)
                scores = (outer[told] @ mean[:, :, None]).squeeze(-1)
                loss = -(logsigmoid(scores[:, 0]) + logsigmoid(-scores[:, 1:]).sum(dim=1)).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            progress("relation vectors", epoch + 1, self.epochs)
        self.tokens_ = tuple(codes)
        self.vectors_ = inner.detach()[:-1].numpy().copy()
        self._place = codes
        return self

    def transform(self, tokens: Sequence[str]) -> np.ndarray:
        """The vectors of tokens, (n, size) float32; zero for a token that was not seen.

        Raises:
            BadInput: it has not been fitted.
        """
        if not hasattr(self, "vectors_"):
            raise BadInput("these relation vectors have not been fitted yet; call fit first")
        found = np.zeros((len(tokens), self.size), dtype=np.float32)
        for row, token in enumerate(tokens):
            place = self._place.get(token)
            if place is not None:
                found[row] = self.vectors_[place]
        return found

    def _examples(self, coded: list[list[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens around each token, (m, 2 window) filled up with ``pad``, and the token itself, (m,)."""
        contexts, targets = [], []
        for tokens in coded:
            for place, token in enumerate(tokens):
                around = tokens[max(place - self.window, 0) : place] + tokens[place + 1 : place + 1 + self.window]
                if around:
                    contexts.append(around)
                    targets.append(token)
        if not targets:
            raise BadInput("there are no lists of two or more tokens to learn vectors from")
        filled = np.full((len(contexts), max(map(len, contexts))), pad, dtype=np.int64)
        for row, around in zip(filled, contexts, strict=True):
            row[: len(around)] = around
        return filled, np.array(targets, dtype=np.int64)
