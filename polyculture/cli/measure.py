"""``polyculture measure``: how good and how varied a pool is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import interval, number, print_json, print_table, progress_bar


def measure(
    context: typer.Context,
    data: options.Data,
    text: options.Text = None,
    quality: options.Quality = None,
    groups: options.Groups = None,
    embedder: options.Embedder = "minilm",
    measures: Annotated[
        str | None, typer.Option(help="Which measures, with commas between.", show_default="the usual ones")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result here as JSON.")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
    engine: options.EngineName = "local",
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Measure the quality and diversity of a pool.

    Options that belong to the scorer are given by their names: --quality upd --model MODEL.
    """
    from polyculture.cli.pools import load
    from polyculture.files import write_json
    from polyculture.measure.on_pool import measure_pool
    from polyculture.methods import meaning, table

    names = [name.strip() for name in measures.split(",") if name.strip()] if measures else None
    for name in names or ():
        table("measure").target(name)  # a mistyped name is said before any work
    described = options.pool_data(
        context, data, text=text, quality=quality, groups=groups, split=split, on_bad_row=on_bad_row
    )
    with options.engine(engine) as workers, progress_bar(quiet=json) as progress:
        held = options.cache_folder(cache, no_cache)
        pool = load(described, options.none_or(embedder), workers, held, progress)
        found = measure_pool(pool, names, rng=seed, progress=progress)
    result: dict[str, Any] = {
        "source": pool.source,
        "rows": len(pool),
        "embedder": pool.embedder,
        "seed": seed,
        **found.to_dict(),
    }
    for name, value in result["values"].items():
        value["meaning"] = meaning("measure", name.partition(".")[0])
    if output is not None:
        write_json(output, result)
    if json:
        print_json(result)
        return
    rows, told = [], set()
    for name, held in result["values"].items():
        meant = held["meaning"]
        rows.append([name, number(held["value"]), interval(held["low"], held["high"]), "" if meant in told else meant])
        told.add(meant)
    print_table(
        f"{pool.source}: {len(pool):,} rows, embedder {pool.embedder or 'none'}",
        ["measure", "value", "95 % interval", "what it is"],
        rows,
        right=("value",),
    )
    if result["skipped"]:
        print_table("Not measured", ["measure", "why"], [[k, v] for k, v in result["skipped"].items()])
    if output is not None:
        print(f"written to {output}")
