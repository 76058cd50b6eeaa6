"""``polyculture run`` and ``polyculture report``: recipes, run folders and their pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polyculture.cli import options
from polyculture.cli.console import print_json, print_table, progress_bar
from polyculture.errors import BadInput


def run(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, as YAML; --schema says what it may hold.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run folder.", show_default="runs/NAME of the recipe")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", help="Run this stage and all after it, even if they have finished.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and change nothing.")] = False,
    show_schema: Annotated[
        bool, typer.Option("--schema", help="Print what a recipe may hold, as JSON, and stop.")
    ] = False,
    json: options.Json = False,
    engine: options.EngineName = "local",
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Run a recipe, stage after stage; started again, it does only what is not done."""
    from polyculture.recipes.reading import load_recipe
    from polyculture.recipes.run import run_recipe

    if show_schema:
        from polyculture.recipes.stages import schema

        print_json(schema())
        return
    if recipe is None:
        raise BadInput("name a recipe; --schema says what one may hold")
    loaded = load_recipe(recipe)
    with options.engine(engine) as workers, progress_bar(quiet=json) as progress:
        result = run_recipe(
            loaded,
            output or Path("runs") / recipe.stem,
            start_from=start_from,
            dry_run=dry_run,
            engine=workers,
            cache=options.cache_folder(cache, no_cache),
            progress=progress,
        )
    if json:
        print_json(result.to_dict())
        return
    steps = [
        [step.name, step.status, f"{step.seconds:.1f} s" if step.status == "done" else ""] for step in result.steps
    ]
    print_table(str(result.folder), ["stage", "what happened", "time"], steps, right=("time",))
    for path in (result.chosen, result.rejected, *result.models, result.report):
        if path is not None and not dry_run:
            print(path)


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a report.json.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the page goes.", show_default="report.html in the run")
    ] = None,
    json: options.Json = False,
) -> None:
    """Render the page of a finished run again."""
    from polyculture.recipes.run import render_report

    pages: list[Path] = []
    if run_folder.is_dir():
        found = sorted(run_folder.glob("*-report/report.json"))
        if not found:
            raise BadInput(f"{run_folder}: holds no finished report stage; run its recipe first")
        source, page = found[-1], output or run_folder / "report.html"
        pages = sorted(run_folder.glob("*-align/report.html"))
    elif run_folder.exists():
        source, page = run_folder, output or run_folder.with_suffix(".html")
    else:
        raise BadInput(f"{run_folder}: there is no such run folder or report")
    render_report(source, page, pages)
    if json:
        print_json({"report": page})
    else:
        print(page, file=sys.stdout)
