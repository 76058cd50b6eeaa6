"""FiFA: preference pairs by how clear their margin is, how good their prompt, and how isolated.

Automated Filtering of Human Feedback Data for Aligning Text-to-Image Diffusion Models (2024).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.measure.knn_entropy import FLOOR, knn_entropy, log_knn_distance
from polyculture.pool import Pool
from polyculture.quality.columns import numbers
from polyculture.select.base import Selector
from polyculture.space.kernels import as_matrix, unit_rows

Scale = Literal["min-max", "clipped", "rank"]


@dataclass(frozen=True)
class Importance:
    """What each pair is worth, and why.

    Args:
        margin: reward of the chosen minus reward of the rejected response, (n,); NaN where it is not known.
        text_quality: quality of the prompt, (n,).
        isolation: ln distance of the prompt to its k-th nearest other prompt, (n,).
        score: scaled margin + alpha * scaled quality + gamma * scaled isolation, (n,); -inf where the margin is NaN.
    """

    margin: np.ndarray
    text_quality: np.ndarray
    isolation: np.ndarray
    score: np.ndarray

    def top(self, k: int) -> np.ndarray:
        """The k rows of highest score, best first, equal ones in row order; those without a margin never."""
        order = np.argsort(-self.score, kind="stable")
        return order[: min(k, int(np.isfinite(self.score).sum()))]

    def summary(self, rows: np.ndarray, X: Any, *, neighbors: int = 5) -> dict[str, float]:
        """Mean margin and text quality of the rows, and the entropy of their embeddings ``X[rows]`` in nats."""
        return {
            "margin": float(np.mean(self.margin[rows])),
            "text_quality": float(np.mean(self.text_quality[rows])),
            "entropy": knn_entropy(np.asarray(X)[rows], k=neighbors),
        }


def importance(
    margin: Any, text_quality: Any, isolation: Any, *, alpha: float = 0.5, gamma: float = 0.5, scale: Scale = "min-max"
) -> Importance:
    """The three parts of a pair's worth and their sum, f = m + alpha q + gamma div, each part on a scale of 0 to 1.

    Args:
        margin: (n,) reward margins; NaN takes a pair out.
        text_quality: (n,) quality of the prompts.
        isolation: (n,) ln distance to the k-th nearest prompt.
        alpha: weight of the quality.
        gamma: weight of the isolation.
        scale: "min-max" over the pool; "clipped" takes isolation below its 1st percentile for that percentile first,
            against duplicates; "rank" is the share of other pairs that have less. A constant part is 0 everywhere.

    Raises:
        BadInput: lengths differ, a weight is negative, or quality or isolation is NaN or infinite.
    """
    m, q, h = (np.asarray(part, dtype=np.float64) for part in (margin, text_quality, isolation))
    if not m.shape == q.shape == h.shape or m.ndim != 1:
        raise BadInput(
            f"margin, text quality and isolation should be one number a pair; got {m.shape, q.shape, h.shape}"
        )
    if alpha < 0 or gamma < 0:
        raise BadInput(f"alpha and gamma are weights and should be 0 or more, not {alpha} and {gamma}")
    if not (np.isfinite(q).all() and np.isfinite(h).all()) or np.isinf(m).any():
        raise BadInput("a text quality or isolation is NaN or infinite, or a margin is infinite")
    if scale not in ("min-max", "clipped", "rank"):
        raise unknown("scale", scale, ("min-max", "clipped", "rank"))
    known = ~np.isnan(m)
    score = np.full(len(m), -np.inf)
    if known.any():
        low = np.maximum(h[known], np.percentile(h[known], 1)) if scale == "clipped" else h[known]
        scaled = _ranks if scale == "rank" else _min_max
        score[known] = scaled(m[known]) + alpha * scaled(q[known]) + gamma * scaled(low)
    return Importance(m, q, h, score)


@dataclass(eq=False)
class FiFA(Selector):
    """The k preference pairs of highest importance: a clear margin, a good prompt, a prompt unlike the others.

    The embeddings are those of the prompts. Isolation is each pair's own part of the k-nearest-neighbour entropy of
    all prompts, so the score of a pair does not depend on which others are kept: two near-copies of one rare prompt can
    both be kept. Pairs without a margin (null or NaN) are left out, with a warning. Source: FiFA (2024), Eq 5.

    Args:
        margin: column of reward margins, or two columns "chosen,rejected" of rewards; none is the pool's quality, as
            ``--quality reward-margin`` gives it.
        text_quality: column of the prompts' quality, such as a language model's 0 to 10; none leaves it out.
        alpha: weight of the text quality.
        gamma: weight of the isolation; 0 needs no embeddings.
        neighbors: which neighbour tells how isolated a prompt is.
        absolute: whether the sign of the margin is dropped; this ranks confidently mislabelled pairs first.
        scale: "min-max", "clipped" or "rank": how the three parts are made comparable. Where many prompts repeat,
            "rank", or near-duplicates taken out first, keeps the isolation of the others apart.
        normalize: whether embeddings are brought to unit length first.
        approximate: find neighbours through an inverted file; it pays above 200 000 pairs, and misses some.
    """

    margin: tuple[str, ...] | None = None
    text_quality: str | None = None
    alpha: float = 0.5
    gamma: float = 0.5
    neighbors: int = 5
    absolute: bool = False
    scale: Scale = "min-max"
    normalize: bool = True
    approximate: bool = False
    needs: ClassVar[tuple[str, ...]] = ()
    may_return_fewer: ClassVar[bool] = True

    def required(self) -> tuple[str, ...]:
        """Quality unless margins are in columns, and embeddings unless isolation has no weight."""
        quality = ("quality",) if not self.margin else ()
        return (*(("embeddings",) if self.gamma else ()), *quality)

    def importance(self, pool: Pool) -> Importance:
        """What each of the pool's pairs is worth.

        Raises:
            BadInput: a column is missing or holds no numbers, or a hyper-parameter is out of range.
        """
        pool.need(*self.required())
        margin = self._margins(pool)
        quality = np.zeros(len(pool))
        if self.text_quality is not None:
            quality = numbers(pool, [self.text_quality], option="text_quality")[:, 0]
        return importance(
            np.abs(margin) if self.absolute else margin,
            quality,
            self._isolation(pool),
            alpha=self.alpha,
            gamma=self.gamma,
            scale=self.scale,
        )

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        found = self.importance(pool)
        lost = int(np.isnan(found.margin).sum())
        if lost:
            warnings.warn(f"{lost} of {len(pool)} pairs have no margin and are left out", stacklevel=3)
        if lost == len(pool):
            raise BadInput(f"{pool.source}: no pair has a margin")
        return found.top(k)

    def _margins(self, pool: Pool) -> np.ndarray:
        if not self.margin:
            return pool.q
        if len(self.margin) > 2:
            raise BadInput(f"margin names one column, or two of rewards (chosen,rejected), not {len(self.margin)}")
        held = numbers(pool, self.margin, option="margin", allow_nan=True)
        return held[:, 0] if len(self.margin) == 1 else held[:, 0] - held[:, 1]

    def _isolation(self, pool: Pool) -> np.ndarray:
        if self.neighbors < 1:
            raise BadInput(f"neighbors should be 1 or more, not {self.neighbors}")
        if not self.gamma or len(pool) < 2:
            return np.zeros(len(pool))
        X = unit_rows(pool.X) if self.normalize else as_matrix(pool.X)
        found = log_knn_distance(X, min(self.neighbors, len(pool) - 1), approximate=self.approximate)
        repeated = float(np.mean(found <= np.log(FLOOR)))
        if self.scale == "min-max" and 0.01 < repeated < 1:
            warnings.warn(
                f"{repeated:.0%} of the prompts have {self.neighbors} exact copies, which squeezes the isolation of "
                "all others together; take near-duplicates out first, or set scale to rank",
                stacklevel=4,
            )
        return found


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros(len(values))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Share of the other values that are less, (n,) in [0, 1]."""
    less = np.searchsorted(np.sort(values), values)
    return less / max(1, len(values) - 1)
