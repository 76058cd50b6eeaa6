"""From a command's options to a pool with quality and embeddings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polyculture.engine.base import Engine
from polyculture.progress import Progress

if TYPE_CHECKING:
    from polyculture.pool import Pool
    from polyculture.recipes.pools import Data


def load(data: Data, embedder: str | None, engine: Engine, cache: Path | None, progress: Progress) -> Pool:
    """Read, score and embed; bad rows that are skipped go to a file in the working folder, and it is named."""
    from polyculture.recipes.pools import load_pool

    rejects = Path(f"{Path(data.source.rstrip('/')).name}.rejects.jsonl")
    before = rejects.stat().st_mtime_ns if rejects.exists() else None
    pool = load_pool(data, embedder, rejects=rejects, engine=engine, cache=cache, progress=progress)
    if rejects.exists() and rejects.stat().st_mtime_ns != before:
        print(f"polyculture: bad rows are set aside in {rejects}", file=sys.stderr)
    return pool
