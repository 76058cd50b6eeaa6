"""Equitable sampling: the next samples go to the group whose performance, valued by a utility, gains most per cost.

Adaptive Sampling Strategies to Construct Equitable Training Datasets (2022, arXiv 2202.01327).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.mix.base import Mixer
from polyculture.mix.equitable_allocation import Allocation, Utility, greedy_allocation, utility_of
from polyculture.mix.learning_curves import PowerLaw, fit_curve
from polyculture.mix.measured_curves import MeasuredCurves, Points
from polyculture.pool import Pool
from polyculture.progress import Progress, silent


@dataclass(eq=False)
class EquitableSampling(Mixer):
    """How many samples to collect of each group, from the learning curve and the cost of each.

    ``fit`` plans a whole budget on measured curves. ``allocate`` and ``update`` do it in turns: allocate a batch,
    collect and measure it, tell what was measured; ``run`` is that loop. The weights of the groups decide the answer:
    equal weights value every group alike, population shares the average person. Each curve is a group's own: where
    groups share one model, samples of one group also teach the others, and the greedy rule is only a heuristic.

    After ``fit``, ``weights_`` are the shares of the training set, planned samples included, ``allocation_`` the new
    samples of each group, and ``expected_`` the performance its curve promises (NaN for a group without a curve).
    Source: arXiv 2202.01327; the estimator of the curves is this package's.

    Args:
        utility: what is maximised: "weighted-sum" or "weighted-log" of group performances, or "min", which serves the
            worst group first.
        budget: what ``fit`` may spend on new samples; None is as much as the samples so far have cost.
        batch: samples given to a group at a time.
        pilot: samples every group gets before its curve counts, in ``allocate`` and ``run``.
        exponent: c of the curves a - b n^(-c); "auto" is 1, and fitted once a curve spans more than a decade.
        exploration: in ``allocate``, probability with which a batch goes to a random group.
        higher_is_better: False where the measured performance is a loss.
    """

    utility: Utility = "weighted-sum"
    budget: float | None = None
    batch: int = 1
    pilot: int = 0
    exponent: float | Literal["auto"] = "auto"
    exploration: float = 0.05
    higher_is_better: bool = True
    fits: ClassVar[Literal["runs", "benefits", "groups", "feedback"]] = "feedback"

    @classmethod
    def read(cls, path: Path | str, **columns: Any) -> MeasuredCurves:
        """What ``fit`` takes, from a CSV file with the columns group, n, value (and cost, weight, cap, collected)."""
        return MeasuredCurves.read(path, **columns)

    def begin(self, curves: MeasuredCurves) -> EquitableSampling:
        """Take the groups, costs, weights, caps and the points there are (there may be none), and plan nothing yet.

        Raises:
            BadInput: the utility is weighted-log and performance is a loss.
        """
        if self.utility == "weighted-log" and not self.higher_is_better:
            raise BadInput("the utility weighted-log needs a performance above 0, not a loss; use weighted-sum or min")
        self.groups_ = curves.groups
        self.costs_, self.group_weights_, self.caps_ = curves.costs, curves.weights, curves.caps
        self.collected_ = np.array(curves.collected)
        self.points_ = {name: [list(pair) for pair in curves.points[name]] for name in curves.groups}
        self.order_: list[str] = []
        self._share(self.collected_)
        return self

    def fit(self, curves: MeasuredCurves) -> EquitableSampling:
        """Plan how to spend the budget on measured curves.

        Raises:
            BadInput: the budget is negative, or a group that could get samples can't be fitted: it was measured at
                fewer than two sizes.
        """
        self.begin(curves)
        spent = float(self.costs_ @ self.collected_)
        found = self.curves
        for place in self._open():
            name = self.groups_[place]
            if found[name] is None:
                raise BadInput(
                    f"{curves.source}: group '{name}' was measured at fewer than two sizes, which gives no learning "
                    "curve; measure it at two or more, or set its cap to what was collected"
                )
        plan = self._plan(found, spent if self.budget is None else self.budget)
        new = plan.counts - self.collected_
        self.allocation_ = dict(zip(self.groups_, new.tolist(), strict=True))
        self.order_ = [self.groups_[place] for place in plan.order]
        self.expected_ = {
            name: math.nan if (curve := found[name]) is None else self._shown(curve(int(n)))
            for name, n in zip(self.groups_, plan.counts, strict=True)
        }
        self.utility_ = plan.utility
        self._share(plan.counts)
        return self

    @property
    def curves(self) -> dict[str, PowerLaw | None]:
        """The learning curve of each group, a loss counted negative; None where two sizes were not measured."""
        self._check_fitted()
        sign = 1 if self.higher_is_better else -1
        found: dict[str, PowerLaw | None] = {}
        for name in self.groups_:
            sizes = [n for n, _ in self.points_[name]]
            values = [sign * v for _, v in self.points_[name]]
            able = len(set(sizes)) >= 2
            found[name] = fit_curve(sizes, values, exponent=self.exponent, place=f"group '{name}'") if able else None
        return found

    def allocate(
        self, budget: float, *, batches: int | None = None, rng: np.random.Generator | int | None = None
    ) -> dict[str, int]:
        """What to collect next, for at most ``budget``.

        While a group with samples left to collect has no pilot or no curve, the answer is the pilots and a batch for
        each group without a curve, the fewest collected first: measure those, then ask again. A curve that rises by
        less than its standard error counts as none until the group has twice the pilot: on few samples noise often
        hides the rise, and a group whose curve promises nothing would never be measured again.

        Args:
            budget: what the new samples may cost.
            batches: stop after so many batches; None spends the budget.
            rng: a Generator, or a seed for one; only exploration draws from it.

        Returns:
            Group -> new samples, only groups that get any; empty where nothing is affordable or left to collect.

        Raises:
            BadInput: the budget is negative or NaN, or ``begin`` or ``fit`` has not been called.
        """
        self._check_fitted()
        if not budget >= 0 or math.isinf(budget):
            raise BadInput(f"the budget should be a finite number, 0 or more, not {budget}")
        found = self.curves
        first = [place for place in self._open() if self._unsure(place, found[self.groups_[place]])]
        if first:
            return self._first_samples(first, budget)
        plan = self._plan(found, budget, explore=self.exploration, batches=batches, rng=rng)
        new = plan.counts - self.collected_
        return {name: int(count) for name, count in zip(self.groups_, new, strict=True) if count}

    def update(
        self,
        feedback: Mapping[str, Points],
        *,
        collected: Mapping[str, int] | None = None,
        replace: bool = False,
    ) -> EquitableSampling:
        """Tell what was measured since.

        Args:
            feedback: group -> new points (training samples, performance).
            collected: group -> samples there are now in all; where it is left out, at least the largest point.
            replace: the new points stand for the old ones of their groups instead of joining them.

        Raises:
            BadInput: a point or a count is NaN or out of range, or ``begin`` or ``fit`` has not been called.
            UnknownMethod: no such group.
        """
        self._check_fitted()
        for name in (*feedback, *(collected or {})):
            if name not in self.groups_:
                raise unknown("group", str(name), self.groups_)
        counts = {name: int(n) for name, n in zip(self.groups_, self.collected_, strict=True)}
        checked = MeasuredCurves.of({**dict.fromkeys(self.groups_, ()), **feedback}, source="feedback")
        for name, largest in zip(self.groups_, checked.collected, strict=True):
            now = (collected or {}).get(name, max(counts[name], int(largest)))
            if not now >= 0 or math.isinf(now):
                raise BadInput(f"group '{name}' can't have {now} samples; give a number, 0 or more")
            counts[name] = int(now)
        for name in feedback:
            new = [list(pair) for pair in checked.points[name]]
            self.points_[name] = new if replace else self.points_[name] + new
        self.collected_ = np.array([counts[name] for name in self.groups_], dtype=np.int64)
        self._share(self.collected_)
        return self

    def run(
        self,
        collect: Callable[[str, int], Points],
        curves: MeasuredCurves,
        budget: float,
        *,
        rng: np.random.Generator | int | None = None,
        progress: Progress = silent,
    ) -> EquitableSampling:
        """Collect until the budget is spent: pilots, then a batch at a time where it gains most per cost.

        Args:
            collect: called with a group and a number of new samples; collects them and returns the points of the
                group's learning curve from all its samples (see ``curve_points``), or none where it is too small.
            curves: the groups, costs, weights and caps to begin with.
            budget: what the new samples may cost, pilots included.
            rng: a Generator, or a seed for one; only exploration draws from it.
            progress: told the budget spent.

        Raises:
            BadInput: the budget is negative, or below the cost of the pilots.
        """
        self.begin(curves)
        generator = np.random.default_rng(rng)
        lacking = np.clip(np.minimum(self.pilot, self.caps_) - self.collected_, 0, None)
        if not budget >= float(self.costs_ @ lacking):
            raise BadInput(f"a pilot of {self.pilot} costs {self.costs_ @ lacking:g}, above the budget of {budget:g}")
        left = float(budget)
        while batch := self.allocate(max(left, 0.0), batches=1, rng=generator):
            for name, new in batch.items():
                place = self.groups_.index(name)
                points = collect(name, new)
                self.update({name: points}, collected={name: int(self.collected_[place]) + new})
                self.order_.append(name)
                left -= float(self.costs_[place]) * new
            progress("collect", int(budget - left), int(budget))
        return self

    def _open(self) -> list[int]:
        """The groups of which there is more to collect."""
        return [place for place in range(len(self.groups_)) if self.collected_[place] + 1 <= self.caps_[place]]

    def _unsure(self, place: int, curve: PowerLaw | None) -> bool:
        held = self.collected_[place]
        if held < self.pilot or curve is None:
            return True
        error = 0.0 if curve.covariance is None else math.sqrt(max(curve.covariance[1][1], 0.0))
        return bool(held < 2 * self.pilot and curve.b <= error)

    def _first_samples(self, places: Sequence[int], budget: float) -> dict[str, int]:
        given: dict[str, int] = {}
        for place in sorted(places, key=lambda p: self.collected_[p]):
            held, cost = int(self.collected_[place]), float(self.costs_[place])
            wanted = self.pilot - held if held < self.pilot else self.batch
            new = int(min(wanted, self.caps_[place] - held, budget // cost))
            if new > 0:
                given[self.groups_[place]] = new
                budget -= cost * new
        return given

    def _plan(
        self,
        found: Mapping[str, PowerLaw | None],
        budget: float,
        *,
        explore: float = 0.0,
        batches: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> Allocation:
        """Greedy over the groups that have a curve; the others, which are full, keep what they have."""
        if not budget >= 0 or math.isinf(budget):
            raise BadInput(f"the budget should be a finite number, 0 or more, not {budget}")
        counts = self.collected_.copy()
        known = [place for place, name in enumerate(self.groups_) if found[name] is not None]
        curves = [curve for name in self.groups_ if (curve := found[name]) is not None]
        if not known:
            return Allocation(counts, (), math.nan, float(self.costs_ @ counts))
        plan = greedy_allocation(
            curves,
            budget + float(self.costs_[known] @ counts[known]),
            costs=self.costs_[known],
            weights=self.group_weights_[known],
            utility=self.utility,
            start=counts[known],
            caps=self.caps_[known],
            batch=self.batch,
            batches=batches,
            ties="fewest",  # curves that are all flat promise nothing: even the counts out
            exploration=explore,
            rng=rng,
        )
        counts[known] = plan.counts
        return Allocation(counts, tuple(known[p] for p in plan.order), plan.utility, float(self.costs_ @ counts))

    def _share(self, counts: np.ndarray) -> None:
        total = int(counts.sum())
        self.weights_ = counts / total if total else np.full(len(counts), 1 / len(counts))

    def _shown(self, performance: float) -> float:
        return performance if self.higher_is_better else -performance


def value_of(performance: Mapping[str, float], sampler: EquitableSampling) -> float:
    """The utility of measured performances, by the weights and the utility of a sampler."""
    return utility_of([performance[name] for name in sampler.groups_], sampler.group_weights_, sampler.utility)


def draw_rows(
    pool: Pool,
    allocation: Mapping[str, int],
    *,
    taken: Sequence[int] = (),
    rng: np.random.Generator | int | None = None,
) -> np.ndarray:
    """Random rows of a pool, as many of each group as an allocation says.

    Args:
        pool: with groups.
        allocation: group name -> new rows.
        taken: rows that are used already.
        rng: a Generator, or a seed for one; None draws a fresh seed.

    Returns:
        int64 rows, group after group.

    Raises:
        BadInput: the pool has no groups, lacks a group that should get rows, or has too few rows of one.
    """
    pool.need("groups")
    assert pool.groups is not None
    generator = np.random.default_rng(rng)
    free = np.ones(len(pool), dtype=bool)
    free[np.asarray(taken, dtype=np.int64)] = False
    chosen = [np.zeros(0, dtype=np.int64)]
    for name, count in allocation.items():
        if count < 0:
            raise BadInput(f"the allocation gives group '{name}' {count} rows; it should be 0 or more")
        if not count:
            continue
        if name not in pool.group_names:
            raise BadInput(
                f"{pool.source} has no rows of group '{name}'; its groups are {', '.join(pool.group_names)}. "
                "Set the group's cap to what was collected"
            )
        rows = np.flatnonzero(free & (pool.groups == pool.group_names.index(name)))
        if len(rows) < count:
            raise BadInput(
                f"{pool.source} has {len(rows)} rows of group '{name}' left, the allocation asks for {count}; "
                "set its cap to what there is"
            )
        chosen.append(generator.choice(rows, count, replace=False))
    return np.concatenate(chosen).astype(np.int64)
