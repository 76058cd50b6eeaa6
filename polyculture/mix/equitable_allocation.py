"""Dividing a budget of samples between groups whose learning curves are known.

Adaptive Sampling Strategies to Construct Equitable Training Datasets (2022): maximise U(v_1(n_1), ..., v_G(n_G))
subject to sum_g cost_g n_g <= budget. Any U that increases and is concave in each performance may be wanted; here are
the weighted sum, the weighted log sum (Nash welfare), and the minimum (Rawls).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.mix.learning_curves import PowerLaw

Utility = Literal["weighted-sum", "weighted-log", "min"]
Baseline = Literal["equal", "proportional", "cost-inverse", "random"]
Curve = Callable[[float], float]
LOWEST = 1e-6  # of a performance under the logarithm


@dataclass(frozen=True)
class Allocation:
    """How a budget is divided.

    Args:
        counts: (G,) int64 samples of each group, those it started with included.
        order: the group of each batch, in the order they were given.
        utility: U at the counts.
        spent: cost of all counts.
    """

    counts: np.ndarray
    order: tuple[int, ...]
    utility: float
    spent: float


def utility_of(performance: Any, weights: Any = None, utility: Utility = "weighted-sum") -> float:
    """U of group performances, (G,): sum w v, sum w ln v, or min v; ``weights`` None is 1 / G each.

    Under the logarithm a performance below 1e-6 counts as 1e-6, with a warning.

    Raises:
        UnknownMethod: no such utility.
        BadInput: there are no groups, or lengths differ.

    >>> utility_of([0.5, 0.9], [0.2, 0.8], "min")
    0.5
    """
    v = np.asarray(performance, dtype=np.float64)
    if not len(v):
        raise BadInput("there are no groups; a utility needs at least one")
    w = np.full(len(v), 1 / len(v)) if weights is None else _vector(weights, len(v), "weights", 0.0)
    if utility == "min":
        return float(v.min())
    if utility not in get_args(Utility):
        raise unknown("utility", utility, get_args(Utility))
    if utility == "weighted-log":
        if (v < LOWEST).any():
            warnings.warn(f"a performance below {LOWEST:g} counts as {LOWEST:g} under the logarithm", stacklevel=2)
        v = np.log(np.maximum(v, LOWEST))
    return float(sum(each * value for each, value in zip(w, v, strict=True) if each > 0))


def greedy_allocation(
    curves: Sequence[Curve],
    budget: float,
    *,
    costs: Any = None,
    weights: Any = None,
    utility: Utility = "weighted-sum",
    start: Any = 0,
    caps: Any = None,
    batch: int = 1,
    batches: int | None = None,
    ties: Literal["first", "fewest"] = "first",
    exploration: float = 0.0,
    rng: np.random.Generator | int | None = None,
) -> Allocation:
    """Give one batch after another to the group with the largest [U(n + batch) - U(n)] / cost.

    For concave curves, equal costs and a sum or log sum this is exactly optimal: marginal gains decrease, and the
    greedy rule takes the largest. With unequal costs it is near optimal, as for any knapsack. For "min" the marginal
    gain of all but the worst group is zero, so the rule is: the worst group first (whether or not it still learns).

    Args:
        curves: performance of each group as a function of its number of samples.
        budget: what all samples may cost together, those at the start included.
        costs: (G,) cost of a sample of each group, above 0; None is 1 each.
        weights: (G,) what each group's performance counts, 0 or more; None is 1 / G each.
        utility: "weighted-sum", "weighted-log" or "min".
        start: samples each group starts with, a number or (G,).
        caps: (G,) most samples of each group, None or infinity for no limit; a group at its cap gets no more.
        batch: samples given at a time; the last batch of a group may be smaller.
        batches: stop after so many; None goes on until nothing is affordable.
        ties: which of equal gains goes first: the lowest index, or the group with the fewest samples.
        exploration: probability with which a batch goes to a random group instead.
        rng: a Generator, or a seed for one; only exploration draws from it.

    Raises:
        BadInput: the budget is negative, NaN, or below the cost of the start; a cost is not above 0; a weight is
            negative; no group to give to; or lengths differ.
        UnknownMethod: no such utility.
    """
    size = len(curves)
    k, w, n, most = _problem(size, budget, costs, weights, start, caps)
    if utility not in get_args(Utility):
        raise unknown("utility", utility, get_args(Utility))
    if batch < 1 or not 0 <= exploration <= 1:
        raise BadInput(f"batch should be 1 or more and exploration in [0, 1], not {batch} and {exploration}")
    generator = np.random.default_rng(rng)
    left = budget - float(k @ n)
    close = 1e-9 * max(abs(budget), 1.0)  # a cost that equals what is left but for rounding is affordable
    if left < -close:
        raise BadInput(f"the groups start with samples that cost {k @ n:g}, above the budget of {budget:g}")
    now = np.array([curve(int(each)) for curve, each in zip(curves, n, strict=True)], dtype=np.float64)
    gains = np.zeros(size)
    steps = np.zeros(size)  # the size of step each gain stands for
    order: list[int] = []
    while batches is None or len(order) < batches:
        affordable = np.minimum(np.minimum(batch, most - n), np.floor((left + close) / k))
        able = np.flatnonzero(affordable >= 1)
        if not len(able):
            break
        if exploration and generator.random() < exploration:
            best = int(generator.choice(able))
        elif utility == "min":
            best = _first(-now, able, n, ties)
        else:
            for g in able[affordable[able] != steps[able]]:
                after = float(curves[g](int(n[g] + affordable[g])))
                gains[g] = w[g] * _gain(float(now[g]), after, utility) / (k[g] * affordable[g]) if w[g] > 0 else 0.0
                steps[g] = affordable[g]
            best = _first(gains, able, n, ties)
        n[best] += affordable[best]
        left -= k[best] * affordable[best]
        now[best] = curves[best](int(n[best]))
        steps[best] = 0  # its gain is stale
        order.append(best)
    return Allocation(n.astype(np.int64), tuple(order), utility_of(now, w, utility), float(k @ n))


def continuous_allocation(
    curves: Sequence[PowerLaw], budget: float, *, costs: Any = None, weights: Any = None
) -> tuple[np.ndarray, float]:
    """The continuous optimum of the weighted sum: n_g = (w_g b_g c_g / (lambda cost_g))^(1 / (1 + c_g)).

    lambda, the value of one more unit of budget, is the root at which the budget is spent.

    Args:
        curves: the power law of each group. A flat one gets nothing.
        budget: what all samples may cost together, above 0.
        costs: (G,) cost of a sample of each group, above 0; None is 1 each.
        weights: (G,) what each group's performance counts, 0 or more; None is 1 / G each.

    Returns:
        (G,) float64 samples, and lambda; all zero where no curve rises.

    Raises:
        BadInput: the budget is not above 0, a cost is not above 0, a weight is negative, or lengths differ.
    """
    from scipy.optimize import brentq

    k, w, _, _ = _problem(len(curves), budget, costs, weights, 0, None)
    if budget <= 0:
        raise BadInput(f"the budget should be above 0, not {budget:g}")
    slope = np.array([each * curve.b * curve.c for each, curve in zip(w, curves, strict=True)]) / k
    power = 1 + np.array([curve.c for curve in curves])
    rises = np.flatnonzero(slope > 0)
    n = np.zeros(len(curves))
    if not len(rises):
        return n, 0.0

    def excess(log_price: float) -> float:
        return float(k[rises] @ np.exp((np.log(slope[rises]) - log_price) / power[rises])) - budget

    # At the lower price one group alone spends the budget, at the upper none spends more than its even part.
    each = np.log(slope[rises]) - power[rises] * np.log(budget / k[rises])
    low, high = float(each.max()), float((each + power[rises] * np.log(len(rises))).max())
    price = low if high <= low else float(brentq(excess, low - 1e-9, high + 1e-9, xtol=1e-14, rtol=1e-14))
    n[rises] = np.exp((np.log(slope[rises]) - price) / power[rises])
    return n, math.exp(price)


def shared_allocation(shares: Any, budget: float, *, costs: Any = None, caps: Any = None) -> np.ndarray:
    """Counts in proportion to shares, as many as the budget buys; what a full group can't take goes to the others.

    Rounded down; what is left buys single samples, the group furthest below its share first.

    Args:
        shares: (G,) 0 or more, not all 0.
        budget: what all samples may cost together.
        costs: (G,) cost of a sample of each group, above 0; None is 1 each.
        caps: (G,) most samples of each group; None for no limit.

    Returns:
        (G,) int64.

    Raises:
        BadInput: a share or the budget is negative, shares are all 0, a cost is not above 0, or lengths differ.
    """
    s = np.asarray(shares, dtype=np.float64)
    k, s, _, most = _problem(len(s), budget, costs, s, 0, caps)
    if not s.sum() > 0:
        raise BadInput("the shares are all 0; give at least one group a share above 0")
    full = np.zeros(len(s), dtype=bool)
    exact = np.zeros(len(s))
    while True:
        open_cost = float(k @ np.where(full, 0, s))
        rest = max(budget - float(k[full] @ most[full]), 0.0)
        exact = np.where(full, most, s * rest / open_cost if open_cost > 0 else 0.0)
        over = ~full & (exact > most)
        if not over.any():
            break
        full |= over
    counts = np.floor(exact + 1e-9)
    left = budget - float(k @ counts)
    while len(able := np.flatnonzero((k <= left + 1e-9) & (counts < most) & (s > 0))):
        best = int(able[np.argmax(np.round(exact[able] - counts[able], 9))])
        counts[best] += 1
        left -= k[best]
    return counts.astype(np.int64)


def baseline_allocation(
    name: Baseline,
    budget: float,
    n_groups: int,
    *,
    costs: Any = None,
    shares: Any = None,
    caps: Any = None,
    batch: int = 1,
    rng: np.random.Generator | int | None = None,
) -> np.ndarray:
    """What one would do without learning curves.

    Sampling only the worst-off group, given its curve, is :func:`greedy_allocation` with the utility "min".

    Args:
        name: "equal" counts, "proportional" to population shares, "cost-inverse" (equal spending), or "random" batches.
        budget: what all samples may cost together.
        n_groups: number of groups.
        costs: (G,) cost of a sample of each group, above 0; None is 1 each.
        shares: (G,) population shares; "proportional" needs them.
        caps: (G,) most samples of each group; None for no limit.
        batch: samples of a random batch.
        rng: a Generator, or a seed for one; only "random" draws from it.

    Returns:
        (G,) int64.

    Raises:
        UnknownMethod: no such baseline.
        BadInput: the budget is negative, a cost is not above 0, or "proportional" has no shares.
    """
    k, _, _, _ = _problem(n_groups, budget, costs, None, 0, caps)
    if name == "random":
        flat = [PowerLaw(0.0, 0.0, 1.0)] * n_groups
        return greedy_allocation(flat, budget, costs=k, caps=caps, batch=batch, exploration=1.0, rng=rng).counts
    if name == "proportional" and shares is None:
        raise BadInput("proportional sampling needs the population share of each group")
    if name not in get_args(Baseline):
        raise unknown("baseline", name, get_args(Baseline))
    wanted = {"equal": np.ones(n_groups), "proportional": shares, "cost-inverse": 1 / k}[name]
    return shared_allocation(wanted, budget, costs=k, caps=caps)


def _problem(
    size: int, budget: float, costs: Any, weights: Any, start: Any, caps: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if size < 1:
        raise BadInput("there are no groups; an allocation needs at least one")
    if not budget >= 0 or math.isinf(budget):
        raise BadInput(f"the budget should be a finite number, 0 or more, not {budget}")
    k = np.ones(size) if costs is None else _vector(costs, size, "costs", 0.0)
    if (k == 0).any():
        raise BadInput(f"the cost of group {int(np.argmin(k))} is 0; every sample should cost something")
    w = np.full(size, 1 / size) if weights is None else _vector(weights, size, "weights", 0.0)
    n = _vector(np.full(size, start) if np.ndim(start) == 0 else start, size, "start", 0.0)
    held = [None] * size if caps is None else list(caps)
    most = np.array([math.inf if cap is None else float(cap) for cap in held])
    if len(most) != size or np.isnan(most).any() or (most < 0).any():
        raise BadInput(f"caps should be {size} numbers, 0 or more, or None for no limit; these are {held}")
    return k, w, np.floor(n), np.floor(most)


def _vector(values: Any, size: int, name: str, least: float) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (size,):
        raise BadInput(f"{name} should be {size} numbers, one a group; these have shape {found.shape}")
    if not np.isfinite(found).all() or (found < least).any():
        raise BadInput(f"{name} should be finite and {least:g} or more; these are {found.tolist()}")
    return found


def _gain(now: float, after: float, utility: Utility) -> float:
    """What a group's performance adds when it moves, before its weight.

    Below the smallest performance the logarithm goes on as its tangent: still increasing and concave, so that a group
    that is worse than useless comes first, and not last because its floored value stands still.
    """
    if utility == "weighted-sum":
        return after - now
    low, high = (math.log(v) if v >= LOWEST else math.log(LOWEST) + v / LOWEST - 1 for v in (now, after))
    return high - low


def _first(gains: np.ndarray, able: np.ndarray, n: np.ndarray, ties: str) -> int:
    best = gains[able].max()
    near = best if np.isinf(best) else best - 1e-12 * abs(best)  # what differs by rounding is a tie
    tied = able[gains[able] >= near]
    return int(tied[np.argmin(n[tied])] if ties == "fewest" else tied[0])
