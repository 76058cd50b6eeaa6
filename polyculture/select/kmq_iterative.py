"""Iterative kMQ: clusters whose gold answers still beat the model's get more of the next round.

Diversify and Conquer: Diversity-Centric Data Selection with Iterative Refinement (2024), Section 2.4 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.llm.base import LLM
from polyculture.pool import Pool
from polyculture.select.allocation import draw_within, largest_remainder
from polyculture.select.base import Selector
from polyculture.select.kmq import QualityAs, draw_weights, find_clusters

Judge = Callable[[np.ndarray], np.ndarray]
"""Given all (m,) rows selected so far, train on them and return (m,) gaps: score(gold) - score(generated), Eq 4."""


def cluster_scores(gaps: np.ndarray, clusters: np.ndarray, k: int) -> np.ndarray:
    """Mean gap of the selected rows of each cluster, (k,) (Eq 5); a cluster without any gets the overall mean.

    Args:
        gaps: (m,) gap of each selected row.
        clusters: (m,) its cluster, 0 to k - 1.
        k: number of clusters.
    """
    gaps, clusters = np.asarray(gaps, dtype=np.float64), np.asarray(clusters, dtype=np.int64)
    if len(gaps) != len(clusters) or not len(gaps):
        raise BadInput(
            f"{len(gaps)} gaps for {len(clusters)} selected rows; there should be one each, and at least one"
        )
    if not np.isfinite(gaps).all():
        raise BadInput("a gap is NaN or infinite; the judge should score every selected row")
    counts = np.bincount(clusters, minlength=k)
    sums = np.bincount(clusters, gaps, minlength=k)
    return np.where(counts > 0, sums / np.maximum(counts, 1), gaps.mean())


def softmax_weights(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of the cluster scores, (k,): the weights of the released code."""
    scores = np.asarray(scores, dtype=np.float64) / temperature
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def ratio_weights(scores: np.ndarray, previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``s_j / sum_c s_c * w_j`` (Eq 6), as it is and brought to sum 1, both (k,).

    Where a score is negative, all are shifted so that the lowest is 0.001; where all are 0, weights are uniform.
    """
    scores = np.asarray(scores, dtype=np.float64)
    previous = np.asarray(previous, dtype=np.float64)
    if scores.min() < 0:
        scores = scores - scores.min() + 1e-3
    raw = scores / scores.sum() * previous if scores.sum() > 0 else np.zeros(len(scores))
    return raw, raw / raw.sum() if raw.sum() > 0 else np.full(len(scores), 1 / len(scores))


def floored(weights: np.ndarray, floor: float) -> np.ndarray:
    """Weights of sum 1 with none below ``floor / k``: what the lifted ones need, the others give in proportion."""
    k = len(weights)
    low = np.zeros(k, dtype=bool)
    while True:
        rest = 1 - floor / k * low.sum()
        lifted = np.where(low, floor / k, weights * rest / max(weights[~low].sum(), np.finfo(float).tiny))
        below = ~low & (lifted < floor / k * (1 - 1e-12))
        if not below.any():
            return lifted
        low |= below


@dataclass(frozen=True)
class Round:
    """One round: the cluster weights it drew with, the rows it added, and the cluster scores that followed."""

    weights: np.ndarray
    added: np.ndarray
    scores: np.ndarray | None = None


@dataclass
class Rounds:
    """Iterative kMQ as a state machine: ``ask`` for the rows of a round, ``tell`` the gaps of all rows so far.

    Args:
        clusters: (n,) cluster of each row, 0 to k - 1.
        draw: (n,) weight to draw a row by, 0 or more; None draws uniformly.
        budget: rows to select in all.
        n_rounds: rounds; each adds an equal part of the budget, the first ones one more where it does not divide.
        weights_by: "softmax" of cluster scores, or "ratio" of Eq 6.
        temperature: of the softmax.
        floor: smallest weight of a cluster, in units of 1 / k.
        rng: where the draws come from.
    """

    clusters: np.ndarray
    draw: np.ndarray | None
    budget: int
    n_rounds: int = 3
    weights_by: Literal["softmax", "ratio"] = "softmax"
    temperature: float = 1.0
    floor: float = 0.1
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    history: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.n_rounds < 1 or not self.temperature > 0 or not 0 <= self.floor <= 1:
            raise BadInput(
                "rounds should be 1 or more, temperature above 0 and floor in [0, 1], "
                f"not {self.n_rounds}, {self.temperature} and {self.floor}"
            )
        if self.weights_by not in ("softmax", "ratio"):
            raise unknown("way to weight clusters", self.weights_by, ("softmax", "ratio"))
        if not 1 <= self.budget <= len(self.clusters):
            raise BadInput(f"a budget of {self.budget} should be between 1 and the {len(self.clusters)} rows")
        self.k = int(self.clusters.max()) + 1
        self.weights = np.full(self.k, 1 / self.k)  # w^0
        self.n_rounds = min(self.n_rounds, self.budget)

    @property
    def selected(self) -> np.ndarray:
        """All rows so far, (m,) int64, in order of choice."""
        return np.concatenate([np.zeros(0, np.int64), *(r.added for r in self.history)])

    @property
    def done(self) -> bool:
        """Whether the budget is used up."""
        return len(self.history) == self.n_rounds

    def ask(self) -> np.ndarray:
        """Draw the rows of the next round: clusters by weight, inside by quality; excess of a spent one goes on."""
        if self.done:
            raise BadInput("the budget is used up")
        if self.history and self.history[-1].scores is None:
            raise BadInput("tell the gaps of the last round before asking for the next")
        open_rows = self.clusters.copy()
        open_rows[self.selected] = -1
        room = np.bincount(open_rows[open_rows >= 0], minlength=self.k)
        share = self.budget // self.n_rounds + (len(self.history) < self.budget % self.n_rounds)
        added = self.rng.permutation(
            draw_within(open_rows, largest_remainder(self.weights, share, room), self.draw, self.rng)
        )
        self.history.append(Round(self.weights, added))
        return added

    def tell(self, gaps: np.ndarray) -> None:
        """Gaps of ``selected``, row by row: they set the weights of the next round (Eqs 5 and 6)."""
        if not self.history:
            raise BadInput("ask for rows before telling their gaps")
        scores = cluster_scores(gaps, self.clusters[self.selected], self.k)
        last = self.history[-1]
        self.history[-1] = Round(last.weights, last.added, scores)
        new = (
            softmax_weights(scores, self.temperature)
            if self.weights_by == "softmax"
            else ratio_weights(scores, self.weights)[1]
        )
        self.weights = floored(new, self.floor)


def no_gap(rows: np.ndarray) -> np.ndarray:
    """A judge for which the model answers as well as gold everywhere: clusters keep equal weights."""
    return np.zeros(len(rows))


@dataclass(eq=False)
class IterativeKMQ(Selector):
    """kMQ in rounds: after each, clusters whose rows the model has yet to learn get more of the next.

    After every round but the last the model is fine-tuned on all rows selected so far, answers their prompts, and each
    row gets a gap: how much better its gold answer scores than the model's. Instead of a model, ``judge`` may do all
    of this. ``history_`` holds each round's weights, rows and cluster scores. Source: Diversify and Conquer (2024),
    Algorithm 1; softmax weights, draws without replacement and the floor follow its released code or keep it well
    defined.

    Args:
        judge: rows (m,) -> gaps (m,), or "python:module:function" of one; none fine-tunes the model.
        n_clusters: number of clusters; "auto" takes the one of highest silhouette.
        rounds: how many (N).
        weights_by: "softmax" of cluster scores (the released code), or "ratio" (Eq 6).
        temperature: of the softmax.
        floor: smallest weight of a cluster in units of 1 / k, against collapse onto few clusters.
        quality_as: draw inside clusters in proportion to quality ("proportional") or to exp(quality) ("softmax").
        n_init: starts of k-means.
        max_iter: iterations of k-means at most.
        model: hub id, local folder, or (model, tokenizer) in memory: what is fine-tuned anew after each round.
        prompt: column of prompts.
        response: column of gold answers.
        scorer: of answers: "perplexity" under the tuned model, "llm" for grades of a language model (the grader), or a
            reward: a function of prompts and responses, or "python:module:function" of one.
        grader: the language model that grades: what ``make_llm`` understands, or one in memory.
        epochs: of each fine-tuning.
        learning_rate: of each fine-tuning.
        batch_size: sequences computed at once.
        max_new_tokens: most tokens of an answer.
    """

    judge: str | Judge | None = None
    n_clusters: int | Literal["auto"] = "auto"
    rounds: int = 3
    weights_by: Literal["softmax", "ratio"] = "softmax"
    temperature: float = 1.0
    floor: float = 0.1
    quality_as: QualityAs = "proportional"
    n_init: int = 5
    max_iter: int = 300
    model: str | tuple[Any, Any] | None = None
    prompt: str | None = "prompt"
    response: str | None = "response"
    scorer: str | Callable[..., Any] = "perplexity"
    grader: str | LLM | None = None
    epochs: int = 1
    learning_rate: float = 1e-5
    batch_size: int = 8
    max_new_tokens: int = 256
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "quality")

    @classmethod
    def test_params(cls) -> dict[str, Any]:
        """Options to try it with: a judge that needs no model."""
        return {"judge": "python:polyculture.select.kmq_iterative:no_gap"}

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        draw = draw_weights(pool.q, self.quality_as)
        judge = self._judge(pool) if min(self.rounds, k) > 1 else no_gap
        clusters = find_clusters(pool, self.n_clusters, self.n_init, self.max_iter, rng).labels
        rounds = Rounds(clusters, draw, k, self.rounds, self.weights_by, self.temperature, self.floor, rng)
        while True:
            rounds.ask()
            if rounds.done:
                break
            rounds.tell(judge(rounds.selected))
        self.clusters_ = clusters
        self.history_ = rounds.history
        return rounds.selected

    def _judge(self, pool: Pool) -> Judge:
        if isinstance(self.judge, str):
            from polyculture.functions import named_function

            return named_function(self.judge)
        if self.judge is not None:
            return self.judge
        if self.model is None:
            raise BadInput("iterative kmq fine-tunes a model between rounds: name it with --model, or give a judge")
        from polyculture.llm.fine_tuning import FineTuning
        from polyculture.llm.transformers import TransformersLLM
        from polyculture.select.kmq_model import ModelJudge

        held = (self.model, None) if isinstance(self.model, str) else self.model
        base = TransformersLLM(*held, batch_size=self.batch_size)
        recipe = FineTuning(epochs=self.epochs, learning_rate=self.learning_rate, batch_size=self.batch_size)
        return ModelJudge(pool, base, recipe, self.scorer, self.grader, self.prompt, self.response, self.max_new_tokens)
