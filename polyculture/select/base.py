"""What every selector shares: its parameters, the checks on its input, and the shape of its answer."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput
from polyculture.pool import Pool


class Selector(BaseEstimator):
    """Choose k rows of a pool. Subclasses are dataclasses whose fields are the paper's hyper-parameters.

    ``needs`` names the fields of the pool that are used whatever the hyper-parameters, :meth:`required` those that this
    selector uses with its own; ``may_return_fewer`` is true for filters, which stop when nothing admissible is left.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    may_return_fewer: ClassVar[bool] = False

    def required(self) -> tuple[str, ...]:
        """The fields of a pool that this selector uses, its hyper-parameters being what they are."""
        return self.needs

    def select(self, pool: Pool, k: int, *, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Choose k of the pool's n rows.

        Args:
            pool: what to choose from, with the fields that :meth:`required` names.
            k: how many, 1 to n.
            rng: a Generator, or a seed for one; None draws a fresh seed.

        Returns:
            (k,) int64 row indices without repeats, in order of choice.

        Raises:
            BadInput: the pool is empty or lacks a field, or k is not in 1..n.
        """
        n = len(pool)
        if n == 0:
            raise BadInput(f"{pool.source}: the pool is empty; there is nothing to select")
        if not 1 <= k <= n:
            raise BadInput(f"k = {k}, but it should be between 1 and the {n} rows of {pool.source}")
        pool.need(*self.required())
        chosen = np.asarray(self._choose(pool, int(k), np.random.default_rng(rng)), dtype=np.int64)
        if not self.may_return_fewer and len(chosen) != k:
            raise AssertionError(f"{type(self).__name__} chose {len(chosen)} rows instead of {k}")
        if len(np.unique(chosen)) != len(chosen):
            raise AssertionError(f"{type(self).__name__} chose a row twice")
        return chosen

    @abstractmethod
    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> Any:
        """The choice itself; the input has been checked."""
