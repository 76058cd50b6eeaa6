"""The command line's root: which commands there are."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from polyculture import __version__
from polyculture.cli import (
    align,
    catalogue,
    curate,
    decode,
    distill,
    measure,
    minimize,
    mix,
    recipes,
    reproduce,
    select,
    study,
)
from polyculture.cli.align_names import name_here
from polyculture.cli.console import errors_in_one_line
from polyculture.cli.method_options import taking

app = typer.Typer(
    name="polyculture",
    help="Quality and diversity in generative AI: measure the frontier of any pool of candidates, then push it out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(cls=taking(method="select", quality="quality"))(errors_in_one_line(curate.curate))
app.command(cls=taking(quality="quality"))(errors_in_one_line(measure.measure))
app.command(cls=taking(method="select", compare="select", quality="quality"))(errors_in_one_line(select.select))
app.command(cls=taking(strategy="decode", compare="decode"))(errors_in_one_line(decode.decode))
app.command(cls=taking(objective="align", elsewhere=name_here))(errors_in_one_line(align.align))
app.command(cls=taking(method="distill"))(errors_in_one_line(distill.distill))
app.command()(errors_in_one_line(recipes.run))
app.command()(errors_in_one_line(recipes.report))
app.add_typer(mix.app, name="mix")
app.add_typer(study.app, name="study")
app.command(cls=taking(method="privacy"))(errors_in_one_line(minimize.minimize))
app.command()(errors_in_one_line(catalogue.methods))
app.command()(errors_in_one_line(catalogue.papers))
app.command()(errors_in_one_line(reproduce.reproduce))


def _version(asked: bool) -> None:
    if asked:
        print(f"polyculture {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Quality and diversity in generative AI: measure the frontier of any pool of candidates, then push it out."""


def main() -> None:
    """Run the command line."""
    # Libraries draw bars of their own and warn of forks that never happen here: what they do is ours to tell.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    app()
