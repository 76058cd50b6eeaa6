"""Replacement: give a slice of a specialist's budget to general data, and find the best slice on validation.

"Only-IF: Revealing the Decisive Effect of Instruction Diversity on Generalization" (2024), Tables 1 to 3: at a fixed
number of examples, a model trained on code gains from general instructions in the place of some of its own, up to a
point and not beyond. The best mix for code had a tenth of general data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.mix.base import Mixer, Proposal
from polyculture.mix.regression import rank_mixtures
from polyculture.mix.runs import WEIGHT, Runs
from polyculture.mix.simple import GroupSource, Uniform, group_sizes
from polyculture.tables import read_csv

GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""The fractions of the paper's search."""

Share = Literal["size", "even"]


def replacement_rows(
    specialist: Sequence[int] | np.ndarray,
    general: Sequence[Sequence[int] | np.ndarray],
    budget: int,
    fractions: Sequence[float] = GRID,
    *,
    share: Share = "size",
    rng: np.random.Generator | int | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which rows to train on at each fraction of replacement; the budget is the same at all of them.

    The choices are nested: what one fraction takes of the specialist's rows, or of the general ones, is what another
    takes and more, so that two fractions differ by the slice alone.

    Args:
        specialist: rows of the specialist set.
        general: rows of each general set.
        budget: B, rows in all.
        fractions: shares of the budget that are general, each in [0, 1].
        share: how general sets share the slice: "size" draws from all of them together, "even" takes from them in turn,
            until one is used up.
        rng: a Generator, or a seed for one.

    Returns:
        For each fraction f the specialist rows, (B - round(f B),) int64, and the general ones, (round(f B),), each in
        the order in which they were drawn.

    Raises:
        BadInput: a fraction or the budget is out of range, or a set has too few rows for it.
    """
    wanted = [_fraction(f) for f in fractions]
    if budget < 1:
        raise BadInput(f"a budget of {budget} rows should be at least 1")
    if share not in ("size", "even"):
        raise unknown("way to share the slice", share, ("size", "even"))
    draw = np.random.default_rng(rng)
    own = draw.permutation(np.asarray(specialist, dtype=np.int64))
    parts = [draw.permutation(np.asarray(rows, dtype=np.int64)) for rows in general]
    others = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    if share == "size":
        others = draw.permutation(others)
    elif parts:
        # In turn: the first of every set, then the second of those that have one, and so on.
        others = others[np.argsort(np.concatenate([np.arange(len(part)) for part in parts]), kind="stable")]
    found = []
    for f in wanted:
        n = int(np.floor(f * budget + 0.5 + 1e-9))
        for rows, need, name in ((own, budget - n, "specialist"), (others, n, "general")):
            if need > len(rows):
                raise BadInput(
                    f"replacing {f:g} of a budget of {budget:,} needs {need:,} {name} rows, but there are "
                    f"{len(rows):,}; use a smaller budget{' or fraction' if name == 'general' else ''}"
                )
        found.append((own[: budget - n], others[:n]))
    return found


@dataclass(eq=False)
class Replacement(Mixer):
    """Replace a fraction of a specialist's data by general data; with runs, the fraction that did best on validation.

    Fitted on groups and their sizes it gives the specialist 1 - f and shares f between the others. Fitted on runs (such
    as those of the mixtures that it proposes) it takes the mixture whose validation score, the mean over the scores,
    was best; of equal ones that with the smallest fraction.

    Source: Only-IF (2024), Tables 1 to 3.

    Args:
        specialist: name of the specialist group; None takes the largest.
        fraction: share of general data where there are no runs to choose it by.
        grid: the fractions that are proposed, besides the chosen one.
        share: how general groups share their slice: in proportion to their size, or even.
    """

    specialist: str | None = None
    fraction: float = 0.1
    grid: tuple[float, ...] = GRID
    share: Share = "size"

    fits: ClassVar[Literal["runs", "benefits", "groups", "feedback"]] = "groups"

    @classmethod
    def read(cls, path: Path | str, **columns: Any) -> Any:
        """Groups and sizes (columns ``group`` and ``size``), or runs where the file has weights and scores."""
        header, _ = read_csv(path)
        if "group" in header or not any(c.startswith(WEIGHT) for c in header):
            return Uniform.read(path, **columns)
        return Runs.read(path, **columns)

    def fit(self, source: GroupSource) -> Self:
        """Take groups and sizes (a pool, or a mapping), or runs with their validation scores.

        Raises:
            BadInput: the specialist is not named and sizes are not known, a fraction is out of range, or there is
                nothing general to put in.
            UnknownMethod: there is no group of the specialist's name.
        """
        names, sizes = group_sizes(source)
        own = self._specialist(names, sizes)
        fraction = _fraction(self.fraction)
        grid = [_fraction(f) for f in self.grid]
        if self.share not in ("size", "even"):
            raise unknown("way to share the slice", self.share, ("size", "even"))
        self.overall_: np.ndarray | None = None
        self.measured_: np.ndarray | None = None
        self.scores_: tuple[str, ...] = ()
        if isinstance(source, Runs):
            self._from_runs(source, own)
            return self
        general = np.ones(len(names)) if sizes is None or self.share == "even" else sizes.copy()
        if sizes is not None:
            general[sizes == 0] = 0
        general[own] = 0
        if len(names) > 1 and general.sum() <= 0 and max(fraction, *grid) > 0:
            raise BadInput(f"every group but '{names[own]}' is empty; there is nothing general to put in")
        self.groups_, self.specialist_ = names, names[own]
        rows = []
        for f in dict.fromkeys([fraction, *grid]):
            row = np.zeros(len(names))
            row[own] = 1.0
            if general.sum() > 0:
                row = (1 - f) * row + f * general / general.sum()
            rows.append(row)
        self.mixtures_ = np.array(rows)[np.sort(np.unique(np.array(rows), axis=0, return_index=True)[1])]
        self.weights_, self.fraction_ = self.mixtures_[0].copy(), float(1 - self.mixtures_[0][own])
        return self

    def _from_runs(self, runs: Runs, own: int) -> None:
        codes = np.unique(runs.mixture)
        rows = [np.flatnonzero(runs.mixture == code) for code in codes]
        rows = [r[runs.progress[r] == runs.progress[r].max()] for r in rows]  # the end of each run
        mixtures = np.array([runs.weights[r[0]] for r in rows])
        gains = np.array([runs.gains[r].mean(axis=0) for r in rows])
        # Ties go to the first, so the smallest fraction comes first.
        order = np.argsort(-mixtures[:, own], kind="stable")
        best, overall = rank_mixtures(gains[order], top=len(order))
        self.groups_, self.specialist_ = runs.groups, runs.groups[own]
        self.mixtures_, self.overall_, self.scores_ = mixtures[order][best], overall, runs.scores
        self.measured_ = np.where(runs.minimise, -gains, gains)[order][best]
        self.weights_ = self.mixtures_[0].copy()
        self.fraction_ = float(1 - self.weights_[own])

    def _specialist(self, names: tuple[str, ...], sizes: np.ndarray | None) -> int:
        if self.specialist is not None:
            if self.specialist not in names:
                raise unknown("group", self.specialist, names)
            return names.index(self.specialist)
        if len(names) == 1:
            return 0
        if sizes is None:
            raise BadInput("the sizes of the groups are not known: say which is the specialist, --specialist GROUP")
        largest = [i for i in range(len(names)) if sizes[i] == sizes.max()]
        return min(largest, key=lambda i: names[i])

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        if self.overall_ is None or self.measured_ is None:
            return Proposal(self.groups_, self.mixtures_[:n])
        return Proposal(self.groups_, self.mixtures_[:n], self.overall_[:n], self.scores_, self.measured_[:n])


def _fraction(value: float) -> float:
    if not 0 <= value <= 1:
        raise BadInput(f"a fraction of {value} should be a share of the budget, 0 to 1")
    return float(value)
