"""Where a run is: the pool, made once and kept, and the rows that are still in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polyculture import __version__
from polyculture.engine.base import Engine
from polyculture.files import content_hash, fingerprint
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.recipes.folder import RunFolder, files_named
from polyculture.recipes.pools import load_pool, read_rows
from polyculture.recipes.recipe import Recipe

POOL = "00-pool"


@dataclass
class State:
    """What the stages of one run share.

    Args:
        recipe: the recipe.
        folder: the run folder.
        engine: where embedding and scoring run.
        cache: the folder of cached embeddings, or None for no cache.
        progress: told what is being done.
        rows: the rows of the pool that are left, in order of choice; all of them until a select stage has run.
    """

    recipe: Recipe
    folder: RunFolder
    engine: Engine | None = None
    cache: Path | None = None
    progress: Progress = silent
    _pool: Pool | None = None
    _rows: np.ndarray | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.recipe.seed

    @property
    def pool(self) -> Pool:
        """The whole pool, with quality and embeddings; read when first asked for."""
        if self._pool is None:
            self._pool = self._load()
        return self._pool

    @property
    def rows(self) -> np.ndarray:
        """The rows that are left, (k,) int64 indices into the pool, in order of choice."""
        return np.arange(len(self.pool)) if self._rows is None else self._rows

    def after(self, stage: str) -> None:
        """Take up what a finished stage left."""
        chosen = self.folder.stage(stage) / "chosen.json"
        if chosen.exists():
            self._rows = np.asarray(json.loads(chosen.read_text(encoding="utf-8"))["rows"], dtype=np.int64)

    def finished(self, file: str) -> list[Path]:
        """The artefacts of that name that this recipe's stages have left, in stage order."""
        folders = [self.folder.stage(f"{i:02d}-{stage.kind}") for i, stage in enumerate(self.recipe.stages, 1)]
        return [folder / file for folder in folders if (folder / file).exists()]

    def reasons(self) -> dict[int, str]:
        """Row -> why it was rejected, of every finished select stage."""
        held: dict[int, str] = {}
        for file in self.finished("chosen.json"):
            with file.with_name("rejected.jsonl").open(encoding="utf-8") as lines:
                for line in lines:
                    rejection = json.loads(line)
                    held[rejection["row"]] = rejection["reason"]
        return held

    def timings(self) -> dict[str, float]:
        """Stage -> seconds, of those that have finished."""
        manifests = [self.folder.stage(POOL) / "manifest.json", *self.finished("manifest.json")]
        held = [json.loads(file.read_text(encoding="utf-8")) for file in manifests if file.exists()]
        return {manifest["stage"]: manifest["seconds"] for manifest in held}

    def pool_inputs(self) -> str:
        """The fingerprint of everything the pool is made of: the source's bytes, the columns, scorer and embedder."""
        data, source = self.recipe.data, Path(self.recipe.data.source)
        content = content_hash(source) if source.exists() else "hub"
        named = files_named(data.quality)
        return fingerprint(
            __version__, content, data.model_dump(exclude={"source"}), named, source.name, self.recipe.embedder
        )

    def make_pool(self, folder: Path) -> None:
        """Read, score and embed the pool; leave what took time in ``folder``."""
        from safetensors.numpy import save_file

        pool = load_pool(
            self.recipe.data,
            self.recipe.embedder,
            rejects=folder / "rejects.jsonl",
            engine=self.engine,
            cache=self.cache,
            progress=self.progress,
        )
        arrays = {name: getattr(pool, name) for name in ("embeddings", "quality") if getattr(pool, name) is not None}
        if arrays:
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / "arrays.safetensors")
        (folder / "embedder.json").write_text(json.dumps(pool.embedder))
        self._pool = pool

    def _load(self) -> Pool:
        from safetensors.numpy import load_file

        folder = self.folder.stage(POOL)
        # Reading again sets the same bad rows aside again: into a file that the finished stage already holds.
        pool = read_rows(
            self.recipe.data, self.recipe.embedder, rejects=folder / "rejects.jsonl", progress=self.progress
        )
        arrays = folder / "arrays.safetensors"
        held = load_file(arrays) if arrays.exists() else {}
        return dataclasses.replace(pool, **held, embedder=json.loads((folder / "embedder.json").read_text()))
