"""MVec: an even draw from the cells that clusters of students and clusters of problems span.

Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (2023, arXiv 2308.03892).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.select.strategy_symmetry import Similarity, cell_symmetry
from polyculture.space.dp_means import dp_means
from polyculture.space.kernels import unit_rows

MOST_ENTITIES = 5000
SAMPLE = 1000  # rows whose distances set the first radius


@dataclass(frozen=True)
class Cells:
    """Rows divided by the clusters of each of their sides.

    Args:
        labels: for each side, the cluster of each entity.
        members: the rows of each cell, ascending; no cell is empty.
        radii: the radius of each side's clusters.
        symmetry: how alike the rows inside cells are.
    """

    labels: tuple[np.ndarray, ...]
    members: tuple[np.ndarray, ...]
    radii: tuple[float, ...]
    symmetry: float

    def in_turn(self, k: int, rng: np.random.Generator) -> np.ndarray:
        """One random row of each cell in turn, the largest cells first, until there are k; (k,) int64."""
        biggest = sorted(self.members, key=len, reverse=True)
        rows = np.concatenate([rng.permutation(cell) for cell in biggest])
        turn = np.concatenate([np.arange(len(cell)) for cell in biggest])
        return rows[np.argsort(turn, kind="stable")][:k].astype(np.int64)


@dataclass(eq=False)
class MVec(Selector):
    """Clusters the two sides of an embedding by radius, and draws in turn from the cells, so that no cell dominates.

    A row is an event between two entities, such as a student and a problem: the first ``split`` columns of its
    embedding are the one, the rest the other. Entities are the different values of a side. The radius shrinks while
    rows inside cells keep getting more alike (mean cosine of the embeddings of consecutive rows of a cell), and stops
    before there are more cells than rows to choose. Source: arXiv 2308.03892; for tutoring logs, with the symmetry of
    strategies that the paper uses, see ``polyculture.select.strategies``.

    Args:
        split: columns of the first side; None takes the whole embedding as one side.
        radii: the radius of each side, one or two numbers; None finds them, coarse to fine.
        shrink: factor from one radius to the next, in (0, 1).
        finest: smallest radius, as a share of the first, which is the 90 % quantile of distances.
    """

    split: int | None = None
    radii: tuple[float, ...] | None = None
    shrink: float = 0.85
    finest: float = 0.3
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        X = pool.X.astype(np.float64)
        if self.split is not None and not 0 < self.split < X.shape[1]:
            raise BadInput(f"split should be between 1 and {X.shape[1] - 1}, not {self.split}")
        scale = float(np.abs(X).max()) or 1.0
        sides = [X / scale] if self.split is None else [X[:, : self.split] / scale, X[:, self.split :] / scale]
        entities, rows = zip(*(np.unique(side, axis=0, return_inverse=True) for side in sides), strict=True)
        places = [row.reshape(-1) for row in rows]
        if self.radii is not None:
            if len(self.radii) != len(sides):
                raise BadInput(f"radii should be {len(sides)} numbers, one a side, not {len(self.radii)}")
            found = cells_at(entities, places, [r / scale for r in self.radii], rng=rng)
        else:
            unit = unit_rows(X)

            def alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
                return np.einsum("nd,nd->n", unit[one], unit[other])

            found = coarse_to_fine(
                entities, places, (alike,), shrink=self.shrink, finest=self.finest, most_cells=k, rng=rng
            )
        return found.in_turn(k, rng)


def coarse_to_fine(
    entities: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    similarities: Sequence[Similarity],
    *,
    start: Sequence[float] | None = None,
    shrink: float = 0.85,
    finest: float = 0.3,
    most_cells: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> Cells:
    """Shrink the radius of the clusters while the rows inside cells get more alike.

    Args:
        entities: for each side, (m, d) embeddings.
        rows: for each side, (n,) the entity of each row.
        similarities: functions of rows and as many others; what "alike" means is their average.
        start: the first radius of each side; None is the 90 % quantile of distances between its entities.
        shrink: factor from one radius to the next, in (0, 1).
        finest: smallest radius, as a share of the first, in (0, 1].
        most_cells: a division into more cells than this is not taken, unless it is the first; None for no limit.
        rng: a Generator, or a seed for one, for the first centroids; None draws a fresh seed.

    Returns:
        The last division that was more alike than the one before; radii that divide no further are passed over.

    Raises:
        BadInput: shrink or finest is out of range, or there are no rows.
    """
    if not 0 < shrink < 1 or not 0 < finest <= 1:
        raise BadInput(f"shrink should be in (0, 1) and finest in (0, 1], not {shrink} and {finest}")
    generator = np.random.default_rng(rng)
    first = [_far_distance(side, generator) for side in entities] if start is None else [float(r) for r in start]
    seed = int(generator.integers(2**31))  # the same first centroids at every radius
    best: Cells | None = None
    share = 1.0
    while best is None or share >= finest - 1e-12:
        found = cells_at(entities, rows, [share * r for r in first], similarities, most_cells=most_cells, rng=seed)
        share *= shrink
        if best is not None:
            if all(np.array_equal(a, b) for a, b in zip(found.labels, best.labels, strict=True)):
                continue  # the radius shrank, the clusters did not: nothing was learnt about going on
            too_many = most_cells is not None and len(found.members) > most_cells
            if too_many or found.symmetry <= best.symmetry:
                break
        best = found
    return best


def cells_at(
    entities: Sequence[np.ndarray],
    rows: Sequence[np.ndarray],
    radii: Sequence[float],
    similarities: Sequence[Similarity] = (),
    *,
    most_cells: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> Cells:
    """The cells of clusters of one radius a side.

    Clusters are found on at most 5 000 entities of a side, and the others join the nearest.

    Args:
        entities: for each side, (m, d) embeddings.
        rows: for each side, (n,) the entity of each row.
        radii: the radius of each side, 0 or more.
        similarities: functions of rows and as many others, for the symmetry; without any it is NaN.
        most_cells: a side is not divided into many more clusters than this.
        rng: a Generator, or a seed for one, for the first centroids; None draws a fresh seed.

    Raises:
        BadInput: a radius is negative, or there are no rows.
    """
    generator = np.random.default_rng(rng)
    limit = None if most_cells is None else most_cells + 1
    labels = []
    for side, radius in zip(entities, radii, strict=True):
        some = side
        if len(side) > MOST_ENTITIES:
            some = side[np.sort(generator.choice(len(side), MOST_ENTITIES, replace=False))]
        found = dp_means(some, radius, max_clusters=limit, rng=generator)
        labels.append(found.labels if some is side else found.assign(side))
    codes = np.column_stack([label[row] for label, row in zip(labels, rows, strict=True)])
    cell = np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(cell, kind="stable")
    members = tuple(np.split(order, np.flatnonzero(np.diff(cell[order])) + 1))
    symmetry = cell_symmetry(members, *similarities) if similarities else float("nan")
    return Cells(tuple(labels), members, tuple(float(r) for r in radii), symmetry)


def _far_distance(side: np.ndarray, rng: np.random.Generator) -> float:
    """The 90 % quantile of distances between entities; 1 where all are one."""
    from scipy.spatial.distance import pdist

    some = side if len(side) <= SAMPLE else side[rng.choice(len(side), SAMPLE, replace=False)]
    distance = float(np.quantile(pdist(some), 0.9)) if len(some) > 1 else 0.0
    return distance if distance > 0 else 1.0
