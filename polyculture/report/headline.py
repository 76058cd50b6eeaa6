"""The numbers at the top of a report: each measure of the pool, the choice, and other choices of the same size."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from polyculture.measure.on_pool import Measurement, measure_pool
from polyculture.methods import table
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.report.content import Headline, Value
from polyculture.report.evidence import EXACT_NEIGHBOURS, NEAR
from polyculture.reproductions.finding import Interval
from polyculture.space.neighbors import nearest_neighbors

WHOLE = "whole pool"
CHOSEN = "chosen"
TEXT_ROWS = 100_000


class Told(NamedTuple):
    """What a page says of a measure: its name there, what it counts, and which direction is better."""

    name: str
    meaning: str
    higher_is_better: bool | None


MEASURES: Mapping[str, Told] = {
    "vendi": Told(
        "Vendi score",
        "How many entirely different records the set amounts to. It grows with size: compare with choices of the same "
        "size.",
        True,
    ),
    "mean-reward": Told("mean quality", "The mean of the quality given to each record.", True),
    "coverage": Told(
        "coverage", "Mean similarity of the pool's records to the nearest chosen one: 1 if nothing is lost.", True
    ),
    "near-duplicates": Told(
        "near duplicates", f"Share of records with another at cosine similarity {NEAR} or more in the same set.", False
    ),
    "group-balance.effective": Told(
        "effective groups", "How many equally large groups it amounts to: 1 if one group has all.", True
    ),
    "mattr": Told("vocabulary", "Share of different words in a window of 50 words, on average.", True),
    "compression-ratio": Told(
        "compression ratio", "How many times smaller the texts get when compressed: redundant texts shrink most.", False
    ),
}
"""The page's own words for the measures it takes by itself; others are told in the words of their docstrings."""

TEXT_MEASURES = ("mattr", "compression-ratio")
TAKEN = ("vendi", "mean-reward", "group-balance", *TEXT_MEASURES)


def measure_selections(
    pool: Pool,
    selections: Mapping[str, np.ndarray],
    names: Sequence[str] | None,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Measurement]:
    """Measures of each selection of rows, with intervals for the pool and the choice.

    Args:
        pool: what the rows are of.
        selections: name -> row indices.
        names: of measures; None takes the page's own, without those of texts above ``TEXT_ROWS`` rows.
        seed: of measures that draw.
        progress: told what is being measured.
    """
    if names is None:
        names = [name for name in TAKEN if len(pool) <= TEXT_ROWS or name not in TEXT_MEASURES]
    found = {}
    for done, (name, rows) in enumerate(selections.items()):
        progress(f"measuring {name}", done, len(selections))
        if len(rows):
            part = pool if name == WHOLE else pool.take(rows)
            found[name] = measure_pool(part, names, intervals=name in (WHOLE, CHOSEN), rng=seed)
    return found


def neighbour_measures(
    pool: Pool, selections: Mapping[str, np.ndarray], sample: np.ndarray
) -> dict[str, dict[str, Value]]:
    """Share of near duplicates within each selection, and how near the sampled rows are to each selection.

    Args:
        pool: with embeddings.
        selections: name -> row indices.
        sample: rows of the pool that are looked at, all of them or a random part.
    """
    duplicated: dict[str, Value] = {}
    covered: dict[str, Value] = {}
    for name, rows in selections.items():
        if len(rows) > 1:
            inside = sample if name == WHOLE else rows[:: -(-len(rows) // len(sample))]
            duplicated[name] = Value(float((_nearest_other(pool.X, rows, inside) >= NEAR).mean()))
        if name != WHOLE and len(rows):
            distance, _ = nearest_neighbors(pool.X[rows], 1, queries=pool.X[sample], exclude_self=False)
            covered[name] = _mean(1 - distance[:, 0].astype(np.float64))
    return {"coverage": covered, "near-duplicates": duplicated}


def headline(
    measured: Mapping[str, Measurement],
    facts: Mapping[str, Mapping[str, Value]],
    baselines: Mapping[str, Sequence[str]],
) -> list[Headline]:
    """One line a measure: those that the page has words for first, in that order.

    Args:
        measured: selection -> its measurement.
        facts: measure -> selection -> value, for what no measurement holds.
        baselines: name of a choice beside -> the selections that are draws of it, which are averaged.
    """
    values: dict[str, dict[str, Value]] = {name: dict(held) for name, held in facts.items()}
    for selection, measurement in measured.items():
        for name, value in measurement.values.items():
            values.setdefault(name, {})[selection] = Value(value.value, value.low, value.high)
    if "group-balance.effective" in values:  # its parts say less
        values = {n: held for n, held in values.items() if n == "group-balance.effective" or n[:13] != "group-balance"}
    ordered = [name for name in MEASURES if values.get(name)] + [name for name in values if name not in MEASURES]
    lines = []
    for name in ordered:
        held = values[name]
        told = MEASURES.get(name) or Told(name, _meaning(name), None)
        found = {base: [held[draw] for draw in draws if draw in held] for base, draws in baselines.items()}
        others = {base: _average(draws) for base, draws in found.items() if draws}
        before, after = held.get(WHOLE), held.get(CHOSEN)
        lines.append(Headline(told.name, told.meaning, before, after, others, told.higher_is_better))
    return lines


def _meaning(name: str) -> str:
    """The first paragraph of a measure's docstring."""
    known = table("measure")
    method = name if name in known else name.partition(".")[0]
    if method not in known:
        return ""
    return " ".join((inspect.getdoc(known[method]) or "").split("\n\n")[0].split())


def _average(draws: Sequence[Value]) -> Value:
    """The mean of several draws with its interval; one draw as it is."""
    values = [draw.value for draw in draws if draw.value is not None]
    if len(draws) == 1 or not values:
        return draws[0]
    interval = Interval.of(values)
    return Value(interval.mean, interval.low, interval.high)


def _mean(values: np.ndarray) -> Value:
    mean = float(values.mean())
    if len(values) < 2:
        return Value(mean)
    half = 1.96 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return Value(mean, mean - half, mean + half)


def _nearest_other(X: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Similarity of each query row to the nearest other one of ``rows``; the queries are among the rows."""
    distance, index = nearest_neighbors(
        X[rows], 2, queries=X[queries], exclude_self=False, approximate=len(rows) > EXACT_NEIGHBOURS
    )
    own = rows[index[:, 0]] == queries
    return 1 - np.where(own, distance[:, 1], distance[:, 0]).astype(np.float64)
