"""Near-duplicates: one row of each group of rows that say the same.

By text: MinHash over word shingles (Broder 1997) with locality-sensitive hashing, as in Lee et al., Deduplicating
Training Data Makes Language Models Better (2022), Section 4.2; every candidate pair is then checked exactly.
By embedding: cosine similarity, as in Abbas et al., SemDeDup (2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.select.base import Selector

By = Literal["texts", "embeddings"]
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
WORD = re.compile(r"\w+|[^\w\s]")  # signs count: 5 - 3 is not 5 + 3


@dataclass(eq=False)
class NearDuplicates(Selector):
    """Keeps the best row of each group of near-duplicates: in order of quality, or of rows where there is none.

    Going down that order, a row is dropped if it is a near-duplicate of a row kept before it. So every dropped row has
    a near-duplicate that was kept, and no two kept rows are near-duplicates (by text: none that the hashing found; at
    the threshold it finds a pair with probability over a half, well above it nearly always). The first k are
    returned; fewer when fewer are left. Source: Lee et al. (2022), Section 4.2; SemDeDup (2023), Section 3.

    Args:
        threshold: similarity from which two rows are near-duplicates, in (0, 1]: Jaccard of word shingles, or cosine.
        by: compare "texts" or "embeddings".
        shingle: words of a shingle.
        permutations: hash functions of MinHash.
    """

    threshold: float = 0.8
    by: By = "texts"
    shingle: int = 3
    permutations: int = 128
    needs: ClassVar[tuple[str, ...]] = ()
    may_return_fewer: ClassVar[bool] = True

    def required(self) -> tuple[str, ...]:
        """Texts or embeddings, whichever are compared."""
        return (self.by,)

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        kept = duplicate_groups(
            pool, self.threshold, by=self.by, shingle=self.shingle, permutations=self.permutations
        ) == np.arange(len(pool))
        order = _order(pool)
        return order[kept[order]][:k]


def nearest_duplicates(
    pool: Pool,
    threshold: float = 0.8,
    *,
    by: By = "texts",
    shingle: int = 3,
    permutations: int = 128,
    progress: Progress = silent,
) -> Pairs:
    """Pairs of near-duplicate rows: i < j, and their similarity.

    Rows that are equal (the same words and signs but for case and spaces, or the same vector) are paired with the
    first of them only, and only that first one is compared with the rest, so that a thousand copies make 999 pairs and
    not half a million.

    Args:
        pool: with texts or embeddings.
        threshold: smallest similarity, in (0, 1]: Jaccard of word shingles, or cosine.
        by: compare "texts" or "embeddings".
        shingle: words of a shingle; a text of fewer words is one shingle.
        permutations: hash functions of MinHash.
        progress: told how many rows are hashed.

    Returns:
        (m,) int64 rows i, (m,) int64 rows j, (m,) float32 similarities, in order of i and j.

    Raises:
        BadInput: the pool lacks the field, or an option is out of range.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"threshold is a similarity and should be above 0 and at most 1, not {threshold}")
    if shingle < 1 or permutations < 2:
        raise BadInput(f"shingle should be 1 or more and permutations 2 or more, not {shingle} and {permutations}")
    if by not in ("texts", "embeddings"):
        raise unknown("way to compare", by, ("texts", "embeddings"))
    pool.need(by)
    if by == "embeddings":
        firsts, copies = _equal_rows(np.ascontiguousarray(pool.X))
        from polyculture.space.neighbors import pairs_above

        i, j, similarity = pairs_above(pool.X[firsts], threshold)
        pairs = firsts[i], firsts[j], np.minimum(similarity, 1)
    else:
        firsts, copies, pairs = _text_pairs(pool, threshold, shingle, permutations, progress)
    repeated = np.flatnonzero(copies != np.arange(len(copies)))
    i = np.concatenate([pairs[0], copies[repeated]])
    j = np.concatenate([pairs[1], repeated])
    similarity = np.concatenate([pairs[2], np.ones(len(repeated))])
    i, j = np.minimum(i, j), np.maximum(i, j)
    order = np.lexsort((j, i))
    return i[order].astype(np.int64), j[order].astype(np.int64), similarity[order].astype(np.float32)


def duplicate_groups(
    pool: Pool,
    threshold: float = 0.8,
    *,
    by: By = "texts",
    shingle: int = 3,
    permutations: int = 128,
    progress: Progress = silent,
) -> np.ndarray:
    """The representative of each row, (n,) int64: itself where the row is kept, else the kept row it repeats.

    Arguments are those of :func:`nearest_duplicates`. A representative is the best of its group: higher quality, then
    the earlier row. A dropped row goes to the most similar of the kept rows it is a near-duplicate of.
    """
    i, j, similarity = nearest_duplicates(
        pool, threshold, by=by, shingle=shingle, permutations=permutations, progress=progress
    )
    n = len(pool)
    # Copies are paired with their first row only, but resemble whatever it does.
    first = np.arange(n)
    exact = _copies(pool, by)
    first[:] = exact
    order = _order(pool)
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    best = np.arange(n)  # the best row among copies stands for all of them
    by_rank = order[::-1]
    best[first[by_rank]] = by_rank
    leader = best[first]
    apart = first[i] != first[j]
    a, b, s = leader[i[apart]], leader[j[apart]], similarity[apart]
    near: dict[int, list[tuple[int, float]]] = {}
    for x, y, value in zip(a.tolist(), b.tolist(), s.tolist(), strict=True):
        near.setdefault(x, []).append((y, value))
        near.setdefault(y, []).append((x, value))
    representative = np.arange(n)
    kept = np.ones(n, dtype=bool)
    for x in sorted(near, key=lambda row: rank[row]):
        holders = [(-value, rank[y], y) for y, value in near[x] if kept[y] and rank[y] < rank[x]]
        if holders:
            kept[x] = False
            representative[x] = min(holders)[2]
    return representative[leader]


def _order(pool: Pool) -> np.ndarray:
    return np.arange(len(pool)) if pool.quality is None else np.argsort(-pool.quality, kind="stable")


def _copies(pool: Pool, by: By) -> np.ndarray:
    """The first row equal to each row, (n,) int64."""
    if by == "embeddings":
        return _equal_rows(np.ascontiguousarray(pool.X))[1]
    assert pool.texts is not None
    return _equal_texts(pool)[1]


def _equal_rows(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that differ from every earlier row, and the first row equal to each row."""
    return _firsts(row.tobytes() for row in X + 0)  # + 0 makes -0.0 equal 0.0


def _equal_texts(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    import xxhash

    assert pool.texts is not None
    return _firsts(xxhash.xxh3_128_digest(" ".join(_words(text)).encode()) for text in pool.texts)


def _firsts(keys: Iterator[bytes]) -> tuple[np.ndarray, np.ndarray]:
    seen: dict[bytes, int] = {}
    copies = np.array([seen.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)
    return np.array(list(seen.values()), dtype=np.int64), copies


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _shingles(text: str, size: int) -> np.ndarray:
    """Hashes of the distinct word shingles, sorted, uint32."""
    import xxhash

    words = _words(text)
    count = max(1, len(words) - size + 1)
    return np.unique(
        np.array(
            [xxhash.xxh32_intdigest(" ".join(words[s : s + size]).encode()) for s in range(count)], dtype=np.uint32
        )
    )


def _text_pairs(
    pool: Pool, threshold: float, size: int, permutations: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, Pairs]:
    from datasketch import MinHash, MinHashLSH

    assert pool.texts is not None
    firsts, copies = _equal_texts(pool)
    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=(0.3, 0.7))
    seeded = MinHash(num_perm=permutations, seed=1, hashfunc=int)
    shingles: dict[int, np.ndarray] = {}
    rows_i, rows_j, values = [], [], []
    wanted = set(firsts.tolist())
    for row, text in enumerate(pool.texts):
        if row not in wanted:
            continue
        held = _shingles(text, size)
        sketch = seeded.copy()
        sketch.update_batch(held)
        for other in index.query(sketch):
            both = len(np.intersect1d(held, shingles[other], assume_unique=True))
            similarity = both / (len(held) + len(shingles[other]) - both)
            if similarity >= threshold:
                rows_i.append(other)
                rows_j.append(row)
                values.append(similarity)
        index.insert(row, sketch, check_duplication=False)
        shingles[row] = held
        if row % 1000 == 0:
            progress("finding near-duplicates", row, len(pool))
    progress("finding near-duplicates", len(pool), len(pool))
    return firsts, copies, (np.array(rows_i, np.int64), np.array(rows_j, np.int64), np.array(values, np.float64))
