"""Embed a pool: identical texts once, known ones from the cache, the rest in blocks that are kept as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyculture.engine.base import Engine
from polyculture.engine.local import LocalEngine
from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
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
    rows = embed_texts(list(pool.texts), embedder, cache=cache, engine=engine, progress=progress)
    return pool.with_(embeddings=rows, embedder=embedder.name)


def embed_texts(
    texts: Sequence[str],
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
    texts: Sequence[str], embedder: Embedder, identity: str, held: VectorCache, engine: Engine, progress: Progress
) -> np.ndarray:
    keys = keys_of(texts, identity)
    place: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        place.setdefault(key, i)
    found = held.get(list(place))
    if len({len(vector) for vector in found.values()}) > 1:
        found = {}  # a damaged cache; nothing of it can be trusted
    missing = [key for key in place if key not in found]
    what = f"embedding ({embedder.name})"
    done = len(place) - len(missing)
    progress(what, done, len(place))
    blocks = list(_blocks(missing, [len(texts[place[key]]) for key in missing]))
    jobs = ([texts[place[key]] for key in block] for block in blocks)
    for block, rows in zip(blocks, engine.map(_Worker(embedder), jobs), strict=True):
        rows = _checked(rows, len(block), embedder)
        held.put(block, rows)
        found.update(zip(block, rows, strict=True))
        done += len(block)
        progress(what, done, len(place))
    if len({len(vector) for vector in found.values()}) > 1:
        raise BadInput(f"embedder '{embedder.name}' gave rows of different widths")
    return np.stack([found[key] for key in keys]).astype(np.float32, copy=False)


class _Worker:
    """Makes an embedding function where it is called; the embedder loads its model at its first text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self) -> Callable[[list[str]], np.ndarray]:
        return self._embedder.embed


def _blocks(keys: list[bytes], lengths: list[int]) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), WINDOW):
        window = sorted(range(start, min(start + WINDOW, len(keys))), key=lambda i: -lengths[i])
        for first in range(0, len(window), BLOCK):
            yield [keys[i] for i in window[first : first + BLOCK]]


def _whole(
    texts: Sequence[str], embedder: Embedder, identity: str, held: VectorCache, progress: Progress
) -> np.ndarray:
    what = f"embedding ({embedder.name})"
    progress(what, 0, len(texts))
    # A row depends on every text and on its place, so the key of row i is the hash of the pool and i.
    pool = b"".join(keys_of(texts, identity)).hex() if held.path is not None else ""
    keys = keys_of((str(i) for i in range(len(texts))), identity + pool) if held.path is not None else []
    found = held.get(keys)
    if keys and len(found) == len(keys) and len({len(vector) for vector in found.values()}) == 1:
        rows = np.stack([found[key] for key in keys]).astype(np.float32, copy=False)
    else:
        rows = _checked(embedder.embed(texts), len(texts), embedder)
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
