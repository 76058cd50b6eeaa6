"""From a description of the data to a pool with quality and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from polyculture.engine.base import Engine
from polyculture.errors import BadInput
from polyculture.functions import PREFIX
from polyculture.methods import build, table
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.reading import read_pool

COLUMN = "column:"


class Data(BaseModel):
    """The pool: its source and the columns that matter."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(description="a file, a folder of files, or a hub id")
    text: list[str] | None = Field(
        default_factory=list,
        description="the text columns, joined; empty: the first obvious one; null: rows without text",
    )
    quality: str | dict[str, Any] | None = Field(
        "auto",
        description="a column of numbers, a scorer's name, {scorer: NAME, its options}, null for none, or auto: "
        "heuristic where there is text",
    )
    groups: str | None = Field(None, description="a column of labels")
    split: str = Field("train", description="the split of a hub data set")
    on_bad_row: Literal["error", "skip"] = Field("error", description="stop at a bad row, or set it aside")

    @field_validator("text", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return None
        values = [value] if isinstance(value, str) else value
        return [column.strip() for entry in values for column in str(entry).split(",")]

    @property
    def scorer(self) -> tuple[str, dict[str, Any]] | None:
        """The scorer that gives quality and its options, or None where a column does, or nothing."""
        if isinstance(self.quality, Mapping):
            options = dict(self.quality)
            name = options.pop("scorer", None)
            if name is None:
                raise BadInput(f"data.quality: a mapping names a scorer; there are {', '.join(table('quality'))}")
            return str(name), options
        if self.quality == "auto":
            return "heuristic", {}
        if self.quality is not None and (self.quality in table("quality") or self.quality.startswith(PREFIX)):
            return self.quality, {}
        return None

    @property
    def quality_column(self) -> str | None:
        """The column that gives quality, or None."""
        if self.scorer is not None or not isinstance(self.quality, str):
            return None
        return self.quality.removeprefix(COLUMN)

    def check(self) -> None:
        """Check the scorer's name and options before any work.

        Raises:
            UnknownMethod: no scorer or option of that name.
        """
        if self.scorer is not None and not self.scorer[0].startswith(PREFIX):
            build("quality", self.scorer[0], **self.scorer[1])


def load_pool(
    data: Data,
    embedder: str | None,
    *,
    rejects: Path,
    engine: Engine | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Pool:
    """Read, score and embed.

    Args:
        data: what to read.
        embedder: see :func:`polyculture.space.embedders.make_embedder`; "column:NAME" takes vectors that the data hold,
            None leaves the pool without embeddings.
        rejects: where bad rows go when they are skipped.
        engine: where scoring and embedding run; None is this process.
        cache: the folder of cached vectors and scores, or None.
        progress: told what is being done.

    Raises:
        BadInput: the data can't be used; the message names the place.
    """
    pool = read_rows(data, embedder, rejects=rejects, progress=progress)
    if data.scorer is not None and (data.quality != "auto" or pool.texts is not None):
        from polyculture.quality.base import make_scorer, score_pool

        name, options = data.scorer
        pool = score_pool(pool, make_scorer(name, **options), engine=engine, cache=cache, progress=progress)
    if embedder is not None and pool.embeddings is None:
        from polyculture.space.embed import embed_pool

        pool = embed_pool(pool, embedder, cache=cache, engine=engine, progress=progress)
    return pool


def read_rows(data: Data, embedder: str | None, *, rejects: Path, progress: Progress = silent) -> Pool:
    """Read only: the pool with the columns that the data hold, neither scored nor embedded."""
    return read_pool(
        data.source,
        text=data.text or None,
        need_text=data.text is not None,
        quality=data.quality_column,
        groups=data.groups,
        vectors=embedder.removeprefix(COLUMN) if embedder is not None and embedder.startswith(COLUMN) else None,
        on_bad_row=data.on_bad_row,
        rejects=rejects,
        split=data.split,
        progress=progress,
    )
