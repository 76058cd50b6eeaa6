"""``polyculture reproduce``: run papers' central claims again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from polyculture.cli import options
from polyculture.cli.console import print_json, print_table, progress_bar
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.reproductions.finding import Finding


def _slugs(incomplete: str) -> list[str]:
    from polyculture.reproductions.run import reproducible

    return [slug for slug in reproducible() if slug.startswith(incomplete)]


def reproduce(
    slugs: Annotated[
        list[str] | None, typer.Argument(help="Papers; see polyculture papers.", autocompletion=_slugs)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every paper that has a reproduction.")] = False,
    scale: Annotated[str, typer.Option(help="full: about a minute each. smoke: a few seconds each.")] = "full",
    seed: options.Seed = 0,
    html: Annotated[Path | None, typer.Option(help="Write the atlas, a page with a card for each paper, here.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Keep each finding in this folder; those in it are not run again."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Reproduce papers' central claims, each with the control that must break it."""
    from polyculture.files import atomic
    from polyculture.papers import catalogue, paper
    from polyculture.reproductions.finding import Finding, Scale
    from polyculture.reproductions.run import Failure, reproduce_all, reproducible

    if not slugs and not everything:
        raise BadInput(f"name a paper, or give --all; these have a reproduction: {', '.join(reproducible())}")
    wanted = list(reproducible()) if everything else [paper(slug).slug for slug in slugs or []]
    if scale not in ("smoke", "full"):
        raise BadInput(f"--scale should be smoke or full, not '{scale}'")
    with progress_bar(quiet=json) as progress:
        found = list(reproduce_all(wanted, scale=cast(Scale, scale), seed=seed, keep=output, progress=progress))
    findings = [finding for finding in found if isinstance(finding, Finding)]
    failures = [failure for failure in found if isinstance(failure, Failure)]
    if html is not None:
        from polyculture.report.atlas import render_atlas

        with atomic(html) as file:
            file.write(render_atlas(found, catalogue()))
    if json:
        print_json([finding.to_dict() for finding in found])
    else:
        if len(findings) == 1 and not failures:
            _print_one(findings[0])
        else:
            rows = [
                [
                    f.slug,
                    "holds" if f.holds else "does not hold",
                    f"{sum(map(bool, f.checks.values()))} of {len(f.checks)}",
                    "; ".join(name for name, ok in f.checks.items() if not ok),
                    f"{f.seconds:.1f} s",
                ]
                for f in findings
            ]
            columns = ["paper", "claim", "checks met", "not met", "time"]
            print_table(f"Reproductions, scale {scale}, seed {seed}", columns, rows, right=("time",))
        for failure in failures:
            print(f"{failure.slug}: could not be run: {failure.reason}")
        if html is not None:
            print(f"atlas written to {html}")
    if failures:
        raise typer.Exit(1)


def _print_one(finding: Finding) -> None:
    """One finding whole: what was claimed, measured, and asserted."""
    print(f"{finding.claim}\nControl: {finding.control}\n")
    held = [[name, str(value)] for name, value in finding.values.items()]
    print_table(finding.metric, ["measured", "mean [95 % interval]"], held)
    if finding.control_values:
        control = [[name, str(value)] for name, value in finding.control_values.items()]
        print_table("", ["under the control", "mean [95 % interval]"], control)
    print_table("", ["", "check"], [["✓" if ok else "✗", name] for name, ok in finding.checks.items()])
    for note in finding.notes:
        print(f"Note: {note}")
    verdict = "holds" if finding.holds else "does not hold"
    print(f"{finding.slug}: {verdict} at scale {finding.scale}, from seed {finding.seed}; {finding.seconds:.1f} s")
