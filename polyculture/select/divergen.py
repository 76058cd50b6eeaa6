"""DiverGen: generated examples that look real, as many of every category, spread over generators and prompts.

DiverGen: Improving Instance Segmentation by Learning Wider Data Distribution with More Diverse Generative Data (2024).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.pool import Pool
from polyculture.quality.columns import label_columns
from polyculture.select.allocation import largest_remainder
from polyculture.select.base import Selector

ROUNDING = 1e-12
"""A similarity of the bar itself counts as reaching it, however it was rounded."""


@dataclass(frozen=True)
class Filtration:
    """What a filter by similarity kept.

    Args:
        kept: rows, ascending.
        rescued: rows below the bar that were kept because their category would have had fewer than ``min_keep``.
        emptied: codes of the categories of which no row reached the bar.
    """

    kept: np.ndarray
    rescued: np.ndarray
    emptied: np.ndarray


def filter_by_similarity(
    similarity: Any, groups: Any = None, *, threshold: float = 0.6, quantile: float | None = None, min_keep: int = 0
) -> Filtration:
    """Keep the rows whose mean similarity to the real examples of their category reaches the bar.

    A category of varied appearance has low means throughout, and one bar for all would empty it: ``min_keep`` keeps
    its most similar rows, and ``quantile`` sets the bar in each category by itself.

    Args:
        similarity: (n,) mean cosine to all real examples of the category; NaN is never kept.
        groups: (n,) int category codes; None is one category.
        threshold: the bar, inclusive; 0.6 in the documentation of the released code, 0.7 in its script.
        quantile: keep what reaches this quantile of its category instead, in [0, 1].
        min_keep: keep at least so many of each category, the most similar first.

    Raises:
        BadInput: lengths differ, or an option is out of range.
    """
    s = np.asarray(similarity, dtype=np.float64)
    codes = np.zeros(len(s), dtype=np.int64) if groups is None else np.asarray(groups)
    if s.ndim != 1 or codes.shape != s.shape:
        raise BadInput(f"similarity and groups should be one number a row, not {s.shape} and {codes.shape}")
    if min_keep < 0 or (quantile is not None and not 0 <= quantile <= 1):
        raise BadInput(f"min_keep should be 0 or more and quantile in [0, 1], not {min_keep} and {quantile}")
    found, members = np.unique(codes, return_inverse=True)
    bars = np.full(len(found), float(threshold))
    if quantile is not None:
        for i in range(len(found)):
            held = s[(members == i) & ~np.isnan(s)]
            bars[i] = np.quantile(held, quantile) if len(held) else np.inf
    above = s >= bars[members] - ROUNDING
    # The place of each row in its category, most similar first; NaN sorts last.
    order = np.lexsort((np.arange(len(s)), -s, members))
    place = np.empty(len(s), dtype=np.int64)
    place[order] = np.arange(len(s)) - np.searchsorted(members[order], members[order])
    rescued = ~above & (place < min_keep) & ~np.isnan(s)
    reached = np.bincount(members[above], minlength=len(found))
    return Filtration(np.flatnonzero(above | rescued), np.flatnonzero(rescued), found[reached == 0])


def balanced_probability(sizes: Any) -> np.ndarray:
    """Probability that a draw falls in each category, (m,): even over those that hold anything, 0 for the others.

    Inside a category every instance is as likely as another. Source: DiverGen's released code, ``cas_random``.

    Raises:
        BadInput: a size is negative, or every category is empty.
    """
    held = np.asarray(sizes, dtype=np.float64)
    if held.ndim != 1 or not (held >= 0).all() or not held.any():
        raise BadInput("sizes should be numbers of 0 or more, one a category, and one category should hold something")
    return (held > 0) / np.count_nonzero(held)


@dataclass(eq=False)
class DiverGen(Selector):
    """Filters by similarity to real examples, then takes equally many of every category, spread over their makers.

    The pool's quality is the mean similarity to the real examples of the row's category: ``--quality
    inter-similarity`` computes it, or it is a column. Of what reaches the bar each category gives the same number, as
    far as it holds that many; inside, rows come in turn from each combination of the columns ``within``, such as
    generator and prompt, at random or by similarity. Fewer than k come back where fewer pass. Rows come category after
    category in turn. Source: DiverGen (2024), filtration and class-balanced sampling; Section 3.2 for diversity of
    category, prompt and generator.

    Args:
        threshold: lowest mean similarity, inclusive.
        quantile: set the bar at this quantile of each category instead; none uses the threshold.
        min_keep: rows that every category keeps at least, where it has them.
        within: columns that tell apart how a row was made, for equal shares inside a category; none looks at nothing.
        order: "random", each row as likely as another, or "similarity", the most similar first.
    """

    threshold: float = 0.6
    quantile: float | None = None
    min_keep: int = 10
    within: tuple[str, ...] | None = None
    order: Literal["random", "similarity"] = "random"
    needs: ClassVar[tuple[str, ...]] = ("quality", "groups")
    may_return_fewer: ClassVar[bool] = True

    def filter(self, pool: Pool) -> Filtration:
        """The filter alone."""
        pool.need("quality", "groups")
        return filter_by_similarity(
            pool.q, pool.groups, threshold=self.threshold, quantile=self.quantile, min_keep=self.min_keep
        )

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.order not in ("random", "similarity"):
            raise unknown("order", self.order, ("random", "similarity"))
        found = self.filter(pool)
        assert pool.groups is not None
        if len(found.emptied):
            shown = ", ".join(pool.group_names[c] if pool.group_names else str(c) for c in found.emptied[:5])
            warnings.warn(
                f"no row of {len(found.emptied)} categories ({shown}) reaches similarity {self.threshold:g}; up to "
                f"{self.min_keep} of each are kept",
                stacklevel=3,
            )
        if not len(found.kept):
            raise BadInput(f"{pool.source}: no row reaches similarity {self.threshold:g}; lower it, or raise min_keep")
        rows = rng.permutation(found.kept) if self.order == "random" else found.kept
        key = np.zeros(len(rows)) if self.order == "random" else -pool.q[rows]
        makers = np.zeros(len(pool), dtype=np.int64)
        if self.within:
            makers = label_columns(pool, self.within, option="within")
        category, maker = pool.groups[rows], makers[rows]
        turn = _places(category * (int(makers.max()) + 1) + maker, key)
        place = _places(category, turn, key)
        sizes = np.bincount(category)
        quota = largest_remainder(balanced_probability(sizes), min(k, len(rows)), sizes)
        taken = place < quota[category]
        return rows[taken][np.lexsort((category[taken], place[taken]))]


def _places(cells: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Place of each row among the rows of its cell, by the first key, ties by the next."""
    order = np.lexsort((*reversed(keys), cells))
    held = cells[order]
    places = np.empty(len(cells), dtype=np.int64)
    places[order] = np.arange(len(cells)) - np.searchsorted(held, held)
    return places
