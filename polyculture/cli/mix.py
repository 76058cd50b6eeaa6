"""``polyculture mix``: how much of each group to train on, from proxy runs, influence or learning curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from polyculture.cli import options
from polyculture.cli.console import errors_in_one_line, number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given, taking
from polyculture.errors import BadInput

app = typer.Typer(
    help="How much of each group to train on: fit on proxy runs, propose mixtures, train proxies, share a budget.",
    no_args_is_help=True,
)

MixMethod = Annotated[
    str,
    typer.Option(
        "--method",
        "-m",
        help="See polyculture methods --stage mix. Its options follow by name.",
        autocompletion=options.method_names("mix"),
    ),
]
Names = Annotated[str | None, typer.Option(help="Column names, with commas between.")]


def fit(
    context: typer.Context,
    runs: Annotated[Path, typer.Argument(help="A .csv with a run a row: w:GROUP columns and scores.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the fitted mixer goes.")] = Path("mixer.json"),
    method: MixMethod = "regmix",
    weights: Names = None,
    scores: Names = None,
    minimise: Annotated[
        str | None, typer.Option(help="The scores where lower is better.", show_default="by name")
    ] = None,
    on_bad_row: options.OnBadRow = "error",
    json: options.Json = False,
) -> None:
    """Learn from runs which mixture would be best."""
    from polyculture.methods import build

    mixer = build("mix", method, **given(context, "mix", method))
    columns: dict[str, Any] = {"weights": _split(weights), "scores": _split(scores), "minimise": _split(minimise)}
    columns = {name: value for name, value in columns.items() if value}
    if mixer.fits == "runs":
        columns["on_bad_row"] = on_bad_row
    mixer.fit(type(mixer).read(runs, **columns))
    mixer.save(output)
    best = dict(zip(mixer.groups_, map(float, mixer.weights_), strict=True))
    if json:
        print_json({"method": method, "mixer": output, "weights": best})
        return
    print_table(f"{runs}: the best mixture by {method}", ["group", "weight"], _weights(best), right=("weight",))
    print(f"mixer written to {output}")


def propose(
    mixer: Annotated[Path, typer.Argument(help="A mixer that polyculture mix fit wrote.")],
    n: Annotated[int, typer.Option("-n", help="How many mixtures.", min=1)] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them here as CSV.")] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Propose mixtures to train on, best first."""
    from polyculture.mix.base import load

    rows = load(mixer).propose(n, rng=seed).rows()
    if output is not None:
        _write(output, rows)
    if json:
        print_json({"mixer": mixer, "mixtures": rows, "output": output})
        return
    columns = list(rows[0])
    table = [[str(i), *(number(row[c]) for c in columns)] for i, row in enumerate(rows, 1)]
    print_table(f"{mixer}: {len(rows)} mixtures", ["", *columns], table, right=tuple(columns))
    if output is not None:
        print(f"mixtures written to {output}")


def proxies(
    data: options.Data,
    groups: Annotated[str, typer.Option(help="The column of groups to mix.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .csv of runs; runs in it are not run again.")],
    mixtures: Annotated[
        Path | None, typer.Option(help="A .csv of mixtures (w:GROUP columns).", show_default="random ones")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many random mixtures.", min=1)] = 16,
    text: options.Text = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps of a run.", min=1)] = 200,
    batch_size: Annotated[int, typer.Option(help="Sequences a step.", min=1)] = 16,
    length: Annotated[int, typer.Option(help="Tokens a sequence.", min=2)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-3,
    seed: options.Seed = 0,
    json: options.Json = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
) -> None:
    """Train tiny language models on mixtures, and write what each lost on each group."""
    from polyculture.mix.proxy import ProxySettings, run_proxies
    from polyculture.mix.simple import RandomMixture
    from polyculture.recipes.pools import Data, read_rows

    if on_bad_row not in ("error", "skip"):
        raise BadInput(f"--on-bad-row should be error or skip, not '{on_bad_row}'")
    described = Data.model_validate(
        {
            "source": data,
            "text": text or [],
            "groups": groups,
            "quality": None,
            "split": split,
            "on_bad_row": on_bad_row,
        }
    )
    settings = ProxySettings(steps, batch_size, length, learning_rate, seed=seed)
    with progress_bar(quiet=json) as progress:
        rejects = output.with_name(f"{output.stem}.rejects.jsonl")
        pool = read_rows(described, None, rejects=rejects, progress=progress)
        wanted: Any
        if mixtures is not None:
            names, wanted = _mixtures(mixtures, pool.group_names)
        else:
            names = pool.group_names
            wanted = RandomMixture().fit(list(names)).propose(n, rng=seed).weights
        found = run_proxies(pool, wanted, output, settings=settings, groups=names, progress=progress)
    if json:
        print_json({"runs": output, "n": len(found), "groups": list(names)})
        return
    print(f"{len(found):,} runs in {output}; next: polyculture mix fit {output}")


def allocate(
    context: typer.Context,
    curves: Annotated[Path, typer.Argument(help="A .csv: group, n, value, and cost, weight, cap, collected.")],
    budget: Annotated[float, typer.Option(help="What new samples may cost in all.")],
    method: MixMethod = "equitable-sampling",
    seed: options.Seed = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the allocation here as CSV.")] = None,
    json: options.Json = False,
) -> None:
    """Share a budget of new samples between groups by their learning curves."""
    from polyculture.methods import build

    mixer = build("mix", method, **given(context, "mix", method))
    if not hasattr(mixer, "allocate"):
        raise BadInput(f"{method} does not share a budget; equitable-sampling does")
    measured = type(mixer).read(curves)
    found = mixer.begin(measured).allocate(budget, rng=seed)
    costs = dict(zip(measured.groups, map(float, measured.costs), strict=True))
    rows = [{"group": g, "samples": k, "cost": k * costs[g]} for g, k in found.items()]
    if output is not None:
        _write(output, rows)
    if json:
        print_json({"curves": curves, "budget": budget, "allocation": rows, "output": output})
        return
    table = [[str(r["group"]), f"{r['samples']:,}", number(float(r["cost"]))] for r in rows]
    print_table(
        f"{curves}: the next samples for {number(budget)}",
        ["group", "samples", "cost"],
        table,
        right=("samples", "cost"),
    )
    if not rows:
        print("nothing is affordable, or nothing is left to collect")


def replace(
    data: options.Data,
    groups: Annotated[str, typer.Option(help="The column of groups.")],
    specialist: Annotated[str, typer.Option(help="The group whose rows are replaced; the others are general.")],
    budget: Annotated[int, typer.Option(help="Rows in all, the same at every fraction.", min=1)],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl, or with --grid a folder of them.")],
    fraction: Annotated[float, typer.Option(help="Share of general rows.", min=0.0, max=1.0)] = 0.1,
    grid: Annotated[bool, typer.Option("--grid", help="Every fraction of the paper: 0, 5, ... 25 %.")] = False,
    share: Annotated[str, typer.Option(help="How general groups share: size or even.")] = "size",
    seed: options.Seed = 0,
    json: options.Json = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
) -> None:
    """Write training sets in which general rows replace a fraction of a specialist's, at the same budget.

    With --grid the folder also holds mixtures.csv, a row a set: add a column of validation scores, then polyculture mix
    fit mixtures.csv --method replacement --specialist GROUP picks the fraction.
    """
    import numpy as np

    from polyculture.errors import unknown
    from polyculture.files import atomic
    from polyculture.mix.replacement import GRID, replacement_rows
    from polyculture.reading import read_pool

    rejects = output.with_name(f"{output.stem}.rejects.jsonl")
    with progress_bar(quiet=json) as progress:
        pool = read_pool(
            data,
            groups=groups,
            need_text=False,
            on_bad_row=cast(Any, on_bad_row),
            rejects=rejects,
            split=split,
            progress=progress,
        )
    names, codes = pool.group_names, np.asarray(pool.groups)
    if specialist not in names:
        raise unknown(f"group in column '{groups}'", specialist, names)
    own = names.index(specialist)
    rows = [np.flatnonzero(codes == i) for i in range(len(names))]
    fractions = GRID if grid else (fraction,)
    general = [r for i, r in enumerate(rows) if i != own]
    found = replacement_rows(rows[own], general, budget, fractions, share=cast(Any, share), rng=seed)
    sets: list[dict[str, Any]] = []
    for f, parts in zip(fractions, found, strict=True):
        chosen = np.random.default_rng([seed, 1]).permutation(np.concatenate(parts))
        path = output / f"general-{100 * f:02.0f}.jsonl" if grid else output
        with atomic(path) as file:
            file.writelines(line + "\n" for line in pool.records.take(chosen).lines())
        counts = np.bincount(codes[chosen], minlength=len(names))
        sets.append({"fraction": f, "output": path, "rows": dict(zip(names, counts.tolist(), strict=True))})
    if grid:
        _write(
            output / "mixtures.csv",
            [{"run": s["output"].name} | {f"w:{g}": repr(n / budget) for g, n in s["rows"].items()} for s in sets],
        )
    if json:
        print_json({"source": data, "specialist": specialist, "budget": budget, "seed": seed, "sets": sets})
        return
    table = [[f"{100 * s['fraction']:g} %", *(f"{n:,}" for n in s["rows"].values()), str(s["output"])] for s in sets]
    print_table(
        f"{data}: {budget:,} rows, {specialist} with general rows in their place",
        ["replaced", *names, "written to"],
        table,
        right=("replaced", *names),
    )
    if grid:
        print(
            f"train on each, add a column of scores to {output / 'mixtures.csv'}, then: polyculture mix fit "
            f"{output / 'mixtures.csv'} --method replacement --specialist {specialist}"
        )


Criteria = Annotated[str, typer.Option(help="The quality criteria, with commas between.")]
Domains = Annotated[str, typer.Option(help="The domains, with commas between.")]


def quadmix_draw(
    criteria: Criteria,
    domains: Domains,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .csv of parameters, one proxy run a row.")],
    n: Annotated[int, typer.Option("-n", help="How many proxy runs; the paper made 3 000.", min=1)] = 64,
    omega: Annotated[float, typer.Option(help="Most of a domain's tokens that can count as its best.")] = 0.1,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Draw QuaDMix parameters to train proxies with; add a column of losses, then quadmix-fit."""
    from polyculture.select.quadmix_sampling import parameter_names
    from polyculture.select.quadmix_search import QuaDMixSearch

    search = QuaDMixSearch(tuple(_split(criteria)), tuple(_split(domains)), omega=omega)
    names = parameter_names(search.criteria, search.domains)
    _write(output, [dict(zip(names, row.tolist(), strict=True)) for row in search.vectors(n, seed)])
    if json:
        print_json({"runs": output, "n": n, "parameters": names})
        return
    print(f"{n:,} runs in {output}; train on each, add the column loss, then polyculture mix quadmix-fit {output}")


def quadmix_fit(
    runs: Annotated[Path, typer.Argument(help="The .csv of parameters with the loss that each led to.")],
    criteria: Criteria,
    domains: Domains,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the best parameters go.")] = Path(
        "quadmix.json"
    ),
    score: Annotated[str, typer.Option(help="The column of losses.")] = "loss",
    omega: Annotated[float, typer.Option(help="As the parameters were drawn.")] = 0.1,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Learn the loss of QuaDMix parameters from proxy runs, and write the best for polyculture select."""
    from polyculture.select.quadmix_search import QuaDMixSearch

    search = QuaDMixSearch(tuple(_split(criteria)), tuple(_split(domains)), omega=omega, seed=seed).fit(
        runs, score=score
    )
    search.best_.save(output)
    found = {"predicted_loss": search.predicted_loss_, "error": search.error_, "correlation": search.correlation_}
    if json:
        print_json({"parameters": output, **found})
        return
    print_table(
        f"{runs}: searched", ["", ""], [[name.replace("_", " "), number(value)] for name, value in found.items()]
    )
    print(f"parameters written to {output}; next: polyculture select DATA --method quadmix --parameters {output}")


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()] if names else []


def _weights(held: dict[str, float]) -> list[list[str]]:
    return [[group, number(weight)] for group, weight in sorted(held.items(), key=lambda pair: -pair[1])]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    from polyculture.files import atomic

    with atomic(path) as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["group", "samples", "cost"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _mixtures(path: Path, known: tuple[str, ...]) -> tuple[tuple[str, ...], list[list[float]]]:
    """The w:GROUP columns of a file of mixtures."""
    from polyculture.errors import unknown
    from polyculture.tables import read_csv

    header, rows = read_csv(path)
    names = tuple(column.removeprefix("w:") for column in header if column.startswith("w:"))
    if not names:
        raise BadInput(f"{path} has no weight columns; call them w:GROUP. Its columns are {', '.join(header)}")
    for name in names:
        if name not in known:
            raise unknown("group in the data", name, known)
    weights = []
    for line, row in rows:
        try:
            weights.append([float(row[f"w:{name}"]) for name in names])
        except ValueError as error:
            raise BadInput(f"{path} line {line}: {error}; weights are numbers") from error
    return names, weights


app.command(cls=taking(method="mix"))(errors_in_one_line(fit))
app.command()(errors_in_one_line(propose))
app.command()(errors_in_one_line(proxies))
app.command(cls=taking(method="mix"))(errors_in_one_line(allocate))
app.command()(errors_in_one_line(replace))
app.command(name="quadmix-draw")(errors_in_one_line(quadmix_draw))
app.command(name="quadmix-fit")(errors_in_one_line(quadmix_fit))
