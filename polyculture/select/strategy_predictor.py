"""Predicting a strategy, and whether it is predicted as well for every group.

Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent


def strategy_jaccard(predicted: Iterable[int], actual: Iterable[int]) -> float:
    """Jaccard index of the sets of components; order and repetition don't count. Two empty sets agree: 1.

    >>> strategy_jaccard([1, 2, 2, 5], [2, 5, 7])
    0.5
    """
    one, other = set(predicted), set(actual)
    return len(one & other) / len(one | other) if one or other else 1.0


@dataclass(frozen=True)
class Equality:
    """How well strategies are predicted, and how equally.

    Args:
        mean: over interactions.
        by_group: group -> mean over its interactions.
        gap: best minus worst group.
        spread: standard deviation over groups.
        worst: of the worst group.
    """

    mean: float
    by_group: Mapping[Any, float]
    gap: float
    spread: float
    worst: float


def predictive_equality(accuracy: Any, groups: Any) -> Equality:
    """The accuracy of predictions by group: equal predictions have a gap of 0.

    Args:
        accuracy: (n,) such as :func:`strategy_jaccard` of each interaction.
        groups: (n,) labels, such as the mastery group of the student.

    Raises:
        BadInput: there is nothing to compare, lengths differ, or an accuracy is NaN.
    """
    held, labels = np.asarray(accuracy, dtype=np.float64), np.asarray(groups)
    if not len(held) or held.shape != labels.shape:
        raise BadInput(f"accuracy and groups should be two vectors of one length, not {held.shape} and {labels.shape}")
    if np.isnan(held).any():
        raise BadInput("an accuracy is NaN; leave out what was not predicted")
    by_group = {label: float(held[labels == label].mean()) for label in np.unique(labels).tolist()}
    means = np.array(list(by_group.values()))
    return Equality(float(held.mean()), by_group, float(np.ptp(means)), float(means.std()), float(means.min()))


class OneToMany(nn.Module):
    """An LSTM reads the vectors of an interaction, another writes components from where the first ended."""

    def __init__(self, width: int, tokens: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.reader = nn.LSTM(width, hidden, batch_first=True)
        self.writer = nn.LSTM(tokens, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, tokens)

    def forward(self, vectors: Tensor, before: Tensor) -> Tensor:
        """Logits of the next component, (batch, steps, tokens), from (batch, 3, width) and (batch, steps, tokens)."""
        _, state = self.reader(vectors)
        written, _ = self.writer(before, state)
        return self.out(self.dropout(written))


@dataclass(eq=False)
class StrategyPredictor(BaseEstimator):
    """Writes the components of a strategy one after another, from the vectors of student, section and problem.

    Source: arXiv 2308.03892: LSTMs of 200 units, dropout 0.3, Adam at 1e-3, cross-entropy, and a start token of ones.

    Args:
        hidden: units of each LSTM.
        dropout: before the softmax.
        epochs: passes over the interactions.
        batch_size: interactions a step.
        learning_rate: of Adam.
        longest: components of a prediction at most; None is the longest strategy seen in training.
        seed: of the first weights, the order and the dropout.
    """

    hidden: int = 200
    dropout: float = 0.3
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    longest: int | None = None
    seed: int = 0

    def fit(
        self,
        X: Any,
        strategies: Sequence[Sequence[int]],
        *,
        n_components: int | None = None,
        progress: Progress = silent,
    ) -> StrategyPredictor:
        """Learn from vectors, (n, m, d): m vectors of each interaction, and its component codes.

        Raises:
            BadInput: there is nothing to learn from, lengths differ, or a value is NaN or infinite.
        """
        vectors = _vectors(X)
        if not len(vectors) or len(vectors) != len(strategies):
            raise BadInput(f"there are {len(vectors)} interactions and {len(strategies)} strategies; give one for each")
        largest = max((max(s) for s in strategies if len(s)), default=-1)
        self.n_components_ = max(largest + 1, 1) if n_components is None else n_components
        if largest >= self.n_components_ or any(c < 0 for s in strategies for c in s):
            raise BadInput(f"a strategy has a component that is not one of {self.n_components_}")
        steps = max(map(len, strategies))
        self.longest_ = steps if self.longest is None else self.longest
        stop = self.n_components_
        wanted = torch.full((len(strategies), steps + 1), -100)  # what cross_entropy passes over
        for row, strategy in enumerate(strategies):
            wanted[row, : len(strategy) + 1] = torch.tensor([*strategy, stop])
        before = torch.ones(len(strategies), steps + 1, stop + 1)
        before[:, 1:] = nn.functional.one_hot(wanted[:, :-1].clamp(min=0), stop + 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network_ = OneToMany(vectors.shape[2], stop + 1, self.hidden, self.dropout)
            optimiser = torch.optim.Adam(self.network_.parameters(), lr=self.learning_rate)
            for epoch in range(self.epochs):
                for batch in torch.randperm(len(vectors)).split(self.batch_size):
                    logits = self.network_(vectors[batch], before[batch])
                    loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted[batch].flatten())
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                progress("strategy predictor", epoch + 1, self.epochs)
        self.network_.eval()
        return self

    def predict(self, X: Any) -> list[list[int]]:
        """The likeliest component after the likeliest, until the end of the strategy; a list of codes a row."""
        found = []
        for row in self.predict_proba(X).argmax(axis=2):
            ends = np.flatnonzero(row == self.n_components_)
            found.append(row[: ends[0] if len(ends) else len(row)].tolist())
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of each step's component given the likeliest before it, (n, steps, components + 1).

        The last of a step is the end of the strategy.

        Raises:
            BadInput: it has not been fitted, or a value is NaN or infinite.
        """
        if not hasattr(self, "network_"):
            raise BadInput("this strategy predictor has not been fitted yet; call fit first")
        vectors = _vectors(X)
        found = []
        with torch.no_grad():
            for part in vectors.split(4096):
                _, state = self.network_.reader(part)
                before = torch.ones(len(part), 1, self.n_components_ + 1)
                steps = []
                for _ in range(self.longest_):
                    written, state = self.network_.writer(before, state)
                    steps.append(self.network_.out(written[:, 0]).softmax(dim=1))
                    before = nn.functional.one_hot(steps[-1].argmax(dim=1), self.n_components_ + 1).float()[:, None]
                found.append(torch.stack(steps, dim=1) if steps else torch.zeros(len(part), 0, self.n_components_ + 1))
        return torch.cat(found).double().numpy()


def _vectors(X: Any) -> Tensor:
    held = np.asarray(X, dtype=np.float32)
    if held.ndim != 3:
        raise BadInput(f"the vectors of interactions should be (n, m, d), m vectors each, not of shape {held.shape}")
    if not np.isfinite(held).all():
        raise BadInput("the vectors of interactions hold NaN or infinity")
    return torch.tensor(held)
