"""``polyculture select``: choose rows, or compare ways of choosing them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.pool import Pool
    from polyculture.progress import Progress


def select(
    context: typer.Context,
    data: options.Data,
    k: Annotated[int, typer.Option("-k", "--keep", help="How many rows to keep.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the chosen records here as JSON lines.")
    ] = None,
    method: options.SelectMethod = None,
    compare: Annotated[str | None, typer.Option(help="Compare these methods, with commas between.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --compare: write a page with all frontiers in one plot.")
    ] = None,
    text: options.Text = None,
    quality: options.Quality = None,
    groups: options.Groups = None,
    embedder: options.Embedder = "minilm",
    seed: options.Seed = 0,
    json: options.Json = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
    engine: options.EngineName = "local",
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Choose k rows of a pool with one method, or compare several.

    Options that belong to the method are given by their names: --method kmq --n-clusters 40.
    """
    from polyculture.cli.pools import load
    from polyculture.files import atomic
    from polyculture.methods import build
    from polyculture.recipes.reading import default_select

    if html is not None and not compare:
        raise BadInput("--html goes with --compare a,b,c; for one method, polyculture curate writes a report")
    described = options.pool_data(
        context,
        data,
        text=text,
        quality=quality,
        groups=groups,
        split=split,
        on_bad_row=on_bad_row,
    )
    params: dict[str, Any] = {"method": method, **given(context, "select", method)}
    if method is None:
        params = default_select(groups=groups is not None, quality=described.quality is not None)
    names = [name.strip() for name in compare.split(",") if name.strip()] if compare else []
    selectors = {name: build("select", name, **given(context, "select", name)) for name in names}
    selector = build("select", params["method"], **{k: v for k, v in params.items() if k != "method"})
    with options.engine(engine) as workers, progress_bar(quiet=json) as progress:
        held = options.cache_folder(cache, no_cache)
        pool = load(described, options.none_or(embedder), workers, held, progress)
        if compare:
            _compare(pool, selectors, k, seed, html, json, progress)
            return
        progress(f"selecting with {params['method']}", 0, 1)
        chosen = selector.select(pool, k, rng=seed)
        progress(f"selecting with {params['method']}", 1, 1)
    if output is not None:
        with atomic(output) as file:
            file.writelines(line + "\n" for line in pool.records.take(chosen).lines())
    if json:
        print_json({**params, "k": k, "seed": seed, "rows": chosen, "output": output})
    elif output is None:
        for line in pool.records.take(chosen).lines():
            print(line)
    else:
        print(f"{len(chosen):,} of {len(pool):,} rows chosen by {params['method']}, written to {output}")


def _compare(
    pool: Pool,
    selectors: Mapping[str, Any],
    k: int,
    seed: int,
    html: Path | None,
    as_json: bool,
    progress: Progress,
) -> None:
    """Every selector at k and, where a page draws frontiers, at smaller budgets too."""
    from polyculture.files import atomic
    from polyculture.select.compare import compare

    budgets = [k] if html is None else sorted({max(1, k // 8), max(1, k // 4), max(1, k // 2), k})
    found = compare(pool, selectors, budgets, rng=seed, progress=progress)
    if html is not None:
        from polyculture.report.comparison import render_comparison

        with atomic(html) as file:
            file.write(render_comparison(found, source=pool.source))
    if as_json:
        print_json({"source": pool.source, "embedder": pool.embedder, "seed": seed, **found.to_dict()})
        return
    names = list(found.pool)
    rows = [
        [
            row.selector,
            f"{row.k:,}",
            f"{len(row.chosen):,}",
            *(number(row.values[n]) for n in names),
            f"{row.seconds:.2f} s",
        ]
        for row in sorted(found.rows, key=lambda row: row.k)
    ]
    rows.append(["whole pool", "", f"{len(pool):,}", *(number(found.pool[n]) for n in names), ""])
    numbers = ("k", "chosen", *names, "time")
    print_table(f"{pool.source}: selectors compared", ["selector", "k", "chosen", *names, "time"], rows, right=numbers)
    for name, why in found.skipped.items():
        print(f"{name} was not measured: {why}")
    if html is not None:
        print(f"page written to {html}")
