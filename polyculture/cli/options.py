"""Options that several commands share, said once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.engine.base import Engine
from polyculture.errors import BadInput, unknown
from polyculture.methods import parameters, table

if TYPE_CHECKING:
    from polyculture.recipes.pools import Data as PoolData


def _method_names(stage: str) -> Any:
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
    str | None,
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


def hyper_parameters(
    extra: list[str], methods: list[tuple[str, str]], known_options: list[str]
) -> list[dict[str, str]]:
    """Methods' hyper-parameters from options the command itself does not know: ``--n-clusters 40``, ``--name=value``.

    Args:
        extra: the words that the command did not know.
        methods: stage and name of each method that runs; an option goes to the first one that has it.
        known_options: the command's own options, for suggestions.

    Returns:
        For each method its options, still as strings.

    Raises:
        UnknownMethod: no method has such an option; the nearest one is suggested.
        BadInput: an option has no value.
    """
    known = [parameters(table(stage)[name]) for stage, name in methods]
    found: list[dict[str, str]] = [{} for _ in methods]
    words = iter(extra)
    for word in words:
        if not word.startswith("--"):
            raise BadInput(f"don't know what to do with '{word}'; options start with --")
        name, equals, value = word[2:].partition("=")
        field = name.replace("-", "_")
        owner = next((i for i, fields in enumerate(known) if field in fields), None)
        if owner is None:
            theirs = [p.replace("_", "-") for fields in known for p in fields]
            runs = " or of ".join(f"{stage} method '{method}'" for stage, method in methods)
            raise unknown(f"option of this command{' or of ' + runs if runs else ''}", name, [*known_options, *theirs])
        if not equals:
            if known[owner][field].annotation is bool:
                value = "true"
            else:
                value = next(words, "")
                if not value:
                    raise BadInput(f"option --{name} needs a value")
        found[owner][field] = value
    return found


def command_options(context: typer.Context) -> list[str]:
    """The long options of the running command, for suggestions."""
    return [o.lstrip("-") for p in context.command.params for o in p.opts if o.startswith("--")]


def pool_data(
    context: typer.Context,
    source: str,
    *,
    text: list[str] | None,
    quality: str | None,
    groups: str | None,
    split: str,
    on_bad_row: str,
    select: str | None = None,
) -> tuple[PoolData, dict[str, str]]:
    """The data that the options describe, and the hyper-parameters of the selector named ``select``.

    Options that the command does not know belong to the selector or to the scorer that ``--quality`` names.
    """
    from polyculture.recipes.pools import Data

    if on_bad_row not in ("error", "skip"):
        raise BadInput(f"--on-bad-row should be error or skip, not '{on_bad_row}'")
    held: dict[str, Any] = {"source": source, "text": text, "groups": groups, "split": split, "on_bad_row": on_bad_row}
    if quality is not None:
        held["quality"] = none_or(quality)
    data = Data.model_validate(held)
    scored = data.scorer[0] if data.scorer is not None else None
    methods = [("select", select)] if select is not None else []
    if scored is not None and scored in table("quality"):
        methods.append(("quality", scored))
    hyper = hyper_parameters(context.args, methods, command_options(context))
    if scored is not None and len(methods) > (select is not None) and hyper[-1]:
        data = data.model_copy(update={"quality": {"scorer": scored, **hyper[-1]}})
    data.check()
    return data, hyper[0] if select is not None else {}
