"""Stratified: every group gets its share of the budget, and a selector chooses inside each.

Neyman, On the two different aspects of the representative method (1934), for strata; shares tempered by size as in
Conneau et al., Unsupervised Cross-lingual Representation Learning at Scale (2020), Section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.methods import build
from polyculture.pool import Pool
from polyculture.select.allocation import largest_remainder
from polyculture.select.base import Selector


@dataclass(eq=False)
class Stratified(Selector):
    """Splits the budget over the pool's groups and lets a selector choose inside each.

    A group gets a share proportional to size^tempering, at most what it holds; what it can't hold goes to the others.
    Rows come group after group in turn, so that a first part of the choice is balanced too. Where the inner selector
    is a filter and returns fewer, fewer come back. Source: Conneau et al. (2020), Section 3.1, for the shares.

    Args:
        inner: name of the selector that chooses inside a group.
        tempering: 0 gives every group the same budget, 1 a budget proportional to its size.
        options: hyper-parameters of the inner selector.
    """

    inner: str = "kmq"
    tempering: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: ClassVar[tuple[str, ...]] = ("groups",)
    may_return_fewer: ClassVar[bool] = True

    def required(self) -> tuple[str, ...]:
        """Groups, and what the inner selector uses."""
        if self.inner == "stratified":
            raise BadInput("stratified can't choose inside groups by itself; name another selector with inner")
        return tuple(dict.fromkeys((*self.needs, *build("select", self.inner, **self.options).required())))

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.tempering < 0:
            raise BadInput(f"tempering should be 0 or more, not {self.tempering}")
        assert pool.groups is not None
        codes, members = np.unique(pool.groups, return_inverse=True)
        sizes = np.bincount(members.reshape(-1), minlength=len(codes))
        quota = largest_remainder(sizes.astype(float) ** self.tempering, k, sizes)
        chosen, turns = [], []
        for group, budget in enumerate(quota):
            seed = int(rng.integers(2**31 - 1))
            if not budget:
                continue
            rows = np.flatnonzero(members.reshape(-1) == group)
            inner: Selector = build("select", self.inner, **self.options)
            picked = rows[inner.select(pool.take(rows), int(budget), rng=seed)]
            chosen.append(picked)
            turns.append((np.arange(len(picked)) + 0.5) / budget)
        order = np.argsort(np.concatenate(turns), kind="stable")
        return np.concatenate(chosen)[order]
