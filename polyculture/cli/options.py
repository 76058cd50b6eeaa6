"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli.method_options import given
from polyculture.engine.base import Engine
from polyculture.errors import BadInput
from polyculture.methods import table

if TYPE_CHECKING:
    from polyculture.recipes.pools import Data as PoolData


def method_names(stage: str) -> Any:
    """Shell completion of a stage's methods."""
    return lambda incomplete: [name for name in table(stage) if name.startswith(incomplete)]


Data = Annotated[str, typer.Argument(help="A .jsonl, .json, .csv or .parquet file, a folder of them, or a hub id.")]
Text = Annotated[
    list[str] | None,
    typer.Option("--text", "-t", help="Text column; give several, or a,b, to join them. Chat columns are understood."),
]
Quality = Annotated[
    str | None,
    typer.Option(
        help="A column of numbers, a scorer (heuristic, length, ...; its options follow by name), or none.",
        show_default="heuristic, where there is text",
    ),
]
Groups = Annotated[str | None, typer.Option(help="A column of labels: domains, topics, sources.")]
Embedder = Annotated[
    str,
    typer.Option(help="minilm, tfidf, a sentence-transformers id, column:NAME, python:MODULE:FUNCTION, or none."),
]
Seed = Annotated[int, typer.Option(help="The seed of everything random.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
OnBadRow = Annotated[str, typer.Option(help="error: stop at a bad row. skip: set bad rows aside in a rejects file.")]
Split = Annotated[str, typer.Option(help="The split of a hub data set or a saved DatasetDict.")]
EngineName = Annotated[str, typer.Option("--engine", help="local, ray, or the address of a Ray cluster.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder of cached embeddings and scores.", show_default="$POLYCULTURE_CACHE, or ~/.cache/polyculture"
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute everything anew and keep nothing.")]
SelectMethod = Annotated[
    str | None,
    typer.Option(
        "--method", "-m", help="How to choose; see polyculture methods.", autocompletion=method_names("select")
    ),
]


def engine(name: str) -> Engine:
    """The engine that an option names."""
    from polyculture.engine.make import make_engine

    return make_engine(name)


def cache_folder(cache: Path | None, no_cache: bool) -> Path | None:
    """The cache folder that the options name, or None."""
    if no_cache:
        return None
    if cache is not None:
        return cache
    from polyculture.space.cache import default_cache

    return default_cache()


def none_or(name: str | None) -> str | None:
    """An option's value, with "none" as None."""
    return None if name is None or name.lower() == "none" else name


def pool_data(
    context: typer.Context,
    source: str,
    *,
    text: list[str] | None,
    quality: str | None,
    groups: str | None,
    split: str,
    on_bad_row: str,
) -> PoolData:
    """The data that the options describe; options that belong to the scorer named by ``--quality`` go to it."""
    from polyculture.recipes.pools import Data

    if on_bad_row not in ("error", "skip"):
        raise BadInput(f"--on-bad-row should be error or skip, not '{on_bad_row}'")
    held: dict[str, Any] = {
        "source": source,
        "text": text or [],
        "groups": groups,
        "split": split,
        "on_bad_row": on_bad_row,
    }
    if quality is not None:
        held["quality"] = none_or(quality)
    data = Data.model_validate(held)
    if data.scorer is not None:
        name = data.scorer[0]
        scorer_options = given(context, "quality", name)
        if scorer_options:
            data = data.model_copy(update={"quality": {"scorer": name, **scorer_options}})
    data.check()
    return data
