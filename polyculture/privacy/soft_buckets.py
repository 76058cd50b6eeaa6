"""Buckets learnt by gradient: against an adversary, or against the information that they carry.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 5, AdvTrain and MutualInf.
While they are learnt, an attribute belongs to its buckets by shares that sum to 1; afterwards to the largest.

A continuous attribute is moved by a monotone piecewise linear map onto [0, 1], at first the one of its quantiles, where
the buckets have evenly spaced centres; a category has a table of logits. The paper leaves the networks open.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.base import Minimizer, Records
from polyculture.privacy.columns import Column
from polyculture.privacy.generalisation import Groups, Intervals, Part, renumber

if TYPE_CHECKING:
    import torch

HOT, COLD = 2.0, 0.5  # the temperature of the shares, from the first step to the last
KNOTS = 33


@dataclass(eq=False)
class SoftBuckets(Minimizer):
    """What the two share: encoders of the attributes and a classifier trained on their shares.

    Args:
        weight: weight of privacy against accuracy, in [0, 1].
        k: most buckets an attribute.
        epochs: passes over the records.
        learning_rate: Adam's.
        batch_size: records a step.
        hidden: width of the classifier's and the adversary's hidden layer.
    """

    weight: float = 0.5
    k: int = 5
    epochs: int = 20
    learning_rate: float = 0.01
    batch_size: int = 256
    hidden: int = 50

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        import torch
        from torch.nn.functional import cross_entropy

        if not 0 <= self.weight <= 1:
            raise BadInput(f"weight = {self.weight}, but it should be between 0 and 1")
        if self.k < 1 or self.epochs < 1 or self.batch_size < 1:
            raise BadInput("k, epochs and batch_size should be at least 1")
        y = torch.as_tensor(records.y)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            encoders = [_encoder(records, j, self.k) for j in range(len(records.columns))]
            classifier = _network(sum(e.size for e in encoders), self.hidden, len(self.classes_))
            privacy = self._privacy(encoders, records)
            learnt = [p for e in encoders for p in e.parameters] + list(classifier.parameters())
            adam = torch.optim.Adam(learnt, lr=self.learning_rate, foreach=True)
            decay = torch.optim.lr_scheduler.StepLR(adam, max(1, self.epochs // 2), 0.1)
            step, steps = 0, self.epochs * -(-len(y) // self.batch_size)
            for _ in range(self.epochs):
                for rows in torch.randperm(len(y)).split(self.batch_size):
                    temperature = HOT + (COLD - HOT) * step / max(1, steps - 1)
                    cost = privacy(rows, temperature)
                    shares = [e.shares(rows, temperature) for e in encoders]
                    loss = cross_entropy(classifier(torch.cat(shares, dim=1)), y[rows])
                    adam.zero_grad()
                    ((1 - self.weight) * loss + self.weight * cost(shares)).backward()
                    adam.step()
                    step += 1
                decay.step()
        return [encoder.part(column) for encoder, column in zip(encoders, records.columns, strict=True)]

    @abstractmethod
    def _privacy(self, encoders: Sequence[Encoder], records: Records) -> Privacy:
        """What a batch does for privacy before its step, and the cost of its shares that the step lowers."""


Privacy = Callable[["torch.Tensor", float], Callable[[Sequence["torch.Tensor"]], "torch.Tensor"]]


@dataclass(eq=False)
class AdversarialTraining(SoftBuckets):
    """Learn buckets with a classifier that should tell the target, against networks that try to tell what is sensitive.

    Minimises (1 - weight) CE(y) - weight CE(s), s being guessed by adversaries that are trained in between.

    Source: Vertical Data Minimization (2023), Section 5, AdvTrain.

    Args:
        inner_steps: steps of the adversaries for each step of the buckets.
        sensitive_bins: equal-width bins of a sensitive attribute that is continuous.
    """

    inner_steps: int = 1
    sensitive_bins: int = 6

    def _privacy(self, encoders: Sequence[Encoder], records: Records) -> Privacy:
        import torch
        from torch.nn.functional import cross_entropy

        if self.inner_steps < 1 or self.sensitive_bins < 1:
            raise BadInput("inner_steps and sensitive_bins should be at least 1")
        truth = torch.as_tensor(records.sensitive_codes(self.sensitive_bins))
        width = sum(e.size for e in encoders)
        adversaries = [_network(width, self.hidden, int(column.max()) + 1) for column in truth.T]
        parameters = [p for a in adversaries for p in a.parameters()]
        adam = torch.optim.Adam(parameters, lr=self.learning_rate, foreach=True)

        def guessed(shares: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            losses = [cross_entropy(a(shares), truth[rows, i]) for i, a in enumerate(adversaries)]
            return torch.stack(losses).mean()

        def train(rows: torch.Tensor, temperature: float) -> Callable[[Sequence[torch.Tensor]], torch.Tensor]:
            for _ in range(self.inner_steps):
                drawn = torch.randint(len(truth), (min(self.batch_size, len(truth)),))
                with torch.no_grad():
                    shares = torch.cat([e.shares(drawn, temperature) for e in encoders], dim=1)
                adam.zero_grad()
                guessed(shares, drawn).backward()
                adam.step()
            return lambda shares: -guessed(torch.cat(list(shares), dim=1), rows)

        return train


@dataclass(eq=False)
class MutualInformation(SoftBuckets):
    """Learn buckets with a classifier that should tell the target, and that carry as little information as can be.

    Minimises (1 - weight) CE(y) + weight sum_j I(x_j; bucket_j). The information, in nats, is computed from the shares
    of a batch: the entropy of their mean less their mean entropy. It does not look at which attributes are sensitive.

    Source: Vertical Data Minimization (2023), Section 5, MutualInf.
    """

    def _privacy(self, encoders: Sequence[Encoder], records: Records) -> Privacy:
        import torch

        def information(shares: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.stack([_entropy(s.mean(dim=0)) - _entropy(s).mean() for s in shares]).sum()

        return lambda rows, temperature: information


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    return -(shares * shares.clamp_min(1e-12).log()).sum(dim=-1)


def _network(width: int, hidden: int, classes: int) -> torch.nn.Module:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes))


@dataclass(frozen=True)
class ContinuousEncoder:
    """A continuous attribute's shares: by squared distance to evenly spaced centres, after a monotone map.

    Args:
        knots: (m,) ascending values between which the map is linear.
        rises: (m - 1,) logits of how far the map rises in each interval; the rises sum to 1.
        place: (n,) where each record lies, in intervals from the first knot.
        size: how many buckets.
    """

    knots: torch.Tensor
    rises: torch.Tensor
    place: torch.Tensor
    size: int

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What is learnt."""
        return [self.rises]

    def heights(self) -> torch.Tensor:
        """(m,) where the map takes the knots, from 0 to 1."""
        import torch

        return torch.cat([torch.zeros(1), torch.softmax(self.rises, dim=0).cumsum(dim=0)])

    def shares(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """(rows, size) shares that sum to 1."""
        import torch

        heights, place = self.heights(), self.place[rows]
        below = place.floor().long().clamp(max=len(heights) - 2)
        z = heights[below] + (place - below) * (heights[below + 1] - heights[below])
        centres = (torch.arange(self.size) + 0.5) / self.size
        distance = (self.size * (z[:, None] - centres)) ** 2  # in widths of a bucket
        return torch.softmax(-distance / temperature, dim=1)

    def part(self, column: Column) -> Part:
        """The borders between the nearest centres, where records lie on both sides."""
        heights = self.heights().detach().double().numpy()
        borders = np.interp(np.arange(1, self.size) / self.size, heights, self.knots.double().numpy())
        return Intervals(column, tuple(float(b) for b in np.unique(borders) if column.low < b <= column.high))


@dataclass(frozen=True)
class CategoricalEncoder:
    """A categorical attribute's shares: a table of logits.

    Args:
        logits: (categories, size).
        codes: (n,) the category of each record.
        size: how many buckets.
    """

    logits: torch.Tensor
    codes: torch.Tensor
    size: int

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What is learnt."""
        return [self.logits]

    def shares(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """(rows, size) shares that sum to 1."""
        import torch

        return torch.softmax(self.logits[self.codes[rows]] / temperature, dim=1)

    def part(self, column: Column) -> Part:
        """Each category in the bucket of its largest logit."""
        return Groups(column, renumber(self.logits.detach().argmax(dim=1).numpy()))


Encoder = ContinuousEncoder | CategoricalEncoder


def _encoder(records: Records, j: int, k: int) -> Encoder:
    import torch

    column = records.columns[j]
    if column.categories is not None:
        size = min(k, len(column.categories))
        logits = torch.randn(len(column.categories), size)
        logits[torch.arange(len(logits)), torch.randperm(len(logits)) % size] += 2  # every bucket in use at first
        return CategoricalEncoder(logits.requires_grad_(), torch.as_tensor(records.values[:, j]).long(), size)
    values = records.values[:, j]
    knots = np.unique(np.quantile(values, np.linspace(0, 1, KNOTS)))
    if len(knots) < 2:  # constant: one bucket
        knots, k = np.array([column.low, column.low + 1]), 1
    share = np.diff(np.searchsorted(np.sort(values), knots, side="right") / len(values))
    return ContinuousEncoder(
        torch.as_tensor(knots, dtype=torch.float64),
        torch.log(torch.as_tensor(np.maximum(share, 1e-3), dtype=torch.float32)).requires_grad_(),
        torch.as_tensor(np.interp(values, knots, np.arange(len(knots))), dtype=torch.float32),
        k,
    )
