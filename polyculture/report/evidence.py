"""The records a report shows as evidence: near duplicates, typical ones, and those that were not chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from polyculture.pool import Pool
from polyculture.report.content import Duplicate, Example, GroupRow, Rejection
from polyculture.report.points import texts_of
from polyculture.space.kernels import unit_rows
from polyculture.space.neighbors import nearest_neighbors

NEAR = 0.95
EXACT_NEIGHBOURS = 200_000
SNIPPET = 600


def duplicates(pool: Pool, chosen: np.ndarray, sample: np.ndarray, *, most: int = 20) -> dict[str, Any]:
    """The most similar pairs: the nearest other row of each sampled row, best first, each pair once."""
    n = len(pool)
    if n < 2:
        return {}
    distance, index = nearest_neighbors(
        pool.X, 2, queries=pool.X[sample], exclude_self=False, approximate=n > EXACT_NEIGHBOURS
    )
    column = (index[:, 0] == sample).astype(np.int64)
    other = index[np.arange(len(sample)), column]
    similarity = 1 - distance[np.arange(len(sample)), column].astype(np.float64)
    pairs = np.sort(np.column_stack([sample, other]), axis=1)
    ranked = np.lexsort((pairs[:, 1], pairs[:, 0], -similarity))
    _, first = np.unique(pairs[ranked], axis=0, return_index=True)
    best = ranked[np.sort(first)][:most]
    is_chosen = np.zeros(n, dtype=bool)
    is_chosen[chosen] = True
    texts = texts_of(pool, pairs[best].reshape(-1), SNIPPET)
    rows = [
        Duplicate(
            min(1.0, float(similarity[at])),
            int(pairs[at, 0]),
            int(pairs[at, 1]),
            texts[2 * i],
            texts[2 * i + 1],
            bool(is_chosen[pairs[at, 0]]),
            bool(is_chosen[pairs[at, 1]]),
        )
        for i, at in enumerate(best)
    ]
    near = int((similarity >= NEAR).sum())
    of = "records" if len(sample) == n else "records looked at"
    note = (
        f"{near:,} of {len(sample):,} {of} have another at cosine similarity {NEAR} or more. "
        f"These are the {len(rows)} most similar pairs, each a record and its nearest other."
    )
    return {"duplicates": rows, "duplicates_note": note}


def typical(pool: Pool, chosen: np.ndarray, *, most: int = 10) -> dict[str, Any]:
    """The records with the highest and the lowest mean cosine similarity to the pool: fields of the report."""
    rows = unit_rows(pool.X)
    score = rows @ rows.mean(axis=0)
    ranked = np.argsort(-score, kind="stable")
    is_chosen = np.zeros(len(pool), dtype=bool)
    is_chosen[chosen] = True
    most = min(most, len(pool))
    note = (
        "Typical is measured as mean cosine similarity to every record of the pool, the number beside each. The least "
        "typical are the rarest kinds, or records that do not belong."
    )
    return {
        "typical": _examples(pool, ranked[:most], score, is_chosen),
        "atypical": _examples(pool, ranked[::-1][:most], score, is_chosen),
        "typical_note": note,
    }


def _examples(pool: Pool, rows: np.ndarray, score: np.ndarray | None, is_chosen: np.ndarray | None) -> list[Example]:
    return [
        Example(
            int(row),
            text,
            None if score is None else float(score[row]),
            None if is_chosen is None else bool(is_chosen[row]),
            "" if pool.groups is None else pool.group_names[pool.groups[row]],
        )
        for row, text in zip(rows, texts_of(pool, rows, SNIPPET), strict=True)
    ]


def groups(pool: Pool, chosen: np.ndarray) -> list[GroupRow]:
    """Each group's size in the pool and among the chosen rows, largest first."""
    assert pool.groups is not None
    size = len(pool.group_names)
    before = np.bincount(pool.groups, minlength=size)
    after = np.bincount(pool.groups[chosen], minlength=size)
    ranked = np.argsort(-before, kind="stable")
    return [GroupRow(pool.group_names[code], int(before[code]), int(after[code])) for code in ranked]


def rejected(pool: Pool, chosen: np.ndarray, rng: np.random.Generator) -> list[Rejection]:
    """The rows that were not chosen, sorted by what can be measured of them: too near to a chosen one, or too poor."""
    rest = np.setdiff1d(np.arange(len(pool)), chosen)
    if not len(rest) or not len(chosen):
        return []
    kinds: list[tuple[str, str, np.ndarray, np.ndarray | None]] = []
    left = np.ones(len(rest), dtype=bool)
    if pool.embeddings is not None:
        similarity = np.zeros(len(pool))
        for block in np.array_split(rest, max(1, len(rest) // 65_536)):
            distance, _ = nearest_neighbors(
                pool.X[chosen], 1, queries=pool.X[block], exclude_self=False, approximate=len(pool) > EXACT_NEIGHBOURS
            )
            similarity[block] = 1 - distance[:, 0]
        near = similarity[rest] >= NEAR
        meaning = f"A chosen record is at cosine similarity {NEAR} or more; the examples are the nearest."
        kinds.append(("says nearly what a chosen record says", meaning, rest[near], similarity))
        left &= ~near
    if pool.quality is not None:
        bound = float(np.quantile(pool.quality[chosen], 0.05))
        poor = left & (pool.quality[rest] < bound)
        meaning = f"Quality below {bound:.3g}, which 95 % of the chosen records reach."
        kinds.append(("of lower quality than what was chosen", meaning, rest[poor], pool.quality))
        left &= ~poor
    meaning = "Neither of the above: there was room for others that served the choice better."
    kinds.append(("left when the places were taken", meaning if kinds else "", rest[left], None))
    found = []
    for name, meaning, rows, score in kinds:
        if len(rows):
            shown = rng.choice(rows, min(3, len(rows)), replace=False)
            if score is not None:
                way = -score if name.startswith("says") else score
                shown = rows[np.argsort(way[rows], kind="stable")[:3]]
            found.append(Rejection(name, len(rows), meaning, _examples(pool, shown, score, None)))
    return sorted(found, key=lambda rejection: -rejection.count)
