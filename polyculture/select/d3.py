"""D3: rows far from those chosen, difficult for the model, and dependable, in a weighted k-center.

D3: Diversity, Difficulty, and Dependability-Aware Data Selection for Sample-Efficient LLM Instruction Tuning (2025).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.llm.base import LLM
from polyculture.pool import Pool
from polyculture.quality.columns import numbers
from polyculture.quality.pairs import pairs
from polyculture.select.base import Selector
from polyculture.space.kernels import as_matrix

Difficulties = Callable[[np.ndarray], np.ndarray]
"""Given the rows chosen so far, train on them and return the difficulty of every row of the pool, (n,) 0 or more."""


@dataclass(frozen=True)
class WeightedCover:
    """A weighted k-center.

    Args:
        rows: (k,) int64 chosen rows in order, those given beforehand first.
        gains: weight times distance at which each row was added; none for those given, or for the first of all.
        radius: largest weight times distance to the nearest chosen row that is left.
    """

    rows: np.ndarray
    gains: np.ndarray
    radius: float


def weighted_k_center(X: Any, weights: Any, k: int, *, chosen: Sequence[int] | np.ndarray = ()) -> WeightedCover:
    """Greedy k-center under weights: always the row with the largest weight times distance to the nearest chosen one.

    With nothing chosen it starts at the largest weight; ties, also between gains of 0, go to the first row. Distances
    are Euclidean and in float64; O(n k d). Source: D3 (2025), weighted coreset.

    Args:
        X: (n, d) embeddings.
        weights: (n,) weights, 0 or more, or (m, n) factors whose product they are: difficulty and dependability.
        k: rows in all, those in ``chosen`` included.
        chosen: rows chosen beforehand, the centres of earlier rounds.

    Raises:
        BadInput: a weight is negative or not finite, or k is out of range.
    """
    A = np.array(as_matrix(X), dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    w = w.prod(axis=0) if w.ndim == 2 else w
    n, rows = len(A), [int(row) for row in chosen]
    if w.shape != (n,) or not np.isfinite(w).all() or (w < 0).any():
        raise BadInput(f"weights should be {n} finite numbers of 0 or more, one a row")
    if not max(1, len(rows)) <= k <= n:
        raise BadInput(f"k = {k}, but it should be between {max(1, len(rows))} and the {n} rows")
    A -= A.mean(axis=0)  # keeps digits where the rows are far from the origin
    lengths = np.einsum("nd,nd->n", A, A)
    nearest = np.full(n, np.inf)
    for row in rows:
        np.minimum(nearest, _distances(A, lengths, row), out=nearest)
    gains = []
    while len(rows) < k:
        value = w * nearest if rows else w.copy()
        value[rows] = -1.0
        row = int(np.argmax(value >= value.max() * (1 - 1e-11)))  # ties but for rounding go to the first
        if rows:
            gains.append(value[row])
        rows.append(row)
        np.minimum(nearest, _distances(A, lengths, row), out=nearest)
    return WeightedCover(np.array(rows, dtype=np.int64), np.array(gains), float((w * nearest).max()))


def _distances(A: np.ndarray, lengths: np.ndarray, row: int) -> np.ndarray:
    """Distance of every row to one; near rows are subtracted, for there the product loses all digits."""
    squared = lengths + lengths[row] - 2 * (A @ A[row])
    near = np.flatnonzero(squared <= 1e-4 * (lengths + lengths[row]))
    squared[near] = ((A[near] - A[row]) ** 2).sum(axis=1)
    return np.sqrt(squared)


@dataclass(eq=False)
class D3(Selector):
    """Weighted k-center greedy with weights difficulty times dependability, in rounds.

    Difficulty is by default the uncertainty-based prediction difficulty of a language model that was first tuned on a
    small random part of the pool; with several rounds it is tuned again on all that was chosen, from the base model,
    and rows chosen so far stay centres. Where every weight is 0 the k-center is unweighted, with a warning.
    ``difficulty_``, ``dependability_``, ``gains_`` and ``radius_`` hold what it went by. Never use it without a
    dependability that knows bad rows: wrong labels are difficult. Source: D3 (2025); objective, warm-up and rounds.

    Args:
        model: hub id, local folder, or (model, tokenizer) in memory, for difficulty "upd".
        difficulty: "upd" (needs model), a column of numbers, "none" for the same everywhere, or a function of the rows
            chosen so far that trains on them and returns (n,) difficulties.
        dependability: "quality" for the pool's quality, "judge" to ask a language model, a column of numbers, or
            "none".
        judge: the language model that judges: what ``make_llm`` understands, or one in memory.
        prompt: column of prompts, for "upd" and "judge"; none is no prompt.
        response: column of responses; none is the pool's text.
        rounds: how many parts the budget is chosen in.
        warm_up: share of the pool the model is first tuned on; 0 takes it as it is.
        epochs: of each tuning.
        learning_rate: of each tuning.
        batch_size: sequences computed at once.
    """

    model: str | tuple[Any, Any] | None = None
    difficulty: str | Difficulties = "upd"
    dependability: str = "quality"
    judge: str | LLM | None = None
    prompt: str | None = "prompt"
    response: str | None = "response"
    rounds: int = 1
    warm_up: float = 0.02
    epochs: int = 1
    learning_rate: float = 1e-5
    batch_size: int = 8
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: without a model, weights are the quality."""
        return {"difficulty": "none"}

    def required(self) -> tuple[str, ...]:
        """Embeddings, and quality where dependability is the quality."""
        return ("embeddings", "quality") if self.dependability == "quality" else ("embeddings",)

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if self.rounds < 1 or not 0 <= self.warm_up <= 1:
            raise BadInput(f"rounds should be 1 or more and warm_up in [0, 1], not {self.rounds} and {self.warm_up}")
        difficulties = self._difficulties(pool, rng)
        self.dependability_ = _weights(self._dependability(pool), "dependability", pool)
        rows = np.zeros(0, dtype=np.int64)
        gains = []
        for end in np.unique(np.linspace(0, k, min(self.rounds, k) + 1).round().astype(int))[1:]:
            self.difficulty_ = _weights(difficulties(rows), "difficulty", pool)
            weights = self.difficulty_ * self.dependability_
            if not weights.any():
                warnings.warn("every weight is 0, so rows are chosen by distance alone", stacklevel=3)
                weights = np.ones(len(pool))
            cover = weighted_k_center(pool.X, weights, int(end), chosen=rows)
            rows = cover.rows
            gains.append(cover.gains)
        self.gains_, self.radius_ = np.concatenate(gains), cover.radius
        return rows

    def _dependability(self, pool: Pool) -> np.ndarray:
        if self.dependability == "none":
            return np.ones(len(pool))
        if self.dependability == "quality":
            return pool.q
        if self.dependability == "judge":
            from polyculture.quality.dependability import DependabilityQuality

            if self.judge is None:
                raise BadInput("dependability 'judge' needs a judge: name a language model with --judge")
            return DependabilityQuality(self.judge, prompt=self.prompt, response=self.response).score(pool)
        return numbers(pool, [self.dependability], option="dependability")[:, 0]

    def _difficulties(self, pool: Pool, rng: np.random.Generator) -> Difficulties:
        if not isinstance(self.difficulty, str):
            return self.difficulty
        if self.difficulty == "upd":
            return self._upd(pool, rng)
        if self.difficulty == "none":
            return lambda rows: np.ones(len(pool))
        held = numbers(pool, [self.difficulty], option="difficulty")[:, 0]
        return lambda rows: held

    def _upd(self, pool: Pool, rng: np.random.Generator) -> Difficulties:
        if self.model is None:
            raise BadInput(
                "d3 measures difficulty with a language model: name one with --model, a column of difficulties with "
                "--difficulty COLUMN, or leave difficulty out with --difficulty none"
            )
        from polyculture.llm.fine_tuning import FineTuning
        from polyculture.quality.difficulty import UPDQuality

        base = UPDQuality(self.model, self.prompt, self.response, batch_size=self.batch_size)
        for _ in pairs(pool, self.prompt, self.response):
            pass  # a row without prompt or response is said before anything is trained
        size = min(len(pool), int(np.ceil(self.warm_up * len(pool))))
        first = np.sort(rng.choice(len(pool), size, replace=False))
        recipe = FineTuning(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=int(rng.integers(2**31 - 1)),
        )

        def difficulties(rows: np.ndarray) -> np.ndarray:
            taught = rows if len(rows) else first
            if not len(taught):
                return base.score(pool)
            tuned = recipe.tune(base.llm, list(pairs(pool.take(taught), self.prompt, self.response)))
            held = tuned.model, tuned.tokenizer
            return UPDQuality(held, self.prompt, self.response, batch_size=self.batch_size).score(pool)

        return difficulties


def _weights(values: Any, what: str, pool: Pool) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(pool),):
        raise BadInput(f"{what} has shape {values.shape}, the pool has {len(pool)} rows")
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise BadInput(
            f"{pool.source} row {row + 1}: {what} is {values[row]:g}, but d3 weighs by it, so it should be 0 or more; "
            "shift it, or name another with --difficulty or --dependability"
        )
    return values
