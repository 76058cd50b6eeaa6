"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyculture.engine.base import Engine
from polyculture.errors import BadInput, unknown
from polyculture.methods import parameters, table


def _method_names(stage: str) -> Any:
    return lambda incomplete: [name for name in table(stage) if name.startswith(incomplete)]


Data = Annotated[str, typer.Argument(help="A .jsonl, .json, .csv or .parquet file, a folder of them, or a hub id.")]
Text = Annotated[
    list[str] | None,
    typer.Option("--text", "-t", help="Text column; give several, or a,b, to join them. Chat columns are understood."),
]
Quality = Annotated[
    str | None,
    typer.Option(help="A column of numbers, a scorer (heuristic, length, ...), or none.", show_default="heuristic"),
]
Groups = Annotated[str | None, typer.Option(help="A column of labels: domains, topics, sources.")]
Embedder = Annotated[
    str,
    typer.Option(help="minilm, tfidf, a sentence-transformers id, column:NAME, python:MODULE:FUNCTION, or none."),
]
Seed = Annotated[int, typer.Option(help="The seed of everything random.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
OnBadRow = Annotated[str, typer.Option(help="error: stop at a bad row. skip: set bad rows aside in a rejects file.")]
Split = Annotated[str, typer.Option(help="The split of a hub data set.")]
EngineName = Annotated[str, typer.Option("--engine", help="local, ray, or the address of a Ray cluster.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder of cached embeddings and scores.", show_default="$POLYCULTURE_CACHE, or ~/.cache/polyculture"
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute everything anew and keep nothing.")]
SelectMethod = Annotated[
    str,
    typer.Option(
        "--method", "-m", help="How to choose; see polyculture methods.", autocompletion=_method_names("select")
    ),
]


def engine(name: str) -> Engine:
    """The engine that an option names."""
    from polyculture.engine.base import make_engine

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


def hyper_parameters(extra: list[str], stage: str, method: str, command_options: list[str]) -> dict[str, str]:
    """A method's hyper-parameters from options the command itself does not know: ``--n-clusters 40``, ``--name=value``.

    Raises:
        UnknownMethod: the method has no such option; the nearest of the method's and the command's is suggested.
        BadInput: an option has no value.
    """
    known = parameters(table(stage)[method])
    found: dict[str, str] = {}
    words = iter(extra)
    for word in words:
        if not word.startswith("--"):
            raise BadInput(f"don't know what to do with '{word}'; options start with --")
        name, equals, value = word[2:].partition("=")
        field = name.replace("-", "_")
        if field not in known:
            options = [*command_options, *(p.replace("_", "-") for p in known)]
            raise unknown(f"option of this command or of {stage} method '{method}'", name, options)
        if not equals:
            if known[field].annotation is bool:
                value = "true"
            else:
                value = next(words, "")
                if not value:
                    raise BadInput(f"option --{name} needs a value")
        found[field] = value
    return found


def command_options(context: typer.Context) -> list[str]:
    """The long options of the running command, for suggestions."""
    return [o.lstrip("-") for p in context.command.params for o in p.opts if o.startswith("--")]
