"""TiKMiX-M: measure the influence of whole mixtures around an anchor, learn it, and search.

TiKMiX (2025), arXiv 2508.17677, Section 3.4 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.base import Proposal
from polyculture.mix.groups import on_simplex
from polyculture.mix.regression import RegressionMixer, rank_mixtures
from polyculture.mix.runs import Runs
from polyculture.mix.trees import apply_trees, fit_trees
from polyculture.progress import Progress, silent


def within_bounds(
    candidates: Any, anchor: Any, *, low: float = 0.5, high: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Normalise candidates and say which of them stay in [low * anchor, high * anchor] in every coordinate.

    Args:
        candidates: (n, m), not negative.
        anchor: (m,) mixture.
        low: lower bound as a multiple of the anchor.
        high: upper bound as a multiple of the anchor.

    Returns:
        (n, m) normalised candidates, and the indices of those within bounds, ascending.
    """
    centre = np.asarray(anchor, dtype=np.float64)
    drawn = np.asarray(candidates, dtype=np.float64).reshape(-1, len(centre))
    with np.errstate(invalid="ignore"):  # a row of zeros is no mixture: NaN, and not within bounds
        normalised = drawn / drawn.sum(axis=1, keepdims=True)
    inside = (normalised >= low * centre - 1e-12) & (normalised <= high * centre + 1e-12)
    return normalised, np.flatnonzero(inside.all(axis=1))


def mixtures_around(
    anchor: Any, n: int, rng: np.random.Generator, *, low: float = 0.5, high: float = 2.0, max_draws: int = 2_000_000
) -> np.ndarray:
    """Draw n mixtures within bounds of an anchor: Latin hypercube draws, normalised, kept if they are still inside.

    Fewer are kept the more groups there are (about one in eight with 26), so draws come in batches up to a limit.

    Raises:
        BadInput: n mixtures were not found in ``max_draws`` draws, or a bound leaves no room.
    """
    from scipy.stats import qmc

    centre = on_simplex(anchor, "anchor")
    if not 0 <= low < 1 < high:
        raise BadInput(f"bounds should have low < 1 < high, not {low} and {high}")
    if len(centre) == 1:
        return np.ones((n, 1))
    sampler = qmc.LatinHypercube(d=len(centre), rng=rng)
    found: list[np.ndarray] = []
    kept = drawn = 0
    while kept < n and drawn < max_draws:
        unit = sampler.random(max(256, n))
        normalised, inside = within_bounds(centre * (low + (high - low) * unit), centre, low=low, high=high)
        found.append(normalised[inside])
        kept, drawn = kept + len(inside), drawn + len(unit)
    if kept < n:
        raise BadInput(f"{kept} of {drawn} draws stay within {low} to {high} times the anchor; widen the bounds")
    return np.concatenate(found)[:n]


def search_step(candidates: Any, score: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best candidates (ties: lowest index first) and their mean, the next centre of the search."""
    held = np.asarray(candidates, dtype=np.float64)
    best, _ = rank_mixtures(np.asarray(score, dtype=np.float64)[:, None], top=k)
    return best, held[best].mean(axis=0)


@dataclass(eq=False)
class TiKMiXM(RegressionMixer):
    """Boosted trees learn the benefit of mixtures near an anchor; a narrowing search finds the best.

    Runs hold mixtures around the anchor (:meth:`design`) and the benefit measured by Group Influence on data sampled
    with each. The paper names a concentration that goes from large to small; a large one is local, so it grows here.
    ``batch``, ``n_candidates`` and ``threshold`` of the grid are not used. Source: TiKMiX (2025), Algorithm 1.

    Args:
        anchor: the mixture searched from, in the order of the groups; None takes the best of the runs.
        rounds: of the search.
        draws: candidates a round.
        best: how many of them are averaged into the next centre.
        concentration: of the Dirichlet draws in the first and the last round, even steps of the log between.
        trees: at most.
        learning_rate: of the boosting.
    """

    seed: int = 42
    anchor: tuple[float, ...] | None = None
    rounds: int = 20
    draws: int = 1000
    best: int = 10
    concentration: tuple[float, float] = (10.0, 1000.0)
    trees: int = 1000
    learning_rate: float = 0.01

    uses_checkpoints: ClassVar[bool] = False

    @staticmethod
    def design(
        anchor: Any, n: int = 256, *, low: float = 0.5, high: float = 2.0, rng: np.random.Generator | int | None = None
    ) -> np.ndarray:
        """(n, m) mixtures to measure, within bounds of the anchor; see :func:`mixtures_around`."""
        return mixtures_around(anchor, n, np.random.default_rng(rng), low=low, high=high)

    def fit(
        self,
        runs: Runs | Any,
        values: Any = None,
        *,
        groups: Sequence[str] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Fit the trees on measured mixtures and search; see :meth:`RegressionMixer.fit`.

        Raises:
            BadInput: as there, or the anchor has another number of weights than there are groups.
        """
        if self.anchor is not None:
            m = len(runs.groups) if isinstance(runs, Runs) else np.asarray(runs).shape[1]
            if len(self.anchor) != m:
                raise BadInput(f"the anchor has {len(self.anchor)} weights, the runs have {m} groups")
        return super().fit(runs, values, groups=groups, progress=progress)

    def measure_and_fit(
        self,
        anchor: Any,
        measure: Callable[[np.ndarray], float],
        n: int = 256,
        *,
        groups: Sequence[str] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Draw n mixtures around the anchor, measure each, fit, and search from the anchor.

        Args:
            anchor: (m,) mixture, such as TiKMiX-D's.
            measure: mixture (m,) -> its benefit, higher is better.
            n: how many are measured.
            groups: m names.
            progress: told of every measurement.
        """
        mixtures = self.design(anchor, n, rng=self.seed)
        scores = []
        for i, mixture in enumerate(mixtures):
            progress("measuring mixtures", i, n)
            scores.append(float(measure(mixture)))
        self.anchor = tuple(float(w) for w in on_simplex(anchor, "anchor"))
        return self.fit(mixtures, np.array(scores), groups=groups, progress=progress)

    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        return fit_trees(
            X, Y, mixture, trees=self.trees, learning_rate=self.learning_rate, patience=self.trees, seed=self.seed
        ) | {"best_row": X[int(np.argmax(self.overall(Y)))]}

    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        return apply_trees(model, X)

    def _settle(self) -> None:
        rng = np.random.default_rng(self.seed)
        columns = self.columns_
        if self.anchor is not None:
            centre = on_simplex(self.anchor, "anchor")[columns]
        else:
            centre = self.model_["best_row"] / self.model_["best_row"].sum()
        known = self.seen_[columns]
        self.trace_ = []
        last, scores = centre[None], np.zeros(1)
        for concentration in np.geomspace(*self.concentration, self.rounds):
            gammas = rng.standard_gamma(np.maximum(concentration * centre[known], 1e-3), (self.draws, int(known.sum())))
            last = np.zeros((self.draws, len(centre)))
            last[:, known] = gammas / np.maximum(gammas.sum(axis=1, keepdims=True), 1e-300)
            scores = self.overall(self.predict(last[:, np.argsort(columns)]))
            best, centre = search_step(last, scores, self.best)
            self.trace_.append({"concentration": float(concentration), "score": float(scores[best].mean())})
        back = np.argsort(columns)
        order, _ = rank_mixtures(scores[:, None], top=max(50, self.best))
        self.last_round_ = last[order][:, back]
        self.weights_ = centre[back] / centre.sum()
        self.expected_ = float(self.overall(self.predict(self.weights_[None]))[0])

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        weights = np.vstack([self.weights_, self.last_round_])[:n]
        predicted = self.predict(weights)
        return Proposal(self.groups_, weights, self.overall(predicted), self.scores_, predicted)

    def _candidates(self) -> Iterator[np.ndarray]:
        yield self.last_round_
