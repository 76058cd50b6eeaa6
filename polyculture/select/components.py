"""Decorrelated axes of quality: principal components of raters' scores, and budgets filled one component at a time.

Learning from the Best, Differently: A Diversity-Driven Rethinking on Data Selection (ODiS, 2025).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.errors import BadInput


@dataclass(frozen=True)
class Components:
    """Principal components of rater scores, oriented so that larger is better on the whole.

    Args:
        mean: (D,) mean of each rater.
        scale: (D,) what each rater is divided by; 0 for a constant one, which then counts nothing.
        loadings: (K, D) unit vectors, one a component.
        variance: (K,) variance along each, with n - 1.
        share: (K,) share of all the variance.
    """

    mean: np.ndarray
    scale: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray
    share: np.ndarray

    def project(self, scores: Any) -> np.ndarray:
        """Scores (n, D) on the components, (n, K): uncorrelated on the rows they were fitted on."""
        X = np.asarray(scores, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.mean):
            raise BadInput(f"scores of shape {X.shape} for components of {len(self.mean)} raters")
        return _standardised(X, self.mean, self.scale) @ self.loadings.T

    def save(self, path: Path | str) -> None:
        """Write them as JSON, for another corpus: a refit could turn an axis around."""
        from polyculture.files import write_json

        write_json(Path(path), {name: value.tolist() for name, value in vars(self).items()})

    @classmethod
    def load(cls, path: Path | str) -> Components:
        """Read what :meth:`save` wrote.

        Raises:
            BadInput: the file is not there or is not of that form.
        """
        try:
            held = json.loads(Path(path).read_text())
            return cls(**{name: np.array(held[name], dtype=np.float64) for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: can't be read as saved components ({error})") from error


def fit_components(
    scores: Any, n_components: int | None = None, *, standardise: bool = True, enough: float = 0.95, most: int = 4
) -> Components:
    """Principal components of rater scores by full SVD.

    A component's sign makes its loadings sum to more than 0; where they cancel, the one that goes with the mean score.
    Source: ODiS (2025), PCA; standardising, signs and the number of components are this library's.

    Args:
        scores: (n, D) scores, one rater a column, more rows than raters.
        n_components: how many to keep; None keeps the fewest that explain ``enough`` of the variance, ``most`` at most.
        standardise: divide each rater by its standard deviation (over n); a constant one becomes zeros.
        enough: share of the variance to explain.
        most: components at most where their number is not given.

    Raises:
        BadInput: too few rows, a score is NaN or infinite, or the number of components is out of range.
    """
    X = np.asarray(scores, dtype=np.float64)
    if X.ndim != 2 or not X.shape[1] or len(X) <= X.shape[1]:
        raise BadInput(f"scores of shape {X.shape}: components need more rows than raters, and at least one rater")
    n, D = X.shape
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        raise BadInput(f"the scores of row {int(np.argmax(bad)) + 1} are NaN or infinite; mend them or leave it out")
    if n_components is not None and not 1 <= n_components <= D:
        raise BadInput(f"n_components should be between 1 and the {D} raters, not {n_components}")
    mean = X.mean(axis=0)
    constant = np.ptp(X, axis=0) <= 1e-12 * np.abs(X).max(axis=0)
    scale = np.where(constant, 0.0, X.std(axis=0) if standardise else 1.0)
    Z = _standardised(X, mean, scale)
    s, loadings = np.linalg.svd(Z, full_matrices=False)[1:]
    variance = s**2 / (n - 1)
    share = variance / variance.sum() if variance.any() else np.zeros(D)
    if n_components is None:
        reached = np.flatnonzero(np.cumsum(share) >= enough - 1e-12)
        n_components = min(most, D, int(reached[0]) + 1 if len(reached) else 1)
    kept = slice(0, n_components)
    return Components(mean, scale, _oriented(loadings[kept], Z, X), variance[kept], share[kept])


def _standardised(X: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, (X - mean) / np.where(scale > 0, scale, 1.0), 0.0)


def _oriented(loadings: np.ndarray, Z: np.ndarray, X: np.ndarray) -> np.ndarray:
    sums = loadings.sum(axis=1)
    signs = np.where(sums < 0, -1.0, 1.0)
    for k in np.flatnonzero(np.abs(sums) < 1e-6):
        signs[k] = -1.0 if (Z @ loadings[k]) @ (X.mean(axis=1) - X.mean()) < 0 else 1.0
        warnings.warn(
            f"the loadings of component {k + 1} cancel; it is oriented by the mean score, which may mean little",
            stacklevel=4,
        )
    return loadings * signs[:, None]


def correlation(projected: np.ndarray) -> np.ndarray:
    """Correlations of projected columns, (K, K); a constant column has none with the others."""
    Z = projected - projected.mean(axis=0)
    lengths = np.sqrt((Z**2).sum(axis=0))
    Z = Z / np.where(lengths > 0, lengths, 1.0)
    found = Z.T @ Z
    np.fill_diagonal(found, 1.0)
    return found


def best_first(column: np.ndarray) -> np.ndarray:
    """Rows by descending score; scores that are equal but for rounding keep the order of the rows."""
    largest = np.abs(column).max(initial=0.0)
    return np.argsort(-np.round(column / (largest or 1.0), 12), kind="stable")


def fill_by_component(
    projected: Any,
    shares: Sequence[float] | np.ndarray,
    tokens: Any = None,
    *,
    admissible: Any = None,
    round_robin: bool = False,
) -> list[np.ndarray]:
    """The rows each component chooses: down its scores, skipping taken rows, until it has its share.

    A component may overshoot by the size of its last row; the pool may run out. Equal scores go to the first row.
    Source: ODiS (2025), selection.

    Args:
        projected: (n, K) scores.
        shares: (K,) budget of each component, in tokens or rows.
        tokens: (n,) tokens of each row; None counts rows.
        admissible: (n,) bool, rows that may be chosen; None is all.
        round_robin: components take turns, a row each, instead of the first choosing all of its rows first.
    """
    T = np.asarray(projected, dtype=np.float64)
    size = np.ones(len(T)) if tokens is None else np.asarray(tokens, dtype=np.float64)
    if size.shape != (len(T),) or not np.isfinite(size).all() or (size < 0).any():
        raise BadInput(f"tokens should be {len(T)} counts of 0 or more, one a row")
    free = np.ones(len(T), dtype=bool) if admissible is None else np.array(admissible, dtype=bool)
    walks = [iter(best_first(column)) for column in T.T]
    chosen: list[list[int]] = [[] for _ in walks]
    used = np.zeros(len(walks))

    def take(k: int) -> bool:
        """One row for a component; whether there was one."""
        row = next((int(i) for i in walks[k] if free[i]), None) if used[k] < shares[k] else None
        if row is not None:
            free[row] = False
            used[k] += size[row]
            chosen[k].append(row)
        return row is not None

    open_ = list(range(len(walks)))
    while round_robin and open_:
        open_ = [k for k in open_ if take(k)]
    for k in open_:
        while take(k):
            pass
    return [np.array(rows, dtype=np.int64) for rows in chosen]


def overlap(projected: Any, count: int) -> np.ndarray:
    """|top_a & top_b| / |top_a|, (K, K), of the ``count`` best rows of each column, before rows are given out.

    Source: ODiS (2025), overlap of the components' top sets.
    """
    T = np.asarray(projected, dtype=np.float64)
    count = min(count, len(T))
    top = np.zeros(T.shape, dtype=np.float64)
    for k, column in enumerate(T.T):
        top[best_first(column)[:count], k] = 1.0
    return top.T @ top / max(count, 1)


@dataclass(frozen=True)
class Chosen:
    """What ODiS chose by, and what.

    Args:
        components: the rotated axes.
        projected: (n, K) scores of the rows on them.
        rows: for each component the rows it chose, in order.
        overlap: (K, K) overlap of the components' best rows.
    """

    components: Components
    projected: np.ndarray
    rows: list[np.ndarray]
    overlap: np.ndarray


def choose_by_components(
    scores: Any,
    budget: int,
    tokens: Any = None,
    *,
    n_components: int | None = None,
    standardise: bool = True,
) -> Chosen:
    """ODiS on a table of scores: components, projection, and an equal part of the budget filled by each.

    Args:
        scores: (n, D) scores, one rater a column.
        budget: tokens to choose, or rows without ``tokens``; each component stops at budget / K.
        tokens: (n,) tokens of each row.
        n_components: as in :func:`fit_components`.
        standardise: as in :func:`fit_components`.
    """
    components = fit_components(scores, n_components, standardise=standardise)
    projected = components.project(scores)
    K = projected.shape[1]
    rows = fill_by_component(projected, np.full(K, budget / K), tokens)
    return Chosen(components, projected, rows, overlap(projected, budget // K))
