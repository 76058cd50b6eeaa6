"""``polyculture curate``: the main job in one command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given


def curate(
    context: typer.Context,
    data: options.Data,
    k: Annotated[int, typer.Option("-k", "--keep", help="How many rows to keep.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run folder.")] = Path("out"),
    text: options.Text = None,
    quality: options.Quality = None,
    groups: options.Groups = None,
    embedder: options.Embedder = "minilm",
    method: options.SelectMethod = None,
    measures: Annotated[
        str | None, typer.Option(help="Which measures, with commas between.", show_default="the usual ones")
    ] = None,
    seed: options.Seed = 0,
    start_from: Annotated[
        str | None, typer.Option("--from", help="Run this stage and all after it, even if they have finished.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and change nothing.")] = False,
    json: options.Json = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
    engine: options.EngineName = "local",
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Measure a pool, keep its k best and most varied rows, measure again, and report.

    Options that belong to the method are given by their names: --method kmq --n-clusters 40.
    """
    from polyculture.recipes.reading import curate_recipe, default_select
    from polyculture.recipes.run import run_recipe

    described = options.pool_data(
        context,
        data,
        text=text,
        quality=quality,
        groups=groups,
        split=split,
        on_bad_row=on_bad_row,
    )
    select: dict[str, Any] = {"method": method, **given(context, "select", method)}
    if method is None:
        select = default_select(groups=groups is not None, quality=described.quality is not None)
    recipe = curate_recipe(
        described,
        embedder=options.none_or(embedder),
        seed=seed,
        select={**select, "k": k},
        measures=[name.strip() for name in measures.split(",")] if measures else [],
    )
    with options.engine(engine) as workers, progress_bar(quiet=json) as progress:
        result = run_recipe(
            recipe,
            output,
            start_from=start_from,
            dry_run=dry_run,
            engine=workers,
            cache=options.cache_folder(cache, no_cache),
            progress=progress,
        )
    if json:
        print_json(result.to_dict())
        return
    if dry_run:
        print_table(str(result.folder), ["stage", "what would happen"], [[s.name, s.status] for s in result.steps])
        return
    before, after = result.measures[0], result.measures[-1]
    print_comparison(
        f"{data}: {before['rows']:,} rows, {after['rows']:,} kept by {select['method']}",
        before,
        after,
        () if measures else HEADLINE,
    )
    if result.bad_rows:
        print(f"{result.bad_rows:,} bad rows are set aside in {result.folder / '00-pool' / 'rejects.jsonl'}")
    for name, path in (("chosen", result.chosen), ("rejected", result.rejected), ("report", result.report)):
        if path is not None:
            print(f"{name}: {path}")


HEADLINE = (
    "vendi",
    "vendi-orders.0.5",
    "vendi-orders.inf",
    "mean-nn-distance",
    "ngram-diversity",
    "compression-ratio",
    "mean-reward",
    "group-balance.present",
    "group-balance.effective",
    "length.mean",
)
"""What the table shows where no measures are named; the rest is in the run folder and on the page."""


def print_comparison(title: str, before: dict[str, Any], after: dict[str, Any], shown: Sequence[str]) -> None:
    """Each measure of the whole pool, of the selection, and of the honest baselines of the same size."""
    baselines = after["baselines"]
    rows = []
    told: set[str] = set()
    for name, held in after["values"].items():
        if shown and name not in shown:
            continue
        whole = before["values"].get(name, {}).get("value")
        others = [number(values.get(name, {}).get("value")) for values in baselines.values()]
        meaning = held.get("meaning", "")
        rows.append([name, number(whole), number(held["value"]), *others, "" if meaning in told else meaning])
        told.add(meaning)
    columns = ["measure", "whole pool", "kept", *baselines, "what it is"]
    print_table(title, columns, rows, right=("whole pool", "kept", *baselines))
