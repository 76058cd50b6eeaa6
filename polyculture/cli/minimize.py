"""``polyculture minimize``: collect less of each record, at what cost in accuracy and what gain in privacy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.privacy.frontier import FrontierRow


def minimize(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="A .csv, .tsv or .parquet table, a record a row.")],
    target: Annotated[str, typer.Option(help="The column that the service predicts.")],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-m",
            help="How to generalise; see polyculture methods --stage privacy. Its options follow by name: --alpha 0.5.",
            autocompletion=options.method_names("privacy"),
        ),
    ] = "pat",
    sensitive: Annotated[
        str | None, typer.Option(help="Columns to protect, with commas between.", show_default="all of them")
    ] = None,
    categorical: Annotated[str | None, typer.Option(help="Columns of numbers that mean categories.")] = None,
    frontier: Annotated[bool, typer.Option("--frontier", help="Every minimizer at several settings.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the utility-risk frontier here; implies --frontier.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the records in their coarser form here, as CSV.")
    ] = None,
    generalisation: Annotated[
        Path | None, typer.Option(help="Write here, as JSON, what to ask for: the buckets of each attribute.")
    ] = None,
    test_share: Annotated[float, typer.Option(help="Share of the records set aside for utility and risk.")] = 0.3,
    limit: Annotated[int | None, typer.Option(help="Use this many records, drawn at random.", min=4)] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Find what to collect in coarser form, and measure what is left to the service and to an adversary.

    The whole table is used to fit what is written; utility and risk are measured on records set aside.
    """
    from polyculture.files import atomic, write_json
    from polyculture.methods import build
    from polyculture.privacy.frontier import between_ends
    from polyculture.privacy.frontier import frontier as measure_frontier
    from polyculture.reading import read_table
    from polyculture.recipes.minimizing import write_coarse

    hyper = given(context, "privacy", method)
    minimizer = build("privacy", method, **hyper)
    frame = read_table(data).to_pandas()
    if target not in frame.columns:
        raise BadInput(f"{data.name}: column '{target}' is missing; columns are {', '.join(frame.columns)}")
    if limit is not None and limit < len(frame):
        frame = frame.sample(limit, random_state=seed).sort_index()
    y, X = frame[target].to_numpy(), frame.drop(columns=target)
    columns: dict[str, Any] = {"sensitive": _columns(sensitive, X, data), "categorical": _columns(categorical, X, data)}
    settings = None
    if not frontier and html is None:
        chosen = {name: value for name, value in minimizer.get_params().items() if name in hyper}
        settings = between_ends(method, chosen, minimizer)
    with progress_bar(quiet=json) as progress:
        rows = measure_frontier(X, y, settings, **columns, test_share=test_share, seed=seed, progress=progress)
        if output is not None or generalisation is not None:
            minimizer.set_params(**columns, random_state=seed).fit(X, y)
    if output is not None:
        write_coarse(output, minimizer.generalise(X), target, y)
    if generalisation is not None:
        write_json(generalisation, minimizer.to_dict())
    if html is not None:
        from polyculture.report.minimization import render_minimization

        with atomic(html) as file:
            file.write(render_minimization(rows, source=data.name, records=len(X)))
    if json:
        print_json({"source": str(data), "records": len(X), "target": target, "rows": [_plain(row) for row in rows]})
        return
    attacks = list(rows[0].risks)
    table = [
        [row.minimizer, row.label, number(row.utility), number(row.gcp)]
        + [f"{number(row.risks[a].error)}" for a in attacks]
        + [f"{row.seconds:.1f} s"]
        for row in rows
    ]
    heads = ["minimizer", "setting", "utility", "coarseness", *(f"{a} error" for a in attacks), "time"]
    print_table(f"{data.name}: {len(X):,} records, {target}", heads, table, right=tuple(heads[2:]))
    print("utility: accuracy of the service's classifier. coarseness: 1 tells nothing. errors: high is private.")
    for what, path in (("records", output), ("generalisation", generalisation), ("page", html)):
        if path is not None:
            print(f"{what} written to {path}")


def _columns(names: str | None, X: Any, data: Path) -> tuple[str, ...]:
    wanted = tuple(name.strip() for name in names.split(",")) if names else ()
    for name in wanted:
        if name not in X.columns:
            raise BadInput(f"{data.name}: column '{name}' is missing; columns are {', '.join(X.columns)}")
    return wanted


def _plain(row: FrontierRow) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(row)
