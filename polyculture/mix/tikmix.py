"""TiKMiX-D: from how much each group helps each task now, the mixture of the next stage of training.

TiKMiX: Take Data Influence into Dynamic Mixture for Language Model Pre-training (2025), arXiv 2508.17677, Eqs. 9-11.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from polyculture.errors import BadInput
from polyculture.mix.base import Mixer
from polyculture.mix.benefits import Benefits
from polyculture.mix.groups import on_simplex
from polyculture.mix.interior_point import interior_optimum

FEASIBLE = 1e-7  # of the largest benefit: what counts as keeping a task as good as under the prior
FLOOR = 1e-12


@dataclass(frozen=True)
class Objective:
    """The objective at one mixture and its terms (Eqs. 9 and 10).

    Args:
        value: alpha * spread - beta * total - gamma * entropy; lower is better.
        normalised: (n,) benefit of the mixture for each task, relative to the group that helps it most.
        spread: their population standard deviation.
        total: their sum.
        entropy: of the mixture, in nats.
    """

    value: float
    normalised: np.ndarray
    spread: float
    total: float
    entropy: float


def objective(
    S: Any,
    w: Any,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-8,
    scale: np.ndarray | None = None,
) -> Objective:
    """Eqs. 9 and 10 at mixture ``w``.

    Args:
        S: (n, m) benefit of each group for each task, larger is better.
        w: (m,) mixture.
        alpha: weight of the spread over tasks.
        beta: weight of the total benefit.
        gamma: weight of the entropy.
        eps: added to the largest benefit before it divides.
        scale: (n,) what divides each task's benefit; None is max_j S_ij + eps, as in the paper.
    """
    benefits, weights = np.asarray(S, dtype=np.float64), np.asarray(w, dtype=np.float64)
    by = benefits.max(axis=1) + eps if scale is None else scale
    normalised = benefits @ weights / by
    spread, total = float(normalised.std()), float(normalised.sum())
    entropy = float(-np.sum(weights * np.log(np.maximum(weights, FLOOR))))
    return Objective(alpha * spread - beta * total - gamma * entropy, normalised, spread, total, entropy)


@dataclass(frozen=True)
class Optimum:
    """The best feasible mixture and how it was found.

    Args:
        weights: (m,) on the simplex.
        objective: its terms.
        region: "open" if other mixtures than the prior keep every task as good, "prior only" if none does.
        residual: largest shortfall of a task against the prior; 0 where every constraint holds.
        gap: no feasible mixture can be better by more than this (the duality gap; Eq. 10 is convex).
        solved: whether the gap is small; if not, ``weights`` is the best feasible point seen.
    """

    weights: np.ndarray
    objective: Objective
    region: Literal["open", "prior only"]
    residual: float
    gap: float
    solved: bool


def optimal_mixture(
    S: Any,
    prior: Any,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-8,
    slack: float = 0.0,
    scale: np.ndarray | None = None,
) -> Optimum:
    """Minimise Eq. 10 over mixtures that leave no task worse off than the prior (Eq. 11).

    The problem is convex. The feasible mixtures are first measured with linear programs, one for each end of each
    weight and each task: what can't move is fixed, and an interior-point method starts in the middle of the rest.

    Args:
        S: (n, m) benefits.
        prior: (m,) the mixture now.
        alpha: weight of the spread over tasks.
        beta: weight of the total benefit.
        gamma: weight of the entropy; at 0 the answer lies on an edge.
        eps: as in :func:`objective`.
        slack: how far a task may fall below its benefit under the prior, as a share of that task's largest
            absolute benefit.
        scale: as in :func:`objective`.

    Raises:
        BadInput: alpha or gamma is negative.
    """
    if not (alpha >= 0 and gamma >= 0):
        raise BadInput(f"alpha and gamma should be 0 or more, not {alpha} and {gamma}: else the problem is not convex")
    benefits, start = np.asarray(S, dtype=np.float64), np.asarray(prior, dtype=np.float64)
    least = benefits @ start - slack * np.abs(benefits).max(axis=1)
    size = np.maximum(np.abs(benefits).max(axis=1), 1e-300)
    rows, floor = benefits / size[:, None], least / size  # every constraint on the same scale
    weights: dict[str, Any] = {"alpha": alpha, "beta": beta, "gamma": gamma, "eps": eps, "scale": scale}

    corners = _extremes(rows, floor, start)
    reach = np.ptp(corners, axis=0)
    free = reach > 1e-7
    if not free.any():
        return Optimum(start, objective(benefits, start, **weights), "prior only", 0.0, 0.0, True)
    inside = corners.mean(axis=0)
    terms = {"alpha": alpha, "beta": beta, "gamma": gamma}
    found, gap = interior_optimum(_normalised(benefits, weights), rows, floor, inside, free, **terms)
    options = [w for w in (found, start, inside) if _residual(rows, floor, w) <= FEASIBLE]
    best = min(options, key=lambda w: objective(benefits, w, **weights).value)
    at = objective(benefits, best, **weights)
    well = gap <= 1e-4 * max(1.0, abs(at.value))
    return Optimum(best, at, "open", max(0.0, _residual(rows, floor, best)), gap, well)


def _residual(rows: np.ndarray, floor: np.ndarray, w: np.ndarray) -> float:
    return float(np.max(floor - rows @ w))


def _extremes(rows: np.ndarray, floor: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Feasible mixtures with each weight at its least and its most, and each row at its most, with the prior."""
    from scipy.optimize import linprog

    m = len(prior)
    corners = [prior]
    for cost in np.vstack([np.eye(m), -np.eye(m), -rows]):
        found = linprog(cost, A_ub=-rows, b_ub=-floor + 1e-12, A_eq=np.ones((1, m)), b_eq=[1.0], bounds=(0, 1))
        if found.success:
            corners.append(np.clip(found.x, 0, None) / np.clip(found.x, 0, None).sum())
    return np.array(corners)


def _normalised(S: np.ndarray, weights: dict[str, Any]) -> np.ndarray:
    by = S.max(axis=1) + weights["eps"] if weights["scale"] is None else weights["scale"]
    return S / by[:, None]


@dataclass(eq=False)
class TiKMiX(Mixer):
    """The mixture whose benefits for the tasks are large, even, and spread over groups, with no task made worse.

    Takes a table of benefits: by influence functions on the model in training (``polyculture.mix.influence``), or any
    other. At every stage of training fit it again, with its last answer as the prior. Source: TiKMiX (2025), Eqs. 9-11.

    Args:
        alpha: weight of the spread of benefits over tasks.
        beta: weight of the total benefit.
        gamma: weight of the mixture's entropy; at 0 all weight goes to few groups.
        eps: added to the largest benefit of a task before it divides.
        slack: how far a task may fall below its benefit under the prior, as a share of its largest; above 0 it helps
            where only the prior itself is feasible.
        unhelped: tasks that no group helps: "absolute" divides their benefits by the largest absolute value, "drop"
            leaves them out.
    """

    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 1.0
    eps: float = 1e-8
    slack: float = 0.0
    unhelped: Literal["absolute", "drop"] = "absolute"

    fits: ClassVar[Literal["runs", "benefits", "groups", "feedback"]] = "benefits"

    def fit(self, benefits: Benefits | Any, prior: Any = None, *, groups: Sequence[str] | None = None) -> Self:
        """Find the next mixture.

        Args:
            benefits: Benefits, or (n, m) benefits of m groups for n tasks, larger is better.
            prior: (m,) the mixture now, which no task may be worse off than under; None is uniform.
            groups: m names, where an array was given.

        Raises:
            BadInput: a benefit is NaN or infinite, the prior has a negative weight, or all tasks are to be dropped.
        """
        held = benefits if isinstance(benefits, Benefits) else Benefits.of(benefits, groups=groups)
        m = len(held.groups)
        now = on_simplex(np.full(m, 1 / m) if prior is None else prior, "prior")
        if now.shape != (m,):
            raise BadInput(f"the prior has {now.size} weights, the benefits {m} groups")
        order = np.argsort(np.array(held.groups), kind="stable")
        S, tasks = held.values[:, order], held.tasks
        most = S.max(axis=1)
        hopeless = most <= 0
        if hopeless.any():
            names = ", ".join(t for t, h in zip(tasks, hopeless, strict=True) if h)
            what = "left out" if self.unhelped == "drop" else "divided by their largest absolute benefit"
            warnings.warn(f"no group helps {names}: {what}", stacklevel=2)
        if self.unhelped == "drop" and hopeless.any():
            if hopeless.all():
                raise BadInput("no group helps any task; there is no mixture to prefer. Use unhelped='absolute'")
            S, tasks = S[~hopeless], tuple(t for t, h in zip(tasks, hopeless, strict=True) if not h)
        scale = np.where(S.max(axis=1) > 0, S.max(axis=1), np.abs(S).max(axis=1)) + self.eps
        found = optimal_mixture(
            S,
            now[order],
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            eps=self.eps,
            slack=self.slack,
            scale=scale,
        )
        if found.region == "prior only" and m > 1:
            warnings.warn(
                "only the prior leaves every task as well off; the mixture stays. A slack above 0 lets it move",
                stacklevel=2,
            )
        elif not found.solved:
            warnings.warn("the optimiser stopped early; the weights are the best feasible ones it saw", stacklevel=2)
        back = np.argsort(order)
        self.groups_, self.tasks_, self.prior_, self.weights_ = held.groups, tasks, now, found.weights[back]
        self.benefit_ = S @ found.weights
        self.report_ = {
            "objective": found.objective.value,
            "spread": found.objective.spread,
            "total": found.objective.total,
            "entropy": found.objective.entropy,
            "region": found.region,
            "gap": found.gap,
            "residual": found.residual,
            "solved": found.solved,
        }
        return self
