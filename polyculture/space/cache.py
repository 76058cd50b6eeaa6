"""Vectors kept on disk by the hash of what they were made from, so that nothing is embedded twice.

One SQLite file in write-ahead mode: several processes may read and write it at the same time. A cache that can't be
opened, read or written is reported once as a :class:`CacheWarning` and done without; it never stops the work.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np

READ_AT_ONCE = 900
"""Keys a query asks for; SQLite allows 999 variables in its older builds."""


class CacheWarning(UserWarning):
    """A cache can't be used; the work goes on without it."""


def default_cache() -> Path:
    """``$POLYCULTURE_CACHE``, or ``~/.cache/polyculture``."""
    return Path(os.environ.get("POLYCULTURE_CACHE") or Path.home() / ".cache" / "polyculture")


def cache_folder(cache: Path | str | Literal["default"] | None) -> Path | None:
    """The folder that a ``cache`` argument means: a path, the default folder, or none."""
    if cache is None:
        return None
    return default_cache() if cache == "default" else Path(cache)


def keys_of(texts: Iterable[str], identity: str) -> list[bytes]:
    """The cache key of each text under a model: the 128-bit xxhash of the model's identity and the text."""
    import xxhash

    model = xxhash.xxh3_128(identity.encode("utf-8", "surrogatepass")).digest()
    return [xxhash.xxh3_128(model + text.encode("utf-8", "surrogatepass")).digest() for text in texts]


class VectorCache:
    """Float32 vectors by 16-byte key, in ``FOLDER/vectors.sqlite``.

    Args:
        folder: made if it is not there; None gives a cache that holds nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "vectors.sqlite"
        self._database: sqlite3.Connection | None = None
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=60)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            with self._database:
                self._database.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up("opened", error)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are held of those asked for; damaged entries count as absent."""
        found: dict[bytes, np.ndarray] = {}
        if self._database is None:
            return found
        try:
            for start in range(0, len(keys), READ_AT_ONCE):
                part = list(keys[start : start + READ_AT_ONCE])
                marks = ",".join("?" * len(part))
                rows = self._database.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)
                for key, blob in rows:
                    if len(blob) % 4 == 0:
                        vector = np.frombuffer(blob, dtype="<f4")
                        if np.isfinite(vector).all():
                            found[key] = vector
        except (sqlite3.Error, TypeError) as error:
            self._give_up("read", error)
        return found

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Hold a vector a key, in one transaction: all of them are kept, or none."""
        if self._database is None:
            return
        rows = [(key, row.tobytes()) for key, row in zip(keys, np.asarray(vectors, dtype="<f4"), strict=True)]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up("written", error)

    def __len__(self) -> int:
        if self._database is None:
            return 0
        return int(self._database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Close the file; what was put is kept."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _give_up(self, what: str, error: Exception) -> None:
        self.close()
        warnings.warn(
            f"the cache {self.path} can't be {what} ({error}); going on without it. Delete it if it is damaged, or "
            "choose another folder with POLYCULTURE_CACHE",
            CacheWarning,
            stacklevel=4,
        )
