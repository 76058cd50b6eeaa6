"""Several selectors on one pool: what each choice is worth, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.select.base import Selector

Measure = Callable[[Pool, Pool], float]
"""(the whole pool, the chosen part) -> a number."""


def vendi(pool: Pool, part: Pool) -> float:
    """Effective number of distinct rows chosen: the Vendi score of the chosen embeddings, cosine kernel."""
    from polyculture.measure.vendi import vendi_score

    return float(vendi_score(part.X))


def mean_quality(pool: Pool, part: Pool) -> float:
    """Mean quality of the rows chosen."""
    return float(part.q.mean())


def group_coverage(pool: Pool, part: Pool) -> float:
    """Share of the pool's groups that have a row among those chosen."""
    pool.need("groups")
    assert pool.groups is not None and part.groups is not None
    return len(np.unique(part.groups)) / len(np.unique(pool.groups))


def effective_groups(pool: Pool, part: Pool) -> float:
    """Effective number of groups chosen, exp(entropy): as many as groups if all are even, 1 if there is one."""
    part.need("groups")
    assert part.groups is not None
    shares = np.unique(part.groups, return_counts=True)[1] / len(part)
    return float(np.exp(-(shares * np.log(shares)).sum()))


MEASURES: Mapping[str, tuple[str, Measure]] = {
    "vendi": ("embeddings", vendi),
    "mean quality": ("quality", mean_quality),
    "group coverage": ("groups", group_coverage),
    "effective groups": ("groups", effective_groups),
}
"""Name -> the field it needs, and the measure."""


@dataclass(frozen=True)
class Row:
    """One selector at one budget.

    Args:
        selector: the name it was given.
        k: the budget.
        chosen: rows it chose, which a filter may leave fewer than k.
        values: measure -> value.
        seconds: wall time of the selection.
    """

    selector: str
    k: int
    chosen: np.ndarray
    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Every selector at every budget, and the whole pool for reference."""

    rows: Sequence[Row]
    pool: Mapping[str, float]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The table as JSON-able values, without the chosen rows."""
        return {
            "rows": [
                {"selector": r.selector, "k": r.k, "chosen": len(r.chosen), **r.values, "seconds": r.seconds}
                for r in self.rows
            ],
            "pool": dict(self.pool),
            "skipped": dict(self.skipped),
        }


def compare(
    pool: Pool,
    selectors: Mapping[str, Selector],
    k: int | Sequence[int],
    *,
    rng: int | None = 0,
    measures: Mapping[str, Measure] | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Run selectors on one pool and measure what each chose.

    Args:
        pool: what to choose from.
        selectors: name -> selector.
        k: the budget, or several.
        rng: seed; every selector gets the same one.
        measures: name -> measure of (pool, chosen part); None takes Vendi score, mean quality, group coverage and
            effective groups, those that the pool has the fields for, and says in ``skipped`` which it has not.
        progress: told which selector runs.

    Raises:
        BadInput: there is no selector, or a selector can't use the pool.
    """
    if not selectors:
        raise BadInput("there is nothing to compare; name at least one selector")
    budgets = [k] if isinstance(k, (int, np.integer)) else list(k)
    skipped: dict[str, str] = {}
    if measures is None:
        for name, (needed, _) in MEASURES.items():
            if getattr(pool, needed) is None:
                skipped[name] = f"the pool has no {needed}"
        measures = {name: measure for name, (_, measure) in MEASURES.items() if name not in skipped}
    rows: list[Row] = []
    for budget in budgets:
        for name, selector in selectors.items():
            progress(f"{name}, k = {budget}", len(rows), len(budgets) * len(selectors))
            start = time.perf_counter()
            chosen = selector.select(pool, budget, rng=rng)
            seconds = time.perf_counter() - start
            part = pool.take(chosen)
            values = {title: measure(pool, part) for title, measure in measures.items()}
            rows.append(Row(name, int(budget), chosen, values, seconds))
    progress("compared", len(rows), len(rows))
    return Comparison(rows, {title: measure(pool, pool) for title, measure in measures.items()}, skipped)
