"""Embed a pool: identical texts once, known ones from the cache, the rest in blocks that are kept as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyculture.engine.base import Engine
from polyculture.engine.local import LocalEngine
from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.records import Texts
from polyculture.space.cache import VectorCache, cache_folder, keys_of
from polyculture.space.embedders import Embedder, make_embedder

BLOCK = 256
"""Texts of a block: the unit of work handed to a worker and of what an interruption can lose."""
WINDOW = 16 * BLOCK
"""Texts sorted by length together, so that a block holds texts of like lengths."""


def embed_pool(
    pool: Pool,
    embedder: str | Embedder | Callable[[Sequence[str]], Any] = "minilm",
    *,
    cache: Path | str | Literal["default"] | None = "default",
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Pool:
    """The pool with embeddings of its texts.

    Args:
        pool: with texts.
        embedder: a name (see :func:`polyculture.space.embedders.make_embedder`), an embedder, or a function.
        cache: folder of the cache; "default" is ``$POLYCULTURE_CACHE`` or ``~/.cache/polyculture``, None keeps nothing.
        engine: where the model runs; None runs it in this process.
        progress: told how many texts are done.

    Returns:
        The pool with ``embeddings``, (n, d) float32, and ``embedder``, the embedder's name.

    Raises:
        BadInput: the pool has no texts, or the embedder's rows don't fit them or are not finite.
    """
    pool.need("texts")
    assert pool.texts is not None
    embedder = make_embedder(embedder)
    rows = embed_texts(pool.texts, embedder, cache=cache, engine=engine, progress=progress)
    return pool.with_(embeddings=rows, embedder=embedder.name)


def embed_texts(
    texts: Sequence[str] | Texts,
    embedder: str | Embedder | Callable[[Sequence[str]], Any] = "minilm",
    *,
    cache: Path | str | Literal["default"] | None = "default",
    engine: Engine | None = None,
    progress: Progress = silent,
) -> np.ndarray:
    """One float32 row a text, (n, d); arguments and errors as in :func:`embed_pool`."""
    embedder = make_embedder(embedder)
    if not len(texts):
        return np.zeros((0, 0), dtype=np.float32)
    identity = getattr(embedder, "identity", None)
    with VectorCache(cache_folder(cache) if identity is not None else None) as held:
        identity = f"{embedder.name}\n{identity}"
        if embedder.per_text:
            return _by_text(texts, embedder, identity, held, engine or LocalEngine(), progress)
        return _whole(texts, embedder, identity, held, progress)


def _by_text(
    texts: Sequence[str] | Texts,
    embedder: Embedder,
    identity: str,
    held: VectorCache,
    engine: Engine,
    progress: Progress,
) -> np.ndarray:
    keys = keys_of(texts, identity)
    place: dict[bytes, int] = {}
    first = np.fromiter((place.setdefault(key, i) for i, key in enumerate(keys)), dtype=np.int64, count=len(keys))
    rows, known = _from_cache(held, place, len(keys))
    missing = [i for i in place.values() if not known[i]]
    what, total = f"embedding ({embedder.name})", len(place)
    del place, known
    done = total - len(missing)
    progress(what, done, total)
    blocks = list(_blocks(missing, np.fromiter(map(len, texts), dtype=np.int64, count=len(keys))))
    jobs = ([texts[i] for i in block] for block in blocks)
    for block, new in zip(blocks, engine.map(_Worker(embedder), jobs), strict=True):
        new = _checked(new, len(block), embedder)
        if rows is None:
            rows = np.empty((len(keys), new.shape[1]), dtype=np.float32)
        if new.shape[1] != rows.shape[1]:
            raise BadInput(f"embedder '{embedder.name}' gave rows of different widths")
        held.put([keys[i] for i in block], new)
        rows[block] = new
        done += len(block)
        progress(what, done, total)
    assert rows is not None
    again = np.flatnonzero(first != np.arange(len(first)))
    for start in range(0, len(again), WINDOW):
        part = again[start : start + WINDOW]
        rows[part] = rows[first[part]]
    return rows


def _from_cache(held: VectorCache, place: Mapping[bytes, int], n: int) -> tuple[np.ndarray | None, np.ndarray]:
    """The (n, d) rows with those that are held put where ``place`` says, None if none is; and which are, (n,) bool."""
    rows: np.ndarray | None = None
    known = np.zeros(n, dtype=bool)
    keys = list(place)
    for start in range(0, len(keys), WINDOW):
        for key, vector in held.get(keys[start : start + WINDOW]).items():
            if rows is None:
                rows = np.empty((n, len(vector)), dtype=np.float32)
            if len(vector) != rows.shape[1]:
                return None, np.zeros(n, dtype=bool)  # a damaged cache; nothing of it can be trusted
            rows[place[key]] = vector
            known[place[key]] = True
    return rows, known


class _Worker:
    """Makes an embedding function where it is called; the embedder loads its model at its first text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self) -> Callable[[list[str]], np.ndarray]:
        return self._embedder.embed


def _blocks(rows: list[int], lengths: np.ndarray) -> Iterator[list[int]]:
    for start in range(0, len(rows), WINDOW):
        window = sorted(rows[start : start + WINDOW], key=lambda i: -lengths[i])
        for first in range(0, len(window), BLOCK):
            yield window[first : first + BLOCK]


def _whole(
    texts: Sequence[str] | Texts, embedder: Embedder, identity: str, held: VectorCache, progress: Progress
) -> np.ndarray:
    what = f"embedding ({embedder.name})"
    progress(what, 0, len(texts))
    # A row depends on every text and on its place, so the key of row i is the hash of the pool and i.
    pool = b"".join(keys_of(texts, identity)).hex() if held.path is not None else ""
    keys = keys_of((str(i) for i in range(len(texts))), identity + pool) if held.path is not None else []
    rows, known = _from_cache(held, {key: i for i, key in enumerate(keys)}, len(texts))
    if rows is None or not known.all():
        rows = _checked(embedder.embed(list(texts)), len(texts), embedder)
        if keys:
            held.put(keys, rows)
    progress(what, len(texts), len(texts))
    return rows


def _checked(rows: Any, n: int, embedder: Embedder) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != n:
        raise BadInput(f"embedder '{embedder.name}' gave an array of shape {rows.shape} for {n} texts, not ({n}, d)")
    if not np.isfinite(rows).all():
        raise BadInput(f"embedder '{embedder.name}' gave NaN or infinite values")
    return rows
