"""From a pool and a choice to the report: what is measured for the page, in one place.

Measures taken elsewhere come in as measurements; what is taken here is what the page itself needs: the map, the
spectra, the frontier, near duplicates, typical records, and the few headline numbers that follow from them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.report.content import CurationReport, Headline, Rejection, Value
from polyculture.report.evidence import EXACT_NEIGHBOURS, NEAR, duplicates, groups, rejected, typical
from polyculture.report.frontiers import frontiers, spectrum
from polyculture.report.points import MapMethod, map_points
from polyculture.space.neighbors import nearest_neighbors

QUERIES = 20_000


class Measured(Protocol):
    """Measures of one pool, as ``measure_pool`` returns them."""

    values: Mapping[str, Any]
    skipped: Mapping[str, str]


def build_curation_report(
    pool_before: Pool,
    chosen: np.ndarray,
    *,
    baselines: Mapping[str, np.ndarray] | None = None,
    method: str = "",
    title: str = "",
    parameters: Mapping[str, Any] | None = None,
    measurements: Mapping[str, Measured] | None = None,
    meanings: Mapping[str, str] | None = None,
    higher_is_better: Mapping[str, bool | None] | None = None,
    reasons: Mapping[int, str] | None = None,
    rejections: Sequence[Rejection] | None = None,
    timings: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
    created: str = "",
    map_method: MapMethod = "pca",
    max_points: int = 5000,
    seed: int = 0,
    progress: Progress = silent,
) -> CurationReport:
    """Measure what the page shows of a choice from a pool.

    Args:
        pool_before: the pool; without embeddings the page has no map, spectrum, duplicates and typical records.
        chosen: (k,) row indices in order of choice.
        baselines: name -> row indices of another choice, best of the same size, e.g. "random", "top quality".
        method: the selector's name.
        title: the page's; None given, made from the numbers.
        parameters: what was asked, option -> value.
        measurements: "before", "after" or a baseline's name -> measures of it, as ``measure_pool`` returns them.
        meanings: measure -> what it counts, in a sentence.
        higher_is_better: measure -> which direction is better, None for neither.
        reasons: row -> why it was chosen or not, as the selector tells it.
        rejections: reasons with counts and examples; None sorts the rows that were not chosen by what can be measured.
        timings: stage -> seconds; the report's own time is added.
        warnings: what a reader must know first.
        created: when, as an ISO date and time.
        map_method: "pca" or "tsne".
        max_points: most points on the map.
        seed: draws samples of large pools.
        progress: told what is being measured.

    Raises:
        BadInput: the pool is empty, or an index is out of range or repeated.
    """
    start = time.perf_counter()
    generator = np.random.default_rng(seed)
    n = len(pool_before)
    if n == 0:
        raise BadInput(f"{pool_before.source}: the pool is empty; there is nothing to report")
    chosen = _indices(chosen, n, "chosen")
    others = {name: _indices(rows, n, name) for name, rows in (baselines or {}).items()}
    selections = {"whole pool": np.arange(n), "chosen": chosen, **others}
    steps = 6
    told = list(warnings)
    progress("reasons", 0, steps)
    sorted_out, known = rejected(pool_before, chosen)
    said = {**known, **(reasons or {})}
    fields: dict[str, Any] = {}
    facts: dict[str, dict[str, Value]] = {}
    if pool_before.quality is not None:
        facts["mean quality"] = {
            name: _mean(pool_before.quality[rows]) for name, rows in selections.items() if len(rows)
        }
    if pool_before.embeddings is None:
        told.append("The pool has no embeddings: the page has no map, spectrum, near duplicates or typical records.")
    else:
        progress("spectra", 1, steps)
        fields["spectra"] = [spectrum(pool_before.X[rows], name) for name, rows in selections.items() if len(rows)]
        facts["Vendi score"] = {s.name: Value(s.effective) for s in fields["spectra"]}
        progress("frontiers", 2, steps)
        fields |= frontiers(pool_before, {name: rows for name, rows in selections.items() if name != "whole pool"})
        progress("nearest neighbours", 3, steps)
        sample = np.arange(n) if n <= QUERIES else np.sort(generator.choice(n, QUERIES, replace=False))
        fields |= duplicates(pool_before, chosen, sample)
        facts |= _neighbour_facts(pool_before, selections, sample)
        progress("typical records", 4, steps)
        fields |= typical(pool_before, chosen)
        progress("map", 5, steps)
        fields["points"] = map_points(
            pool_before, chosen, method=map_method, max_points=max_points, reasons=said, rng=generator
        )
        if n > QUERIES:
            told.append(
                f"Near duplicates and coverage were measured on {QUERIES:,} of the {n:,} records, drawn at random"
                + (", with an approximate index." if n > EXACT_NEIGHBOURS else ".")
            )
    if pool_before.groups is not None:
        fields["groups"] = groups(pool_before, chosen)
    progress("report", steps, steps)
    skipped = {name: why for held in (measurements or {}).values() for name, why in held.skipped.items()}
    return CurationReport(
        title=title or f"{len(chosen):,} of {n:,} records from {pool_before.source}",
        source=pool_before.source,
        n=n,
        k=len(chosen),
        method=method,
        embedder=pool_before.embedder or "",
        created=created,
        parameters=dict(parameters or {}),
        versions=versions(),
        headline=[
            *_own_headline(facts, list(others)),
            *_headline(measurements or {}, list(others), meanings or {}, higher_is_better or {}, set(facts)),
        ],
        rejections=sorted_out if rejections is None else rejections,
        timings={**(timings or {}), "report": time.perf_counter() - start},
        warnings=told,
        skipped=skipped,
        **fields,
    )


def versions() -> dict[str, str]:
    """The versions of what made the numbers."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from polyculture import __version__

    found = {"polyculture": __version__, "python": platform.python_version()}
    for package in ("numpy", "scikit-learn", "faiss-cpu", "torch", "sentence-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _indices(rows: Any, n: int, name: str) -> np.ndarray:
    held = np.asarray(rows, dtype=np.int64).reshape(-1)
    if len(held) and (held.min() < 0 or held.max() >= n):
        raise BadInput(
            f"{name}: row indices should be between 0 and {n - 1}, these reach {held.min()} and {held.max()}"
        )
    if len(np.unique(held)) != len(held):
        raise BadInput(f"{name}: a row is there twice; choose without repeats")
    return held


def _mean(values: np.ndarray) -> Value:
    mean = float(values.mean())
    if len(values) < 2:
        return Value(mean)
    half = 1.96 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return Value(mean, mean - half, mean + half)


def _share(hits: np.ndarray) -> Value:
    return Value(float(hits.mean())) if len(hits) else Value(None)


def _neighbour_facts(
    pool: Pool, selections: Mapping[str, np.ndarray], sample: np.ndarray
) -> dict[str, dict[str, Value]]:
    """Share of near duplicates within each selection, and how near the pool's rows are to each selection."""
    duplicated: dict[str, Value] = {}
    covered: dict[str, Value] = {}
    for name, rows in selections.items():
        if len(rows) > 1:
            inside = rows if len(rows) <= len(sample) else sample
            duplicated[name] = _share(_nearest_other(pool.X, rows, inside) >= NEAR)
        if name != "whole pool" and len(rows):
            distance, _ = nearest_neighbors(pool.X[rows], 1, queries=pool.X[sample], exclude_self=False)
            covered[name] = _mean(1 - distance[:, 0].astype(np.float64))
    return {"near duplicates": duplicated, "coverage": covered}


def _nearest_other(X: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Similarity of each query row to the nearest other one of ``rows``; the queries are among the rows."""
    distance, index = nearest_neighbors(
        X[rows], 2, queries=X[queries], exclude_self=False, approximate=len(rows) > EXACT_NEIGHBOURS
    )
    own = rows[index[:, 0]] == queries
    return 1 - np.where(own, distance[:, 1], distance[:, 0]).astype(np.float64)


def _own_headline(facts: Mapping[str, Mapping[str, Value]], baselines: Sequence[str]) -> list[Headline]:
    told = {
        "Vendi score": (
            "How many entirely different records the set amounts to. It grows with size: compare with other choices "
            "of the same size.",
            True,
        ),
        "mean quality": ("The mean of the quality given to each record.", True),
        "coverage": ("Mean similarity of the pool's records to the nearest chosen one: 1 if nothing is lost.", True),
        "near duplicates": (
            f"Share of records with another at cosine similarity {NEAR} or more in the same set.",
            False,
        ),
    }
    return [
        Headline(
            name,
            meaning,
            facts[name].get("whole pool"),
            facts[name].get("chosen"),
            {base: facts[name][base] for base in baselines if base in facts[name]},
            higher,
        )
        for name, (meaning, higher) in told.items()
        if name in facts
    ]


def _headline(
    measurements: Mapping[str, Measured],
    baselines: Sequence[str],
    meanings: Mapping[str, str],
    higher: Mapping[str, bool | None],
    taken: set[str],
) -> list[Headline]:
    names = dict.fromkeys(name for held in measurements.values() for name in held.values if name not in taken)

    def value(who: str, name: str) -> Value | None:
        held = measurements[who].values.get(name) if who in measurements else None
        if held is None:
            return None
        if isinstance(held, (int, float, np.number)):
            return Value(float(held))
        return Value(*(None if number is None else float(number) for number in (held.value, held.low, held.high)))

    lines = []
    for name in names:
        found = {base: value(base, name) for base in baselines}
        present = {base: held for base, held in found.items() if held is not None}
        lines.append(
            Headline(
                name, meanings.get(name, ""), value("before", name), value("after", name), present, higher.get(name)
            )
        )
    return lines
