"""ODiS: correlated quality scores are rotated into uncorrelated axes, and the best rows of every axis are chosen.

Learning from the Best, Differently: A Diversity-Driven Rethinking on Data Selection (2025).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.llm.base import LLM
from polyculture.pool import Pool
from polyculture.quality.columns import numbers
from polyculture.select.allocation import largest_remainder
from polyculture.select.base import Selector
from polyculture.select.components import Components, fill_by_component, fit_components, overlap

LEAST_ANNOTATED = 20
"""Fewest annotated rows that regressors are taught on."""


@dataclass(frozen=True)
class AxisScorer:
    """How well a component can be told from the embeddings, on annotated rows held out.

    Args:
        r2: share of the variance explained.
        spearman: rank correlation.
    """

    r2: float
    spearman: float


@dataclass(eq=False)
class ODiS(Selector):
    """The budget is shared by the principal components of the raters' scores; each takes its own best rows.

    Where every row is annotated the scores are used as they are. Else the components are fitted on the annotated rows
    and one regressor a component scores all rows from their embeddings. ``components_``, ``projected_``, ``owner_``
    (the component that chose each row), ``overlap_`` and ``scorers_`` (fit on rows held out) hold what it went by.
    Source: ODiS (2025); standardising, signs, shares and the built-in raters are this library's.

    Args:
        raters: columns of scores, with commas between, null where a row has none; "judge" for ratings by a language
            model; "rules" for the rules of the heuristic quality, which need no annotation; "embeddings" for vectors
            that are scores themselves.
        judge: the language model that rates: what ``make_llm`` understands, or one in memory.
        axes: what it rates, "name" or "name=definition" with commas between; none is the built-in six.
        annotate: rows a judge rates; the others are scored by regressors.
        n_components: axes to keep; none keeps the fewest that explain 95 % of the variance, 4 at most.
        standardise: divide each rater by its standard deviation.
        share: of the budget: the same for each component ("equal") or by its variance ("variance").
        joint_min: leave out rows whose mean over the components is below this quantile; none leaves out nothing.
        round_robin: components take turns, a row each, instead of the first choosing all of its rows first.
        tokens: column of token counts, for token_budget.
        token_budget: choose up to so many tokens, k rows at most; a component may overshoot by one row.
        loadings: file of components saved earlier; none fits them on this pool.
        regressor: a scikit-learn regressor, or "python:module:function" that makes one; none is ridge regression.
    """

    raters: str = "rules"
    judge: str | LLM | None = None
    axes: tuple[str, ...] | None = None
    annotate: int = 1000
    n_components: int | None = None
    standardise: bool = True
    share: Literal["equal", "variance"] = "equal"
    joint_min: float | None = None
    round_robin: bool = False
    tokens: str | None = None
    token_budget: int | None = None
    loadings: str | None = None
    regressor: Any = None
    needs: ClassVar[tuple[str, ...]] = ()
    may_return_fewer: ClassVar[bool] = True  # a quantile or a token budget may leave fewer than k

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: vectors as scores."""
        return {"raters": "embeddings"}

    def required(self) -> tuple[str, ...]:
        """Texts or embeddings where they are rated; columns need nothing else of the pool."""
        return {"rules": ("texts",), "judge": ("texts",), "embeddings": ("embeddings",)}.get(self.raters, ())

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.share not in ("equal", "variance"):
            raise unknown("way to share the budget", self.share, ("equal", "variance"))
        if self.joint_min is not None and not 0 <= self.joint_min <= 1:
            raise BadInput(f"joint_min is a quantile and should be in [0, 1], not {self.joint_min}")
        scores = self._scores(pool, rng)
        annotated = np.flatnonzero(~np.isnan(scores).any(axis=1))
        if k == len(pool) and len(annotated) <= scores.shape[1] and self.loadings is None:
            return np.arange(k)  # too few rows to rotate, and all of them are wanted
        self.components_ = self._components(scores[annotated])
        targets = self.components_.project(scores[annotated])
        self.scorers_: tuple[AxisScorer, ...] = ()
        self.projected_ = targets
        if len(annotated) < len(pool):
            if len(annotated) < LEAST_ANNOTATED:
                raise BadInput(f"{len(annotated)} of {len(pool)} rows are annotated; give {LEAST_ANNOTATED} or more")
            pool.need("embeddings")
            self.projected_ = self._predicted(pool.X, annotated, targets, rng)
        counts = None if self.token_budget is None else self._tokens(pool)
        rows = fill_by_component(
            self.projected_,
            self._shares(k),
            counts,
            admissible=self._admissible(),
            round_robin=self.round_robin,
        )
        chosen = np.concatenate(rows)
        if len(chosen) > k:
            raise BadInput(
                f"{self.token_budget} tokens are {len(chosen)} rows, more than k = {k}; raise k or lower them"
            )
        if not len(chosen):
            raise BadInput("no row was chosen; raise token_budget or lower joint_min")
        self.owner_ = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        self.overlap_ = overlap(self.projected_, max(1, k // len(rows)))
        return chosen

    def _scores(self, pool: Pool, rng: np.random.Generator) -> np.ndarray:
        """(n, D) scores; a row that is not annotated has NaN."""
        if self.raters == "embeddings":
            return np.asarray(pool.X, dtype=np.float64)
        if self.raters == "rules":
            from polyculture.quality.heuristic import HeuristicQuality

            explain = HeuristicQuality().explain
            return np.array([list(explain(text).values()) for text in pool.texts or ()])
        if self.raters != "judge":
            names = [name.strip() for name in self.raters.split(",") if name.strip()]
            return numbers(pool, names, option="raters", allow_nan=True)
        from polyculture.llm.make import make_llm
        from polyculture.quality.ratings import Ratings, axes_of

        if self.judge is None:
            raise BadInput("raters 'judge' needs a judge: name a language model with --judge")
        assert pool.texts is not None
        judge = make_llm(self.judge) if isinstance(self.judge, str) else self.judge
        ratings = Ratings(judge, axes_of(self.axes))
        rated = np.sort(rng.choice(len(pool), min(self.annotate, len(pool)), replace=False))
        scores = np.full((len(pool), len(ratings.axes)), np.nan)
        scores[rated] = ratings.rate(pool.texts.take(rated).to_list())
        return scores

    def _components(self, scores: np.ndarray) -> Components:
        if self.loadings is not None:
            return Components.load(self.loadings)
        found = fit_components(scores, self.n_components, standardise=self.standardise)
        weak = np.flatnonzero(found.share < 1 / scores.shape[1])
        if len(weak):
            warnings.warn(
                f"component {', '.join(str(k + 1) for k in weak)} explains less of the variance than one rater would; "
                "its best rows are close to random ones, so keep fewer components (n_components)",
                stacklevel=4,
            )
        return found

    def _predicted(self, X: np.ndarray, annotated: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> Any:
        """Every row on the components, by regressors taught on 9 in 10 annotated rows and tried on the rest."""
        from scipy.stats import spearmanr
        from sklearn.metrics import r2_score

        order = rng.permutation(len(annotated))
        held, taught = np.split(order, [max(2, len(order) // 10)])
        scorers, columns = [], []
        for target in targets.T:
            model = self._regressor().fit(X[annotated[taught]], target[taught])
            guess = model.predict(X[annotated[held]])
            flat = np.ptp(guess) == 0 or np.ptp(target[held]) == 0
            rank = 0.0 if flat else float(spearmanr(guess, target[held]).statistic)
            scorers.append(AxisScorer(float(r2_score(target[held], guess)), rank))
            columns.append(model.predict(X))
        self.scorers_ = tuple(scorers)
        return np.stack(columns, axis=1)

    def _regressor(self) -> Any:
        if self.regressor is None:
            from sklearn.linear_model import RidgeCV
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 4, 13)))
        if isinstance(self.regressor, str):
            from polyculture.functions import named_function

            return named_function(self.regressor)()
        from sklearn.base import clone

        return clone(self.regressor)

    def _shares(self, k: int) -> np.ndarray:
        K = self.projected_.shape[1]
        weights = np.ones(K) if self.share == "equal" else self.components_.variance
        if not weights.any():
            weights = np.ones(K)
        if self.token_budget is not None:
            return self.token_budget * weights / weights.sum()
        return largest_remainder(weights, k, np.full(K, k))

    def _tokens(self, pool: Pool) -> np.ndarray:
        if self.tokens is None:
            raise BadInput("token_budget needs a column of token counts; name it with --tokens")
        return numbers(pool, [self.tokens], option="tokens")[:, 0]

    def _admissible(self) -> np.ndarray | None:
        if self.joint_min is None:
            return None
        mean = self.projected_.mean(axis=1)
        return mean >= np.quantile(mean, self.joint_min)
