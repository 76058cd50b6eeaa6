"""Mixing by regression: learn scores from mixtures that were tried, then rank the mixtures that were not."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.base import Mixer, Proposal
from polyculture.mix.candidates import CHUNK, LARGEST_GRID, grid_chunks, grid_size, local_search, random_grid
from polyculture.mix.runs import Runs, as_runs
from polyculture.progress import Progress, silent

STARTS = 16  # of the local search, where the grid is too large to go through


def mixture_features(weights: Any, progress: Any) -> np.ndarray:
    """Regressor input, p * share of the schedule: how much of the whole schedule each group has had.

    DaMo (2025), Section 3: with n checkpoints the share behind checkpoint i, counted from 0, is (i + 1) / n.

    Args:
        weights: (n, m) mixtures.
        progress: (n,) or one share, in (0, 1].

    Returns:
        (n, m) float64.
    """
    shares = np.asarray(progress, dtype=np.float64)
    return np.asarray(weights, dtype=np.float64) * (shares[:, None] if shares.ndim else shares)


def rank_mixtures(
    predicted: Any, *, threshold: float | None = None, top: int = 50, task_weights: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The best mixtures by their mean predicted score.

    Args:
        predicted: (n, k) scores, higher is better.
        threshold: keep only mixtures whose mean is above it; None keeps all.
        top: how many at most.
        task_weights: (k,) of the mean; None weighs tasks evenly.

    Returns:
        Row indices, best first (ties: lowest index first), and their means; both empty where none is above.
    """
    scores = np.asarray(predicted, dtype=np.float64)
    if len(scores) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    means = scores.mean(axis=1) if task_weights is None else np.average(scores, axis=1, weights=task_weights)
    kept = np.arange(len(means)) if threshold is None else np.flatnonzero(means > threshold)
    order = kept[np.argsort(-means[kept], kind="stable")][:top]
    return order, means[order]


@dataclass(frozen=True)
class Calibration:
    """An affine map from one model's scores to another's, g = f W + bias, and what it gives on its own data."""

    W: np.ndarray
    bias: np.ndarray
    fitted: np.ndarray


def affine_calibration(f: Any, g: Any) -> Calibration:
    """Least squares g = f W + bias, of minimum norm where f does not determine it. DaMo (2025), Appendix C.

    Args:
        f: (n, k) predicted scores of the model that was fitted.
        g: (n, k') measured scores of the new model.
    """
    known, wanted = np.asarray(f, dtype=np.float64), np.asarray(g, dtype=np.float64)
    if known.ndim != 2 or wanted.ndim != 2 or len(known) != len(wanted) or len(known) == 0:
        raise BadInput(
            f"calibration needs (n, k) and (n, k') scores of the same runs, not {known.shape}, {wanted.shape}"
        )
    centre = known.mean(axis=0)
    W = np.linalg.lstsq(known - centre, wanted - wanted.mean(axis=0), rcond=1e-12)[0]
    bias = wanted.mean(axis=0) - centre @ W
    return Calibration(W, bias, known @ W + bias)


def r_squared(actual: np.ndarray, predicted: np.ndarray, *, constant: Literal["skip", "count"] = "skip") -> float:
    """R^2 averaged over columns: 1 is perfect, 0 is the mean.

    Args:
        actual: (n, k) values.
        predicted: (n, k) predictions.
        constant: what becomes of columns that do not vary: "skip" leaves them out (NaN where no column varies); "count"
            scores them 1 where the prediction is exact and 0 elsewhere, as scikit-learn does.
    """
    total = np.sum((actual - actual.mean(axis=0)) ** 2, axis=0)
    varies = total > 1e-24 * np.maximum(1.0, np.abs(actual).max(axis=0, initial=0.0)) ** 2
    residual = np.sum((actual - predicted) ** 2, axis=0)
    if constant == "count":
        return float(np.mean(np.where(varies, 1 - residual / np.where(varies, total, 1.0), residual == 0)))
    if not varies.any():
        return float("nan")
    return float(np.mean(1 - residual[varies] / total[varies]))


def mixture_folds(mixture: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(train, test) rows such that no mixture is on both sides: checkpoints of one run tell each other's scores."""
    codes = np.unique(mixture)
    order = np.random.default_rng(seed).permutation(codes)
    for part in np.array_split(order, min(folds, len(codes))):
        test = np.isin(mixture, part)
        yield np.flatnonzero(~test), np.flatnonzero(test)


@dataclass(eq=False)
class RegressionMixer(Mixer):
    """Fit a regressor from mixtures to scores on proxy runs; the answer is the mixture it expects most of.

    After ``fit``: ``weights_``; ``expected_``, the overall score expected there; ``r2_``, ``r2_overall_`` and
    ``spearman_``, how well scores of mixtures that were held out are predicted (every task, their mean, its order).

    Args:
        batch: mixtures are multiples of 1/batch, those that one training batch can hold.
        task_weights: weights of the scores in the overall score, in their order; None weighs them evenly.
        threshold: propose only mixtures with an overall score above this.
        folds: of the cross-validation by mixture; 0 skips it.
        n_candidates: how many mixtures are drawn where the grid has more than two million.
        seed: of the regressor, the folds and the candidates.
    """

    batch: int = 16
    task_weights: tuple[float, ...] | None = None
    threshold: float | None = None
    folds: int = 10
    n_candidates: int = 100_000
    seed: int = 1

    uses_checkpoints: ClassVar[bool] = True

    def _combined(self) -> int:
        """How many of the best candidates are averaged into the answer; 0 takes the best one."""
        return 0

    @abstractmethod
    def _learn(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray) -> dict[str, Any]:
        """A fitted regressor as arrays, numbers and texts."""

    @abstractmethod
    def _apply(self, model: dict[str, Any], X: np.ndarray) -> np.ndarray:
        """(n, k) predictions of a fitted regressor."""

    def fit(
        self,
        runs: Runs | Any,
        values: Any = None,
        *,
        groups: Sequence[str] | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Fit the regressor, validate it on mixtures it has not seen, and rank the candidates.

        Args:
            runs: Runs, or mixtures (n, m).
            values: scores (n, k), where mixtures were given.
            groups: m names, where mixtures were given.
            progress: told of every fit.

        Raises:
            BadInput: fewer than two different mixtures of several groups, every score constant, or task weights that
                do not fit the scores.
        """
        held = as_runs(runs, values, groups)
        if not self.uses_checkpoints:
            held = held.take(np.flatnonzero(held.progress >= _last(held)))
        self._check(held)
        # Columns by name and rows by content: the answer does not depend on the order of either.
        self.groups_, self.scores_, self.minimise_ = held.groups, held.scores, held.minimise
        self.columns_ = np.argsort(np.array(held.groups), kind="stable")
        self.seen_ = held.weights.max(axis=0) > 0
        self.calibration_: dict[str, np.ndarray] | None = None
        self.centre_ = held.weights.mean(axis=0)
        shares = held.progress if self.uses_checkpoints else 1.0
        X = mixture_features(held.weights, shares)[:, self.columns_]
        order = np.lexsort((*held.values.T[::-1], *X.T[::-1]))
        X, Y, mixture = X[order], held.values[order], _by_first_row(held.mixture[order])
        self.steps_ = np.unique(held.progress)
        total = 1 + (min(self.folds, held.n_mixtures) if self.folds else 0)
        progress("fitting", 0, total)
        self.model_ = self._learn(X, Y, mixture)
        self._validate(X, Y, mixture, progress, total)
        self._settle()
        return self

    def _check(self, runs: Runs) -> None:
        m, different = len(runs.groups), runs.n_mixtures
        constant = np.ptp(runs.values, axis=0) == 0
        if m > 1 and different < 2:
            raise BadInput(f"{runs.source}: every run has the same mixture; add runs with others")
        if constant.all() and m > 1:
            raise BadInput(f"{runs.source}: no score changes from run to run; there is nothing to learn from them")
        if constant.any() and m > 1:
            names = ", ".join(s for s, c in zip(runs.scores, constant, strict=True) if c)
            warnings.warn(f"{runs.source}: {names} is the same in every run and says nothing", stacklevel=3)
        if different < m:
            warnings.warn(
                f"{runs.source}: {different} different mixtures for {m} groups: fewer runs than a mixture has "
                "parameters, so the effects of groups can't all be told apart; add runs before relying on the answer",
                stacklevel=3,
            )
        unseen = [g for g, top in zip(runs.groups, runs.weights.max(axis=0), strict=True) if top == 0]
        if unseen:
            warnings.warn(
                f"{runs.source}: {', '.join(unseen)} had no share in any run; nothing is known of it, so it gets none",
                stacklevel=3,
            )
        self._check_task_weights(len(runs.scores))

    def _check_task_weights(self, k: int) -> None:
        given = self.task_weights
        if given is not None and (len(given) != k or min(given) < 0 or sum(given) <= 0):
            raise BadInput(f"task_weights should be {k} numbers, not negative and not all 0; they are {given}")

    def _validate(self, X: np.ndarray, Y: np.ndarray, mixture: np.ndarray, progress: Progress, total: int) -> None:
        self.r2_ = self.r2_overall_ = self.spearman_ = float("nan")
        folds = min(self.folds, len(np.unique(mixture)))
        if folds < 2:
            return
        from scipy.stats import spearmanr

        guess = np.empty_like(Y)
        for i, (train, test) in enumerate(mixture_folds(mixture, folds, self.seed)):
            progress("validating", 1 + i, total)
            guess[test] = self._apply(self._learn(X[train], Y[train], mixture[train]), X[test])
        # Over all rows held out at once: a fold of a few mixtures has little variance, and its R^2 is mostly noise.
        actual, expected = self.overall(Y), self.overall(guess)
        self.r2_, self.r2_overall_ = r_squared(Y, guess), r_squared(actual[:, None], expected[:, None])
        if np.ptp(actual) > 0 and np.ptp(expected) > 0:
            self.spearman_ = float(spearmanr(actual, expected).statistic)

    def predict(self, weights: Any, progress: Any = 1.0) -> np.ndarray:
        """Predicted scores in their own units.

        Args:
            weights: (n, m) mixtures, columns as ``groups_``.
            progress: (n,) or one share of the schedule.

        Returns:
            (n, k).
        """
        X = mixture_features(weights, progress)[:, self.columns_]
        f = self._apply(self.model_, X)
        return f if self.calibration_ is None else f @ self.calibration_["W"] + self.calibration_["bias"]

    def overall(self, scores: np.ndarray) -> np.ndarray:
        """(n,) mean over the (n, k) scores, with ``task_weights``, those to be minimised negated."""
        return np.average(np.where(self.minimise_, -scores, scores), axis=1, weights=self.task_weights)

    def calibrate(self, runs: Runs | Any, values: Any = None) -> Self:
        """Carry the predictor over to another model with a few of its runs, and rank anew.

        An affine map of the predictions is fitted by least squares; with fewer runs than scores + 1 only a shift.

        Args:
            runs: Runs of the new model over the same groups, or mixtures (n, m).
            values: scores (n, k'), where mixtures were given.

        Raises:
            BadInput: other groups, or too few runs for scores that are not the fitted ones.
        """
        self._check_fitted()
        held = as_runs(runs, values, self.groups_)
        if set(held.groups) != set(self.groups_):
            raise BadInput(f"{held.source}: calibration runs have groups {held.groups}, the mixer {self.groups_}")
        self.calibration_ = None
        at = [held.groups.index(g) for g in self.groups_]
        f = self.predict(held.weights[:, at], held.progress)
        if len(held) > f.shape[1]:
            found = affine_calibration(f, held.values)
            self.calibration_ = {"W": found.W, "bias": found.bias}
        elif held.scores == self.scores_ or (values is not None and held.values.shape[1] == f.shape[1]):
            self.calibration_ = {"W": np.eye(f.shape[1]), "bias": (held.values - f).mean(axis=0)}
        else:
            raise BadInput(f"{held.source}: {len(held)} runs can't map {f.shape[1]} scores to others; give more")
        if values is None:
            self.scores_, self.minimise_ = held.scores, held.minimise
        self._check_task_weights(held.values.shape[1])
        self._settle()
        return self

    def _settle(self) -> None:
        weights, overall, steps = self._rank(max(1, self._combined()))
        if self._combined():
            self.weights_ = weights.mean(axis=0)
            self.expected_ = float(self.overall(self.predict(self.weights_[None]))[0])
        else:
            self.weights_, self.expected_ = weights[0], float(overall[0])
        self.weights_ = self.weights_ / self.weights_.sum()
        self.best_progress_ = float(steps[0])

    def _propose(self, n: int, rng: np.random.Generator) -> Proposal:
        weights, overall, steps = self._rank(n)
        if self._combined():
            weights = np.vstack([self.weights_, weights])[:n]
            steps = np.full(len(weights), 1.0)
            overall = self.overall(self.predict(weights))
        if self.threshold is not None:
            kept = overall > self.threshold
            if not kept.any():
                raise BadInput(f"no mixture is expected above {self.threshold:g}; the best reaches {overall.max():.4g}")
            weights, overall, steps = weights[kept], overall[kept], steps[kept]
        searched = getattr(self, "search_steps", False)
        predicted = self.predict(weights, steps)
        return Proposal(self.groups_, weights, overall, self.scores_, predicted, steps if searched else None)

    def _rank(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The n best candidates, their overall scores, and the share of the schedule each is best at."""
        steps = self.steps_ if getattr(self, "search_steps", False) else np.ones(1)
        best = (np.empty((0, len(self.groups_))), np.empty(0), np.empty(0))
        for chunk in self._candidates():
            by_step = np.stack([self.overall(self.predict(chunk, step)) for step in steps])
            top = by_step.argmax(axis=0)
            held = tuple(
                np.concatenate(pair)
                for pair in zip(best, (chunk, by_step[top, np.arange(len(chunk))], steps[top]), strict=True)
            )
            order = rank_mixtures(held[1][:, None], top=n)[0]
            best = (held[0][order], held[1][order], held[2][order])
        return best

    def _candidates(self) -> Iterator[np.ndarray]:
        """Mixtures (c, m) in the order of ``groups_``, in chunks."""
        # Places of the groups with a known effect, by name, so that the order of columns does not matter.
        known = self.columns_[self.seen_[self.columns_]]
        m = len(known)
        if grid_size(m, self.batch) <= LARGEST_GRID:
            for chunk in grid_chunks(m, self.batch):
                yield self._spread(chunk, known)
            return
        rng = np.random.default_rng(self.seed)
        drawn = np.unique(random_grid(m, self.batch, self.n_candidates, rng), axis=0)

        def score(mixtures: np.ndarray) -> np.ndarray:
            return self.overall(self.predict(self._spread(mixtures, known)))

        for start in range(0, len(drawn), CHUNK):
            yield self._spread(drawn[start : start + CHUNK], known)
        scores = np.concatenate([score(drawn[s : s + CHUNK]) for s in range(0, len(drawn), CHUNK)])
        starts = drawn[rank_mixtures(scores[:, None], top=STARTS)[0]]
        ends = np.unique([local_search(start, self.batch, score)[0] for start in starts], axis=0)
        new = ~(ends[:, None] == drawn[None]).all(axis=2).any(axis=1)
        if new.any():
            yield self._spread(ends[new], known)

    def _spread(self, mixtures: np.ndarray, places: np.ndarray) -> np.ndarray:
        full = np.zeros((len(mixtures), len(self.groups_)))
        full[:, places] = mixtures
        return full


def _last(runs: Runs) -> np.ndarray:
    last = np.zeros(int(runs.mixture.max()) + 1)
    np.maximum.at(last, runs.mixture, runs.progress)
    return last[runs.mixture]


def _by_first_row(mixture: np.ndarray) -> np.ndarray:
    """Mixture codes renumbered by where each first appears."""
    _, first, inverse = np.unique(mixture, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]
