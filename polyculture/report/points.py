"""The map of a pool: which rows are shown, where, and what is said of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from polyculture.errors import unknown
from polyculture.pool import Pool
from polyculture.records import NoRecords
from polyculture.report.content import Points
from polyculture.space.kernels import unit_rows
from polyculture.space.neighbors import nearest_neighbors

MapMethod = Literal["pca", "tsne"]
FIT_ROWS = 50_000
CHOSEN_SHARE = 0.6


def map_points(
    pool: Pool,
    chosen: np.ndarray,
    *,
    method: MapMethod = "pca",
    max_points: int = 5000,
    text_limit: int = 2000,
    reasons: Mapping[int, str] | None = None,
    rng: np.random.Generator | int | None = 0,
) -> Points:
    """Place the rows of a pool on a plane and say of each why it was chosen or not.

    Args:
        pool: with embeddings; its quality, groups and texts are shown where it has them.
        chosen: row indices in order of choice.
        method: "pca" projects on the two directions of largest variance; "tsne" keeps neighbours together, on the
            points shown only.
        max_points: most points on the map.
        text_limit: characters kept of each text.
        reasons: row -> why it was chosen or not, as the selector tells it; facts about the row follow it.
        rng: draws the sample.

    Raises:
        UnknownMethod: ``method`` is neither "pca" nor "tsne".
        BadInput: the pool has no embeddings.
    """
    if method not in ("pca", "tsne"):
        raise unknown("map method", method, ("pca", "tsne"))
    generator = np.random.default_rng(rng)
    rows = sample_rows(len(pool), chosen, pool.groups, max_points, generator)
    order = np.zeros(len(pool), dtype=np.int64)
    order[chosen] = np.arange(1, len(chosen) + 1)
    xy, how = _place(pool.X, rows, method, generator)
    return Points(
        x=xy[:, 0].tolist(),
        y=xy[:, 1].tolist(),
        row=rows.tolist(),
        order=order[rows].tolist(),
        group=[] if pool.groups is None else pool.groups[rows].tolist(),
        quality=[] if pool.quality is None else pool.quality[rows].tolist(),
        texts=texts_of(pool, rows, text_limit),
        reasons=_reasons(pool, chosen, rows, order, reasons or {}),
        group_names=pool.group_names,
        method=how,
        shown=_shown(len(pool), len(chosen), rows, order),
        text_limit=text_limit,
    )


def sample_rows(
    n: int, chosen: np.ndarray, groups: np.ndarray | None, max_points: int, rng: np.random.Generator
) -> np.ndarray:
    """At most ``max_points`` of n rows, sorted: every chosen one where they fit, the others evenly within groups.

    Chosen rows take at most 60 % of the points, or what the others leave; each group of the others keeps its share,
    rounded, and at least one point.
    """
    if n <= max_points:
        return np.arange(n)
    is_chosen = np.zeros(n, dtype=bool)
    is_chosen[chosen] = True
    others = np.flatnonzero(~is_chosen)
    room = max(int(CHOSEN_SHARE * max_points), max_points - len(others))
    kept = np.asarray(chosen) if len(chosen) <= room else rng.choice(chosen, room, replace=False)
    places = max_points - len(kept)
    codes = np.zeros(len(others), dtype=np.int64) if groups is None else groups[others]
    # A random order within each group, then rank over group size: the lowest are an even sample of every group.
    shuffled = rng.permutation(len(others))
    sorted_by_group = shuffled[np.argsort(codes[shuffled], kind="stable")]
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ranks = np.arange(len(others)) - np.repeat(starts, counts)
    even = np.where(ranks == 0, -1.0, (ranks + 0.5) / np.repeat(counts, counts))
    taken = others[sorted_by_group[np.argsort(even, kind="stable")[:places]]]
    return np.sort(np.concatenate([kept, taken]).astype(np.int64))


def texts_of(pool: Pool, rows: np.ndarray, limit: int) -> list[str]:
    """What is shown of each row, cut at ``limit`` characters: its text, or else the record as it was read."""
    if pool.texts is not None:
        texts = pool.texts.take(rows).to_list()
    elif isinstance(pool.records, NoRecords):
        return [f"row {row}" for row in rows]
    else:
        texts = list(pool.records.take(rows).lines())
    return [
        text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)" for text in texts
    ]


def _place(X: np.ndarray, rows: np.ndarray, method: MapMethod, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """(m, 2) float64 coordinates of the rows, and how they were made, in a sentence."""
    from sklearn.decomposition import PCA

    if len(X) == 1:
        return np.zeros((1, 2)), "There is one row, at the origin."
    seed = int(rng.integers(2**31))
    shown = unit_rows(np.asarray(X[rows], dtype=np.float64))
    fitted = shown
    if len(X) > len(rows):
        fitted = unit_rows(np.asarray(X[_some(len(X), FIT_ROWS, rng)], dtype=np.float64))
    if method == "tsne" and len(rows) > 3:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(rows) - 1) / 3)
        first = PCA(min(50, *shown.shape), random_state=seed).fit_transform(shown)
        xy = TSNE(
            perplexity=perplexity, init="pca" if first.shape[1] > 1 else "random", random_state=seed
        ).fit_transform(first)
        return np.asarray(xy, dtype=np.float64), (
            f"Placed by t-SNE (perplexity {perplexity:.0f}) of the directions of the embeddings: neighbours stay "
            "together; distances between far groups and the sizes of clumps mean nothing."
        )
    with np.errstate(invalid="ignore"):  # rows that are all alike have no variance to explain
        pca = PCA(min(2, *fitted.shape), random_state=seed).fit(fitted)
    xy = pca.transform(shown)
    if xy.shape[1] == 1:
        xy = np.column_stack([xy, np.zeros(len(xy))])
    explained = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    return xy, (
        "Placed by PCA of the directions of the embeddings: the two axes show "
        f"{100 * explained:.0f} % of the variance, so points that overlap here may be far apart."
    )


def _reasons(
    pool: Pool, chosen: np.ndarray, rows: np.ndarray, order: np.ndarray, given: Mapping[int, str]
) -> list[str]:
    """What the selector says of each row, then what can be measured: the nearest chosen row and the quality's rank."""
    nearest = np.full(len(rows), -1, dtype=np.int64)
    similarity = np.zeros(len(rows))
    X = pool.X[chosen]
    picked = order[rows] > 0
    if len(chosen) and (~picked).any():
        distance, index = nearest_neighbors(X, 1, queries=pool.X[rows[~picked]], exclude_self=False)
        nearest[~picked], similarity[~picked] = chosen[index[:, 0]], 1 - distance[:, 0]
    if len(chosen) > 1 and picked.any():
        distance, index = nearest_neighbors(X, 1)
        at = order[rows[picked]] - 1
        nearest[picked], similarity[picked] = chosen[index[at, 0]], 1 - distance[at, 0]
    ranks = None
    if pool.quality is not None:
        ranks = np.searchsorted(np.sort(pool.quality), pool.quality[rows], side="left") / max(1, len(pool))
    said = []
    for i, row in enumerate(rows):
        parts = [given[int(row)]] if int(row) in given else []
        if nearest[i] >= 0 and (picked[i] or not parts):
            other = "other chosen record" if picked[i] else "chosen record"
            parts.append(f"The nearest {other} is row {nearest[i]:,} (similarity {similarity[i]:.2f}).")
        if ranks is not None:
            parts.append(f"Its quality is above that of {100 * ranks[i]:.0f} % of the pool.")
        said.append(" ".join(parts))
    return said


def _shown(n: int, k: int, rows: np.ndarray, order: np.ndarray) -> str:
    if len(rows) == n:
        return f"All {n:,} records are on the map."
    chosen = int((order[rows] > 0).sum())
    which = f"all {k:,} chosen ones" if chosen == k else f"{chosen:,} of the {k:,} chosen ones, drawn at random,"
    return (
        f"The map shows {len(rows):,} of {n:,} records: {which} and {len(rows) - chosen:,} of the {n - k:,} others, "
        "drawn at random in proportion to their groups."
    )


def _some(n: int, at_most: int, rng: np.random.Generator) -> np.ndarray:
    return np.arange(n) if n <= at_most else np.sort(rng.choice(n, at_most, replace=False))
