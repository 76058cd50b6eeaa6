"""``polyculture curate``: the main job in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar


def curate(
    context: typer.Context,
    data: options.Data,
    k: Annotated[int, typer.Option("-k", "--keep", help="How many rows to keep.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run folder.")] = Path("out"),
    text: options.Text = None,
    quality: options.Quality = None,
    groups: options.Groups = None,
    embedder: options.Embedder = "minilm",
    method: options.SelectMethod = "determinantal",
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
    from polyculture.recipes.recipe import Data, curate_recipe
    from polyculture.recipes.run import run_recipe

    hyper: dict[str, Any] = {}
    if context.args:
        hyper = options.hyper_parameters(context.args, "select", method, options.command_options(context))
    held: dict[str, Any] = {
        "source": data,
        "text": [column for name in text or [] for column in name.split(",")],
        "groups": groups,
        "split": split,
        "on_bad_row": on_bad_row,
    }
    if quality is not None:
        held["quality"] = options.none_or(quality)
    recipe = curate_recipe(
        Data.model_validate(held),
        embedder=options.none_or(embedder),
        seed=seed,
        select={"method": method, "k": k, **hyper},
        measures=[name.strip() for name in measures.split(",")] if measures else [],
    )
    with progress_bar(quiet=json) as progress:
        result = run_recipe(
            recipe,
            output,
            start_from=start_from,
            dry_run=dry_run,
            engine=options.engine(engine),
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
    print_comparison(f"{data}: {before['rows']:,} rows, {after['rows']:,} kept by {method}", before, after)
    if result.bad_rows:
        print(f"{result.bad_rows:,} bad rows are set aside in {result.folder / '00-pool' / 'rejects.jsonl'}")
    for name, path in (("chosen", result.chosen), ("rejected", result.rejected), ("report", result.report)):
        if path is not None:
            print(f"{name}: {path}")


def print_comparison(title: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Each measure of the whole pool, of the selection, and of the honest baselines of the same size."""
    baselines = after["baselines"]
    rows = []
    for name, held in after["values"].items():
        whole = before["values"].get(name, {}).get("value")
        others = [number(values.get(name, {}).get("value")) for values in baselines.values()]
        rows.append([name, number(whole), number(held["value"]), *others, held.get("meaning", "")])
    columns = ["measure", "whole pool", "kept", *baselines, "what it is"]
    print_table(title, columns, rows, right=("whole pool", "kept", *baselines))
