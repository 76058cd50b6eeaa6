"""From a command's data options to a pool with quality and embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

from polyculture.cli.options import none_or
from polyculture.engine.base import Engine
from polyculture.methods import table
from polyculture.pool import Pool
from polyculture.progress import Progress


def load_pool(
    data: str,
    *,
    text: list[str] | None,
    quality: str | None,
    groups: str | None,
    embedder: str | None,
    on_bad_row: str,
    split: str,
    engine: Engine | None,
    cache: Path | None,
    progress: Progress,
) -> Pool:
    """Read, score and embed; quality None is the heuristic score where there is text, and "none" is no quality."""
    from polyculture.quality.base import score_pool
    from polyculture.reading import read_pool
    from polyculture.space.embed import embed_pool

    embedder = none_or(embedder)
    vectors = embedder.removeprefix("column:") if embedder is not None and embedder.startswith("column:") else None
    scorer = quality is not None and (quality in table("quality") or ":" in quality)
    rejects = Path(f"{Path(data.rstrip('/')).name}.rejects.jsonl")
    pool = read_pool(
        data,
        text=text,
        quality=None if scorer else none_or(quality),
        groups=groups,
        vectors=vectors,
        on_bad_row=on_bad_row,  # type: ignore[arg-type]
        rejects=rejects,
        split=split,
        progress=progress,
    )
    if on_bad_row == "skip" and rejects.exists():
        print(f"polyculture: bad rows are set aside in {rejects}", file=sys.stderr)
    if quality is None and pool.texts is not None:
        pool = score_pool(pool, "heuristic", engine=engine, progress=progress)
    elif scorer:
        pool = score_pool(pool, quality or "heuristic", engine=engine, progress=progress)
    if embedder is not None and pool.embeddings is None:
        pool = embed_pool(pool, embedder, cache=cache, engine=engine, progress=progress)
    return pool
