"""From a pool and a choice to the report: everything the page shows, measured in one place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.report.content import CurationReport, Rejection, Value
from polyculture.report.evidence import EXACT_NEIGHBOURS, duplicates, groups, rejected, sentence, typical
from polyculture.report.frontiers import frontiers, spectrum
from polyculture.report.headline import CHOSEN, WHOLE, headline, measure_selections, neighbour_measures
from polyculture.report.points import MapMethod, map_points
from polyculture.versions import versions

QUERIES = 20_000


def build_curation_report(
    pool_before: Pool,
    chosen: np.ndarray,
    *,
    baselines: Mapping[str, np.ndarray | Sequence[np.ndarray]] | None = None,
    method: str = "",
    title: str = "",
    parameters: Mapping[str, Any] | None = None,
    measures: Sequence[str] | None = None,
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
        baselines: name -> row indices of another choice, best of the same size, e.g. "random", "top-quality"; or a list
            of such, one a draw: the headline then has their mean with its interval, the plots show the first.
        method: the selector's name.
        title: the page's; None given, made from the numbers.
        parameters: what was asked, option -> value.
        measures: of the table of measures, taken of the pool, the choice and each baseline; None takes the page's own.
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
    labels: dict[str, list[str]] = {}
    draws: dict[str, np.ndarray] = {}
    for name, given in (baselines or {}).items():
        several = isinstance(given, (list, tuple)) and bool(given) and np.ndim(given[0]) == 1
        rows_of = list(given) if several else [given]
        labels[name] = [name, *(f"{name}, draw {i}" for i in range(2, len(rows_of) + 1))]
        draws |= {label: _indices(rows, n, name) for label, rows in zip(labels[name], rows_of, strict=True)}
    others = {name: draws[name] for name in labels}
    selections = {WHOLE: np.arange(n), CHOSEN: chosen, **others}
    steps = 6
    told = list(warnings)
    progress("reasons", 0, steps)
    sorted_out, known = rejected(pool_before, chosen)
    said = {**known, **{row: sentence(text) for row, text in (reasons or {}).items()}}
    fields: dict[str, Any] = {}
    facts: dict[str, dict[str, Value]] = {}
    drawn = {WHOLE: selections[WHOLE], CHOSEN: chosen, **draws}
    measured = measure_selections(pool_before, drawn, measures, seed=seed, progress=progress)
    if pool_before.embeddings is None:
        told.append("The pool has no embeddings: the page has no map, spectrum, near duplicates or typical records.")
    else:
        progress("spectra", 1, steps)
        fields["spectra"] = [spectrum(pool_before.X[rows], name) for name, rows in selections.items() if len(rows)]
        progress("frontiers", 2, steps)
        fields |= frontiers(pool_before, {name: rows for name, rows in selections.items() if name != WHOLE})
        progress("nearest neighbours", 3, steps)
        sample = np.arange(n) if n <= QUERIES else np.sort(generator.choice(n, QUERIES, replace=False))
        fields |= duplicates(pool_before, chosen, sample)
        facts |= neighbour_measures(pool_before, drawn, sample)
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
    skipped = {name: why for held in measured.values() for name, why in held.skipped.items()}
    told += dict.fromkeys(note for held in measured.values() for notes in held.notes.values() for note in notes)
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
        headline=headline(measured, facts, labels),
        rejections=sorted_out if rejections is None else rejections,
        timings={**(timings or {}), "report": time.perf_counter() - start},
        warnings=told,
        skipped=skipped,
        **fields,
    )


def _indices(rows: Any, n: int, name: str) -> np.ndarray:
    held = np.asarray(rows, dtype=np.int64).reshape(-1)
    if len(held) and (held.min() < 0 or held.max() >= n):
        raise BadInput(
            f"{name}: row indices should be between 0 and {n - 1}, these reach {held.min()} and {held.max()}"
        )
    if len(np.unique(held)) != len(held):
        raise BadInput(f"{name}: a row is there twice; choose without repeats")
    return held
