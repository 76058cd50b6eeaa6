"""The records a report shows as evidence: near duplicates, typical ones, and those that were not chosen."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from polyculture.pool import Pool
from polyculture.report.content import Duplicate, Example, GroupRow, Rejection
from polyculture.report.points import texts_of
from polyculture.select.reasons import Kind, Reason, reasons
from polyculture.space.kernels import unit_rows
from polyculture.space.neighbors import nearest_neighbors

NEAR = 0.95
EXACT_NEIGHBOURS = 200_000
SNIPPET = 600
REASONS_ROWS = 50_000
# What a page calls each kind of reason, and what it means.
KINDS: dict[Kind, tuple[str, str]] = {
    "near-duplicate": ("near-duplicate of a chosen record", "A chosen record says nearly the same."),
    "lower quality": (
        "lower quality than what was chosen",
        "The chosen record most like it is better; or every chosen record is.",
    ),
    "covered": ("covered by a chosen record", "A chosen record is close enough to stand for it."),
    "not needed": (
        "not needed",
        "None of the other reasons applies: the places were taken by records that served the choice better.",
    ),
}


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


def rejected(pool: Pool, chosen: np.ndarray) -> tuple[list[Rejection], dict[int, str]]:
    """The rows that were not chosen, counted by kind of reason with examples, and the reason of each row looked at.

    Above ``REASONS_ROWS`` rejected rows every so manieth is looked at, and the counts are of those.
    """
    found = reasons(pool, chosen)
    step = -(-len(found) // REASONS_ROWS)
    held = found[::step] if step > 1 else list(found)
    kinds: dict[Kind, list[Reason]] = {}
    for reason in held:
        kinds.setdefault(reason.kind, []).append(reason)
    rejections = []
    for kind, members in sorted(kinds.items(), key=lambda item: -len(item[1])):
        # The clearest cases: most like a chosen row, or, where that does not matter, spread over the members.
        shown = sorted(members, key=lambda reason: -(reason.similarity or 0))[:3]
        if kind == "not needed":
            shown = members[:: max(1, len(members) // 3)][:3]
        rows = np.array([reason.row for reason in shown], dtype=np.int64)
        examples = [
            dataclasses.replace(example, note=sentence(reason.text))
            for example, reason in zip(_examples(pool, rows, None, None), shown, strict=True)
        ]
        called, meaning = KINDS[kind]
        meaning += f" Counted among every {step:,}th record that was not chosen." if step > 1 else ""
        rejections.append(Rejection(called, len(members), meaning, examples))
    return rejections, {reason.row: sentence(reason.text) for reason in held}


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
