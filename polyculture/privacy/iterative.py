"""Coarsen one attribute at a time, as long as a classifier stays as accurate as it should.

From Principle to Practice: Vertical Data Minimization for Machine Learning (2023), Section 5, Iterative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.privacy.base import Minimizer, Records, full_resolution, one_hot_full, quantile_buckets
from polyculture.privacy.classifier import accuracy
from polyculture.privacy.generalisation import Generalisation, Groups, Part


@dataclass(eq=False)
class Iterative(Minimizer):
    """Start from fine buckets; take attributes by what collapsing them costs the adversary more than the classifier.

    Each attribute in turn loses one bucket at a time while accuracy on records set aside stays above the target. Both
    the classifier and the adversary are logistic regressions, because every step fits them anew. Categories are merged
    by their coefficient in a logistic regression of the target (:func:`optimal_k_split`).

    Source: Vertical Data Minimization (2023), Section 5, Iterative.

    Args:
        k: buckets an attribute to start from: quantile buckets, or categories grouped to that many.
        target: accuracy to keep (0.001 is added, as the authors do); None keeps what the start reaches, less
            ``tolerance``.
        tolerance: accuracy that may be lost when no target is given.
        validation_share: share of the records set aside for measuring.
    """

    k: int = 5
    target: float | None = None
    tolerance: float = 0.01
    validation_share: float = 0.3

    def _minimize(self, records: Records, rng: np.random.Generator) -> Sequence[Part]:
        if self.k < 1:
            raise BadInput(f"k = {self.k}, but it should be at least 1")
        if not 0 < self.validation_share < 1:
            raise BadInput(f"validation_share = {self.validation_share}, but it should be between 0 and 1")
        train, validation = records.split(self.validation_share, rng)
        trial = _Trial(train, validation, _coefficients(train))
        start = [trial.part(j, self.k) for j in range(len(records.columns))]
        reached, guessed = trial.classifier(start), trial.adversary(start)
        least = reached - self.tolerance if self.target is None else self.target + 0.001
        worth = []
        for j in range(len(start)):
            without = [*start[:j], trial.part(j, 1), *start[j + 1 :]]
            worth.append((guessed - trial.adversary(without)) - (reached - trial.classifier(without)))
        parts = list(start)
        for j in np.argsort(-np.array(worth), kind="stable"):
            while parts[j].size > 1:
                coarser = [*parts[:j], trial.part(int(j), parts[j].size - 1), *parts[j + 1 :]]
                if trial.classifier(coarser) < least:
                    break
                parts = coarser
        return parts


@dataclass(frozen=True)
class _Trial:
    """What a generalisation is worth to a classifier and to an adversary, on records set aside."""

    train: Records
    validation: Records
    coefficients: Sequence[np.ndarray]

    def part(self, j: int, k: int) -> Part:
        column = self.train.columns[j]
        if column.continuous:
            found: Part = quantile_buckets(self.train, j, k)
            return found
        if k >= len(column.categories or ()):
            return full_resolution(self.train, j)
        return Groups(column, optimal_k_split(self.coefficients[j], k)[0])

    def classifier(self, parts: Sequence[Part]) -> float:
        seen, new = self._views(parts)
        return accuracy(_logistic(), seen, self.train.y, new, self.validation.y)

    def adversary(self, parts: Sequence[Part]) -> float:
        """Mean share of the sensitive attributes guessed, continuous ones in 20 equal parts."""
        seen, new = self._views(parts)
        codes, truth = self.train.sensitive_codes(20), self.validation.sensitive_codes(20)
        return float(
            np.mean([accuracy(_logistic(), seen, codes[:, i], new, truth[:, i]) for i in range(codes.shape[1])])
        )

    def _views(self, parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
        found = Generalisation(tuple(parts))
        both = [found.one_hot(found.buckets(records.values)) for records in (self.train, self.validation)]
        return both[0], both[1]


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=200)


def _coefficients(records: Records) -> list[np.ndarray]:
    """Each attribute's coefficients in a logistic regression of the target; of several classes, those of the last."""
    X, owner = one_hot_full(records)
    weights = np.zeros(X.shape[1])
    if len(np.unique(records.y)) > 1:
        fitted = _logistic().fit(X, records.y)
        weights = fitted.coef_[-1]
    return [weights[owner == j] for j in range(len(records.columns))]


def optimal_k_split(coefficients: np.ndarray, k: int) -> tuple[tuple[int, ...], float]:
    """Group sorted numbers into k contiguous groups with the least mean variance inside a group.

    Dynamic programming over the groups, O(k n^2).

    Args:
        coefficients: (n,) numbers in any order.
        k: how many groups, 1 to n; none is empty.

    Returns:
        The group of each number, groups numbered by increasing number, and the mean over groups of the population
        variance inside them.

    Raises:
        BadInput: k is not in 1..n, or a number is not finite.
    """
    held = np.asarray(coefficients, dtype=np.float64)
    n = len(held)
    if not 1 <= k <= n:
        raise BadInput(f"k = {k}, but it should be between 1 and the {n} coefficients")
    if not np.isfinite(held).all():
        raise BadInput("coefficients should be finite")
    order = np.argsort(held, kind="stable")
    centred = held[order] - held.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (centred, centred**2))
    start, stop = np.arange(n)[:, None], np.arange(1, n + 1)[None, :]  # variance[i, j]: of the numbers i..j
    size = np.maximum(stop - start, 1)
    mean = (sums[stop] - sums[start]) / size
    variance = np.where(stop > start, np.maximum((squares[stop] - squares[start]) / size - mean**2, 0), np.inf)
    best, first = variance[0].copy(), np.zeros((k, n), dtype=np.int64)
    for group in range(1, k):
        costs = np.full((n, n), np.inf)
        costs[1:] = best[:-1, None] + variance[1:]  # costs[i, j]: the group is i..j, the others end at i - 1
        first[group] = costs.argmin(axis=0)
        best = costs.min(axis=0)
    mapping = np.empty(n, dtype=np.int64)
    end = n
    for group in range(k - 1, -1, -1):
        begin = int(first[group][end - 1])
        mapping[order[begin:end]] = group
        end = begin
    return tuple(int(m) for m in mapping), float(best[n - 1] / k)
