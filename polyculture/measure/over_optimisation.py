"""Has alignment gone too far? The entropy and the mass of the k likeliest next tokens, and the alarm they raise.

"Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024), section 5. Both are measured on
tokens the policy itself generates, at temperature 1. The thresholds of the alarm are this package's reading of the
paper's two signals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput

Reason = Literal["entropy reversal", "mass loss", "entropy collapse"]


@dataclass(frozen=True)
class TopK:
    """Of each position: mass of the k largest probabilities, their entropy renormalised to sum 1, and as they are."""

    mass: np.ndarray
    entropy: np.ndarray
    entropy_raw: np.ndarray

    @property
    def mean_mass(self) -> float:
        """Mean mass over positions."""
        return float(np.mean(self.mass))

    @property
    def mean_entropy(self) -> float:
        """Mean renormalised entropy over positions."""
        return float(np.mean(self.entropy))

    @property
    def mean_entropy_raw(self) -> float:
        """Mean entropy over positions, not renormalised."""
        return float(np.mean(self.entropy_raw))


def top_k_entropy(logits: Any, *, k: int = 10, base: float = 2.0, block: int = 1024) -> TopK:
    """Mass and entropy of the k likeliest next tokens at each position, in float64 and with 0 log 0 = 0.

    Args:
        logits: (N, V) next-token logits, numpy or torch; -inf bans a token.
        k: tokens looked at; all V where V is smaller.
        base: of the logarithm; 2 gives bits.
        block: positions at a time.

    Raises:
        BadInput: there is no position, a position has NaN, +inf or only -inf, k is below 1, or the base is unusable.
    """
    if k < 1 or not base > 0 or base == 1:
        raise BadInput(f"top_k_entropy needs k of at least 1 and a positive base other than 1; k = {k}, base = {base}")
    rows = logits if hasattr(logits, "detach") else np.asarray(logits)
    if rows.ndim != 2 or 0 in rows.shape:
        raise BadInput(f"logits should be (N, V), one position a row; these have shape {tuple(rows.shape)}")
    parts = [_top_k(_numpy(rows[start : start + block]), start, k, base) for start in range(0, len(rows), block)]
    return TopK(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def top_k_summary(logits: Any, *, k: int = 10, base: float = 2.0) -> dict[str, float]:
    """Means over positions of :func:`top_k_entropy`: ``entropy`` (renormalised), ``entropy_raw`` and ``mass``.

    Args:
        logits: (N, V) next-token logits, numpy or torch.
        k: tokens looked at; all V where V is smaller.
        base: of the logarithm; 2 gives bits.
    """
    found = top_k_entropy(logits, k=k, base=base)
    return {
        "entropy": found.mean_entropy,
        "entropy_raw": found.mean_entropy_raw,
        "mass": found.mean_mass,
    }


@dataclass(frozen=True)
class Evaluation:
    """What is known at one step of training; log-likelihoods are means a token, without the reference."""

    step: int
    entropy: float
    mass: float
    chosen: float = math.nan
    rejected: float = math.nan
    win_probability: float = math.nan
    cross_input_diversity: float = math.nan

    @property
    def margin(self) -> float:
        """Log-likelihood of the chosen answers less that of the rejected ones."""
        return self.chosen - self.rejected


@dataclass(frozen=True)
class Alarm:
    """The first sign of over-optimisation: why, at which step, and the last step before it."""

    reason: Reason
    step: int
    stop_at: int


@dataclass
class OverOptimisationMonitor:
    """Watches the top-k entropy and mass of a policy in training and raises an alarm when they turn.

    Entropy reversal: it has risen above its start, and then falls for ``window`` evaluations in a row to more than
    ``tolerance`` below its running maximum. Mass loss: the mass falls for ``window`` evaluations in a row, and over
    them by more than ``tolerance`` of its start value. Entropy collapse: it is below ``collapse`` of its start.
    The likelihood of chosen answers is recorded but raises no alarm: its fall is not by itself bad.

    It takes numbers as they are: noise deceives it the more often the longer it watches. The watch of a training, which
    has the numbers of each prompt, has a rule that knows their noise (``polyculture.align.watching``).

    Args:
        window: evaluations in a row that must fall.
        tolerance: relative fall that counts.
        collapse: share of the starting entropy that counts as collapse.
        k: tokens looked at when logits are given.
    """

    window: int = 3
    tolerance: float = 0.02
    collapse: float = 0.5
    k: int = 10
    evaluations: list[Evaluation] = field(default_factory=list)
    alarm: Alarm | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadInput(f"window of the monitor should be at least 1, not {self.window}")

    def observe(
        self,
        step: int,
        logits: Any = None,
        *,
        entropy: float | None = None,
        mass: float | None = None,
        chosen: Any = math.nan,
        rejected: Any = math.nan,
        win_probability: Any = math.nan,
        cross_input_diversity: float = math.nan,
    ) -> Alarm | None:
        """Record one evaluation and say whether the alarm is raised (once raised it stays as it was).

        Args:
            step: of training; later than the last one.
            logits: (N, V) next-token logits of tokens the policy generated, or give ``entropy`` and ``mass``.
            entropy: mean renormalised top-k entropy.
            mass: mean top-k mass.
            chosen: mean token log-likelihoods of chosen answers, a number or one each.
            rejected: the same of rejected answers.
            win_probability: against the competitor, a number or one a prompt.
            cross_input_diversity: such as EAD of one output a prompt.

        Raises:
            BadInput: neither logits nor entropy and mass are given, one is NaN, or the step is not later than the last.
        """
        if logits is not None:
            found = top_k_entropy(logits, k=self.k)
            entropy, mass = found.mean_entropy, found.mean_mass
        if entropy is None or mass is None or math.isnan(entropy) or math.isnan(mass):
            raise BadInput(f"step {step}: give logits, or both entropy and mass, without NaN")
        if self.evaluations and step <= self.evaluations[-1].step:
            raise BadInput(f"step {step} comes after step {self.evaluations[-1].step}; steps should rise")
        likely, unlikely, wins = (float(np.mean(_numpy(values))) for values in (chosen, rejected, win_probability))
        self.evaluations.append(
            Evaluation(step, float(entropy), float(mass), likely, unlikely, wins, cross_input_diversity)
        )
        reason = self._reason()
        if reason and self.alarm is None:
            self.alarm = Alarm(reason, step, self.evaluations[max(0, len(self.evaluations) - 2)].step)
        return self.alarm

    def table(self) -> list[dict[str, float]]:
        """One row an evaluation, for a report."""
        return [{**asdict(row), "margin": row.margin} for row in self.evaluations]

    def _reason(self) -> Reason | None:
        entropy = [row.entropy for row in self.evaluations]
        mass = [row.mass for row in self.evaluations]
        highest = max(entropy)
        if highest > entropy[0] and self._falling(entropy) and entropy[-1] < (1 - self.tolerance) * highest:
            return "entropy reversal"
        if self._falling(mass) and mass[-1 - self.window] - mass[-1] > self.tolerance * mass[0]:
            return "mass loss"
        if entropy[-1] < self.collapse * entropy[0]:
            return "entropy collapse"
        return None

    def _falling(self, values: Sequence[float]) -> bool:
        last = values[-1 - self.window :]
        return len(last) == self.window + 1 and all(b < a for a, b in pairwise(last))


def _top_k(logits: np.ndarray, start: int, k: int, base: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    highest = logits.max(axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(highest[:, 0]))
    if bad.size:
        raise BadInput(f"logits row {start + bad[0] + 1} holds NaN or +inf, or is -inf throughout")
    p = np.exp(logits - highest)
    p /= p.sum(axis=1, keepdims=True)
    k = min(k, p.shape[1])
    top = np.partition(p, -k, axis=1)[:, -k:]
    mass = top.sum(axis=1)
    logs = np.log(top, out=np.zeros_like(top), where=top > 0) / math.log(base)
    raw = -np.einsum("nk,nk->n", top, logs)
    entropy = raw / mass + np.log(mass) / math.log(base)
    return mass, np.maximum(entropy, 0.0), np.maximum(raw, 0.0)


def _numpy(values: Any) -> np.ndarray:
    held = values.detach().double().cpu().numpy() if hasattr(values, "detach") else values
    return np.asarray(held, dtype=np.float64)
