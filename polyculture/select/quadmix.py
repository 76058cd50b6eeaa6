"""QuaDMix: several quality scores and a domain decide how often a document is drawn.

QuaDMix: Quality-Diversity Balanced Data Selection for Efficient LLM Pretraining (2025), Section 3.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.pool import Pool
from polyculture.quality.columns import numbers
from polyculture.select.base import Selector
from polyculture.select.quadmix_sampling import (
    PARTS,
    Parameters,
    draw_copies,
    merged_quality,
    percentile_ranks,
    sampling_values,
    scaled_to_quota,
    token_ranks,
)


@dataclass(frozen=True)
class Sampling:
    """What the sampling function makes of a pool.

    Args:
        quality: (n,) merged quality qbar of Eq 1; smaller is better.
        ranks: (n,) share rbar of the domain's tokens that is as good or better, Eq 2.
        values: (n,) expected copies S of Eq 3.
        tokens: (n,) tokens of each document.
    """

    quality: np.ndarray
    ranks: np.ndarray
    values: np.ndarray
    tokens: np.ndarray


@dataclass(eq=False)
class QuaDMix(Selector):
    """Draws documents by the expected copies that their domain's curve gives to their merged quality rank.

    Scores become percentile ranks and are merged with the domain's weights (Eq 1); a document's rank is the share of
    its domain's tokens that is as good or better (Eq 2); a curve turns it into expected copies (Eq 3), for k distinct
    rows scaled to k in all with no row above one. :meth:`corpus` draws with repeats up to a number of tokens, as the
    paper does. Parameters come from a file that ``QuaDMixSearch`` wrote, or from the options, which then hold one
    number for all domains or one for each in the order of their names. Rows come in order of expected copies. The
    defaults are the middle of the paper's prior, for it states no values. Source: QuaDMix (2025), Eqs 1 to 3.

    Args:
        parameters: JSON file of parameters; none takes the options below.
        criteria: columns of quality scores, higher is better; none is the file's, or the pool's quality alone.
        lower_is_better: which of the criteria are better when smaller.
        alpha: weight of each criterion, or of each in each domain, domain after domain; none is equal weights.
        lam: steepness lambda of the curve.
        omega: share of a domain's tokens, best first, beyond which only epsilon is expected.
        eta: exponent; before scaling the best document is expected 2^eta times at most.
        epsilon: expected copies of a document beyond omega.
        tokens: column of token counts; none counts every document as one.
        sample: documents that percentile ranks are estimated from; none is all of them.
    """

    parameters: str | None = None
    criteria: tuple[str, ...] | None = None
    lower_is_better: tuple[str, ...] = ()
    alpha: tuple[float, ...] | None = None
    lam: tuple[float, ...] = (31.6,)
    omega: tuple[float, ...] = (0.05,)
    eta: tuple[float, ...] = (0.5,)
    epsilon: tuple[float, ...] = (0.0005,)
    tokens: str | None = None
    sample: int | None = None
    needs: ClassVar[tuple[str, ...]] = ("groups",)

    def required(self) -> tuple[str, ...]:
        """Groups, and quality where no criteria are named."""
        return self.needs if self._criteria(self._file()) else ("groups", "quality")

    def sampling(self, pool: Pool, *, rng: np.random.Generator | int | None = None) -> Sampling:
        """Merged quality, ranks and expected copies of every row.

        Raises:
            BadInput: a column or a domain is missing, a document has no tokens, or a parameter is out of range.
        """
        pool.need(*self.required())
        assert pool.groups is not None
        held = self._file()
        names = self._criteria(held)
        absent = set(self.lower_is_better) - set(names)
        if absent:
            raise unknown("criterion", sorted(absent)[0], names)
        scores = numbers(pool, names, option="criteria") if names else pool.q[:, None]
        scores = scores * np.where([name in self.lower_is_better for name in names or ("quality",)], -1.0, 1.0)
        sigma = percentile_ranks(scores, sample=self.sample, rng=rng)
        theta = self._theta(pool, held, scores.shape[1])
        tokens = np.ones(len(pool)) if self.tokens is None else numbers(pool, [self.tokens], option="tokens")[:, 0]
        quality = merged_quality(sigma, pool.groups, theta.alpha)
        ranks = token_ranks(quality, tokens, pool.groups)
        lonely = np.bincount(pool.groups, minlength=len(theta.omega)) == 1
        if (lonely & (theta.omega < 1)).any() and len(pool) > 1:
            shown = ", ".join(pool.group_names[m] if pool.group_names else str(m) for m in np.flatnonzero(lonely)[:3])
            warnings.warn(
                f"domains that hold one document, which is therefore beyond omega: {int(lonely.sum())} ({shown})",
                stacklevel=3,
            )
        return Sampling(quality, ranks, sampling_values(ranks, pool.groups, theta), tokens)

    def corpus(
        self, pool: Pool, tokens: float, *, most: float = 4.0, rng: np.random.Generator | int | None = None
    ) -> np.ndarray:
        """Rows with repeats, in row order: expected copies scaled to about ``tokens`` tokens in all, then drawn.

        Args:
            pool: the documents.
            tokens: how many tokens to draw; documents where no token column is named.
            most: expected copies of one document at most.
            rng: a Generator, or a seed for one.

        Raises:
            BadInput: the pool can't fill the quota.
        """
        source = np.random.default_rng(rng)
        found = self.sampling(pool, rng=source)
        return draw_copies(scaled_to_quota(found.values, tokens, tokens=found.tokens, most=most), source)

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        found = self.sampling(pool, rng=rng)
        drawable = np.flatnonzero(found.values > 0)
        if len(drawable) <= k:  # all that can be drawn, then the best of the others
            order = np.lexsort((found.ranks, -found.values))
            return order[:k]
        rows = rng.permutation(drawable)
        reached = np.cumsum(scaled_to_quota(found.values[rows], k))
        # Systematic sampling: one draw a unit of the sum, so exactly k rows, each with its own probability.
        marks = (np.arange(k) + rng.random()) * (reached[-1] / k)
        places = np.minimum(np.searchsorted(reached, marks, side="right"), len(rows) - 1)
        chosen = _apart(rows, places)
        return chosen[np.lexsort((found.ranks[chosen], -found.values[chosen]))]

    def _file(self) -> Parameters | None:
        return None if self.parameters is None else Parameters.load(self.parameters)

    def _criteria(self, held: Parameters | None) -> tuple[str, ...]:
        named = tuple(self.criteria or ())
        stored = () if held is None or held.criteria == ("quality",) else held.criteria
        if named and stored and named != stored:
            raise BadInput(f"criteria {', '.join(named)} are not those of {self.parameters}: {', '.join(stored)}")
        return named or stored

    def _theta(self, pool: Pool, held: Parameters | None, n: int) -> Parameters:
        assert pool.groups is not None
        m = max(len(pool.group_names), int(pool.groups.max()) + 1)
        if held is not None:
            place = {name: i for i, name in enumerate(held.domains)}
            absent = [name for name in pool.group_names if name not in place]
            if absent or not pool.group_names or held.alpha.shape[1] != n:
                raise BadInput(
                    f"{self.parameters} is for domains {', '.join(held.domains)} and {held.alpha.shape[1]} criteria; "
                    f"{pool.source} has domains {', '.join(pool.group_names) or '(without names)'} and {n} criteria"
                )
            rows = [place[name] for name in pool.group_names]
            return Parameters(held.alpha[rows], held.lam[rows], held.omega[rows], held.eta[rows], held.epsilon[rows])
        alpha = np.ones((m, n)) if self.alpha is None else _spread(self.alpha, m, n, "alpha")
        if not (alpha.sum(axis=1) > 0).all():
            raise BadInput("the weights alpha of a domain should not all be 0")
        lam, omega, eta, epsilon = (_spread(getattr(self, name), m, 1, name)[:, 0] for name in PARTS[1:])
        return Parameters(alpha / alpha.sum(axis=1, keepdims=True), lam, omega, eta, epsilon)


def _spread(values: Any, m: int, n: int, name: str) -> np.ndarray:
    """Values for all domains, or for each, as (m, n)."""
    held = np.asarray(values, dtype=np.float64).ravel()
    if held.size == n:
        return np.tile(held, (m, 1))
    if held.size != m * n:
        raise BadInput(f"{name} holds {held.size} numbers, but {m} domains need {n} for all of them, or {m * n}")
    return held.reshape(m, n)


def _apart(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rows at the places; where rounding made two marks fall on one row, the next row that is free."""
    if len(np.unique(places)) == len(places):
        return rows[places]
    taken = np.zeros(len(rows), dtype=bool)
    taken[places] = True
    free = np.flatnonzero(~taken)
    missing = len(places) - int(taken.sum())
    taken[free[:missing]] = True
    return rows[taken]
