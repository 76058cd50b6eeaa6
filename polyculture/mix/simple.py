"""Mixtures that need no learning: what every mixer should beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.base import Mixer, Proposal
from polyculture.mix.benefits import Benefits
from polyculture.mix.candidates import dirichlet_mixtures
from polyculture.mix.groups import check_names, on_simplex
from polyculture.mix.regression import rank_mixtures
from polyculture.mix.runs import WEIGHT, Runs, as_runs
from polyculture.pool import Pool
from polyculture.tables import read_csv

GroupSource = Sequence[str] | Mapping[str, float] | Pool | Runs | Benefits


def group_sizes(source: GroupSource) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The groups of a pool, of runs, of benefits, of a mapping name -> size or of a list, and their sizes if known.

    Raises:
        BadInput: there are no groups, or a size is negative, NaN or infinite.
    """
    if isinstance(source, (Runs, Benefits)):
        return source.groups, None
    if isinstance(source, Pool):
        source.need("groups")
        return check_names(source.group_names), np.bincount(
            np.asarray(source.groups), minlength=len(source.group_names)
        ).astype(np.float64)
    names = check_names(tuple(source))
    if not isinstance(source, Mapping):
        return names, None
    sizes = np.array([float(source[g]) for g in names])
    if not (np.isfinite(sizes) & (sizes >= 0)).all():
        raise BadInput(f"a group's size is negative or not a number: {dict(source)}")
    return names, sizes


@dataclass(eq=False)
class _OfGroups(Mixer):
    fits: ClassVar[Literal["runs", "benefits", "groups", "feedback"]] = "groups"

    @classmethod
    def read(cls, path: Path | str, **columns: Any) -> Any:
        """Groups and sizes from a CSV file with columns ``group`` and ``size``, or the groups of a file of runs."""
        header, rows = read_csv(path)
        if "group" not in header:
            picked = list(columns.get("weights") or [c for c in header if c.startswith(WEIGHT)])
            if not picked:
                raise BadInput(f"{path} needs a column 'group' (and 'size'), or weight columns w:GROUP")
            return [c.removeprefix(WEIGHT) for c in picked]
        names = check_names([row["group"] for _, row in rows])
        if "size" not in header:
            return list(names)
        try:
            return {row["group"]: float(row["size"]) for _, row in rows}
        except ValueError as error:
            raise BadInput(f"{path}: {error}; 'size' should hold numbers") from error


@dataclass(eq=False)
class Uniform(_OfGroups):
    """The same share for every group. Source: baseline of DaMo (2025), Table 3."""

    def fit(self, groups: GroupSource) -> Self:
        """Take the groups of a pool, of runs, or of a list of names."""
        self.groups_, _ = group_sizes(groups)
        self.weights_ = np.full(len(self.groups_), 1 / len(self.groups_))
        return self


@dataclass(eq=False)
class Proportional(_OfGroups):
    """A share in proportion to each group's size, its power tempered.

    Source: the natural mixture, baseline of DaMo (2025), Table 3.

    Args:
        temperature: power of the sizes: 1 is proportional, 0 uniform.
    """

    temperature: float = 1.0

    def fit(self, groups: GroupSource) -> Self:
        """Take the groups and their sizes, from a pool or a mapping.

        Raises:
            BadInput: sizes are not known, or all are 0.
        """
        names, sizes = group_sizes(groups)
        if sizes is None:
            raise BadInput("proportional weights need the groups' sizes: a pool, or a mapping from group to size")
        if sizes.sum() <= 0:
            raise BadInput("every group is empty; there is nothing to be proportional to")
        present = sizes > 0
        powers = np.where(present, np.where(present, sizes / sizes.max(), 1.0) ** self.temperature, 0.0)
        self.groups_, self.weights_ = names, powers / powers.sum()
        return self


@dataclass(eq=False)
class RandomMixture(_OfGroups):
    """Mixtures drawn at random: what proxy runs are made on, and a baseline.

    Draws are Dirichlet around the groups' shares, or around the uniform mixture where sizes are not known; at
    concentration 1 and equal sizes every mixture is as likely as any other. Source: RegMix (2024), Section 3.1.

    Args:
        concentration: how near the draws are to the mean: large is near, small gives nearly all to a few groups.
        temperature: power of the sizes that are drawn around; below 1 is flatter.
        seed: of the mixture in ``weights_``, and of ``propose`` where it is given no rng.
    """

    concentration: float = 1.0
    temperature: float = 1.0
    seed: int = 0

    def fit(self, groups: GroupSource) -> Self:
        """Take the groups, and their sizes where they are known."""
        names, sizes = group_sizes(groups)
        prior = np.ones(len(names)) if sizes is None else sizes
        if prior.sum() <= 0:
            raise BadInput("every group is empty; there is nothing to draw from")
        self.columns_ = np.argsort(np.array(names), kind="stable")
        self.groups_, self.prior_ = names, prior / prior.sum()
        self.weights_ = self._draw(1, np.random.default_rng(self.seed))[0]
        return self

    def propose(self, n: int = 1, *, rng: np.random.Generator | int | None = None) -> Proposal:
        """Draw n random mixtures; without an rng the seed's, so that a design can be drawn again."""
        return super().propose(n, rng=self.seed if rng is None else rng)

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        return Proposal(self.groups_, self._draw(n, rng))

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        full = np.zeros((n, len(self.groups_)))
        known = self.columns_[self.prior_[self.columns_] > 0]
        strength = self.concentration * len(known)
        full[:, known] = dirichlet_mixtures(
            self.prior_[known], n, rng, temperature=self.temperature, strengths=(strength, strength, 1)
        )
        return full


@dataclass(eq=False)
class BestRun(Mixer):
    """The mixture that did best of those that were tried, by its last checkpoint.

    Source: random search, baseline of DaMo (2025), Section 4.

    Args:
        task_weights: weights of the scores in the overall score, in their order; None weighs them evenly.
    """

    task_weights: tuple[float, ...] | None = None

    def fit(self, runs: Runs | Any, values: Any = None, *, groups: Sequence[str] | None = None) -> Self:
        """Rank the mixtures of the runs; several runs of one mixture are averaged."""
        held = as_runs(runs, values, groups)
        codes = np.unique(held.mixture)
        rows = [np.flatnonzero(held.mixture == c) for c in codes]
        rows = [r[held.progress[r] == held.progress[r].max()] for r in rows]
        gains = np.array([held.gains[r].mean(axis=0) for r in rows])
        mixtures = on_simplex([held.weights[r[0]] for r in rows])
        order = np.lexsort(mixtures[:, np.argsort(np.array(held.groups))].T[::-1])
        best, overall = rank_mixtures(gains[order], top=len(order), task_weights=self.task_weights)
        self.groups_, self.scores_ = held.groups, held.scores
        self.mixtures_, self.overall_ = mixtures[order][best], overall
        self.measured_ = np.where(held.minimise, -gains, gains)[order][best]
        self.weights_, self.expected_ = self.mixtures_[0], float(overall[0])
        return self

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        return Proposal(self.groups_, self.mixtures_[:n], self.overall_[:n], self.scores_, self.measured_[:n])
