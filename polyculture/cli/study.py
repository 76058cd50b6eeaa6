"""``polyculture study``: vary how diverse the training data are, and measure what models learn from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import errors_in_one_line, print_json, print_table, progress_bar
from polyculture.cli.study_policies import policies
from polyculture.cli.study_rlhf import rlhf_diversity
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.studies.only_if import Point, Study

app = typer.Typer(
    help="Studies: train small models on data of more and less diversity, and see what they generalise to.",
    no_args_is_help=True,
)

STRINGS = "Strings: rewriting, conditional, restricted"
EXPRESSIONS = "Expressions: algebra, specialist"
MODEL = "Model"


@app.callback()
def study() -> None:
    """Studies: train small models on data of more and less diversity, and see what they generalise to."""


def only_if(
    rules: Annotated[
        str, typer.Option(help="Numbers of rules to train on, with commas between.", show_default="by task")
    ] = "",
    budget: Annotated[int, typer.Option(help="Training examples, the same at every number of rules.", min=1)] = 8000,
    seeds: Annotated[int, typer.Option(help="Models at each number of rules, for the intervals.", min=1)] = 2,
    task: Annotated[
        str, typer.Option(help="rewriting, conditional (with No-Ops), restricted, algebra or specialist.")
    ] = "rewriting",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for every model's result; resumes.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the curve here.")] = None,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Also one domain, and four times the examples.")
    ] = True,
    threshold: Annotated[float, typer.Option(help="Accuracy on unseen rules that counts as generalising.")] = 0.5,
    test_size: Annotated[int, typer.Option(help="Examples of each test.", min=1)] = 1000,
    held_out: Annotated[int | None, typer.Option(help="Rules kept for the test.", show_default="by task")] = None,
    skew: Annotated[
        float | None, typer.Option(help="Share examples by a power law; 1 evenly, smaller is more peaked.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="encoder (small) or gpt2 (the paper's size).", show_default="by task", rich_help_panel=MODEL),
    ] = None,
    width: Annotated[int | None, typer.Option(show_default="by model", rich_help_panel=MODEL)] = None,
    heads: Annotated[int | None, typer.Option(show_default="by model", rich_help_panel=MODEL)] = None,
    layers: Annotated[int | None, typer.Option(show_default="by model", rich_help_panel=MODEL)] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps of every model.", min=1, rich_help_panel=MODEL)] = 700,
    batch_size: Annotated[int, typer.Option(help="Examples a step.", min=1, rich_help_panel=MODEL)] = 128,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest rate.", show_default="by model", rich_help_panel=MODEL)
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...", show_default="a GPU if there is one", rich_help_panel=MODEL)
    ] = None,
    processes: Annotated[int, typer.Option(help="Models trained at a time.", min=1, rich_help_panel=MODEL)] = 1,
    alphabet: Annotated[int | None, typer.Option(help="Letters.", rich_help_panel=STRINGS)] = None,
    length: Annotated[
        str | None, typer.Option(help="Shortest,longest string.", show_default="by task", rich_help_panel=STRINGS)
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Shortest,longest x and y.", rich_help_panel=STRINGS)] = None,
    no_op: Annotated[float | None, typer.Option(help="Share of No-Ops.", rich_help_panel=STRINGS)] = None,
    family: Annotated[
        str | None, typer.Option(help="repeat, periodic, mirror or mixture.", rich_help_panel=STRINGS)
    ] = None,
    strengths: Annotated[str | None, typer.Option(help="Of the family, in training.", rich_help_panel=STRINGS)] = None,
    test_strengths: Annotated[
        str | None, typer.Option(help="Of the family, in the test.", rich_help_panel=STRINGS)
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Of expressions in training.", rich_help_panel=EXPRESSIONS)] = None,
    inner_depth: Annotated[
        int | None, typer.Option(help="Of what placeholders stand for.", rich_help_panel=EXPRESSIONS)
    ] = None,
    longest: Annotated[
        int | None, typer.Option(help="Most symbols of a side of an identity.", rich_help_panel=EXPRESSIONS)
    ] = None,
    test_depth: Annotated[
        int | None, typer.Option(help="specialist: of expressions in the test.", rich_help_panel=EXPRESSIONS)
    ] = None,
    diverse: Annotated[
        float | None, typer.Option(help="specialist: share of other rules' examples.", rich_help_panel=EXPRESSIONS)
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """How many rules must a fixed number of examples cover before a model follows rules it has never seen?

    Only-IF (2024). With -o every trained model's result is kept: the same command goes on where it was stopped, and
    more --rules or --seeds may be added later.
    """
    from polyculture.studies.only_if import sweep
    from polyculture.studies.only_if_tasks import USUAL, make_task
    from polyculture.studies.sequence_models import Training

    held = make_task(
        task,
        held_out=held_out,
        skew=skew,
        alphabet=alphabet,
        length=_pair("--length", length),
        pattern=_pair("--pattern", pattern),
        no_op=no_op,
        family=family,
        strengths=_whole("--strengths", strengths),
        test_strengths=_whole("--test-strengths", test_strengths),
        depth=depth,
        inner_depth=inner_depth,
        longest=longest,
        test_depth=test_depth,
        diverse=diverse,
    )
    usual = USUAL[task]
    numbers = _whole("--rules", rules) or usual.rules
    sizes = {"width": width, "heads": heads, "layers": layers, "learning_rate": learning_rate}
    training = Training.of(model or usual.model, steps=steps, batch_size=batch_size, device=device, **sizes)
    with progress_bar(quiet=json) as progress:
        found = sweep(
            held,
            numbers,
            budget=budget,
            seeds=range(seed, seed + seeds),
            training=training,
            test_size=test_size,
            controls=controls,
            threshold=threshold,
            folder=output,
            processes=processes,
            progress=progress,
        )
    if html is not None:
        _write_page(html, found, task, budget, training.model)
    told: dict[str, Any] = {"task": task, "model": training.model, "budget": budget, "seeds": seeds, "seed": seed}
    if json:
        print_json({**told, **found.to_dict(), "trained": found.trained, "output": output, "html": html})
        return
    _print(found, task, training.model, seeds)
    if output is not None:
        trained = f"{found.trained} model{'' if found.trained == 1 else 's'} trained"
        print(f"results in {output}; {trained}, {found.kept} kept from before")
    if html is not None:
        print(f"page written to {html}")


def _print(found: Study, task: str, model: str, seeds: int) -> None:
    columns = ["rules", "seen", "unseen", *(["unseen No-Ops"] if found.points[0].no_op else []), "examples"]

    def row(point: Point, name: str = "") -> list[str]:
        counts = {cell.rules_with_examples for cell in point.cells}
        with_examples = "" if counts <= {point.rules} else f" ({min(counts):,} to {max(counts):,} with examples)"
        cells = [
            f"{point.rules:,}{', ' + name if name else ''}{with_examples}",
            _share(point.seen),
            _share(point.unseen),
        ]
        if "unseen No-Ops" in columns:
            cells.append(_share(point.no_op) if point.no_op else "")
        return [*cells, f"{point.cells[0].budget:,}"]

    rows = [row(point) for point in found.points]
    rows += [row(point, name) for name, point in found.controls.items()]
    over = f", mean [95 % interval] of {seeds} seeds" if seeds > 1 else ""
    title = f"{task}, {model}: whole outputs right{over}"
    print_table(title, columns, rows, right=tuple(columns[1:]))
    print(f"unseen: {found.tells}")
    for note in found.notes:
        print(f"note: {note}")
    unlearnt = [point.rules for point in found.points if point.seen.mean < found.threshold]
    if unlearnt:
        few = ", ".join(f"{rules:,}" for rules in unlearnt)
        print(f"note: with {few} rules even those of the training are not learnt: raise --steps, or ignore unseen")
    if found.crossing is None:
        print(f"no number of rules here reaches {found.threshold:g} on unseen ones")
    else:
        print(
            f"{found.crossing:,} is the smallest number of rules here that reaches {found.threshold:g} on unseen ones"
        )


def _share(held: Any) -> str:
    """A share with its interval, as percentages."""
    ends = "" if held.n == 1 else f" [{100 * held.low:.0f}, {100 * held.high:.0f}]"
    return f"{100 * held.mean:.1f} %{ends}"


def _write_page(path: Path, found: Study, task: str, budget: int, model: str) -> None:
    from polyculture.files import atomic
    from polyculture.report.comparison import Table, render_series
    from polyculture.report.figure import Figure

    points = [("", point) for point in found.points] + list(found.controls.items())
    rows: list[list[str | float | None]] = [
        [f"{point.rules:,}{', ' + name if name else ''}", cell.seed, cell.budget, cell.seen, cell.unseen, cell.seconds]
        for name, point in points
        for cell in point.cells
    ]
    crossing = (
        f"From {found.crossing:,} rules on the mean reaches {found.threshold:g}."
        if found.crossing is not None
        else f"No number of rules reaches {found.threshold:g}."
    )
    figure = Figure(
        "curve",
        found.plot,
        f"Unseen means {found.tells}. {crossing}",
        log_x=min(point.rules for point in found.points) > 0,
        percent=True,
    )
    page = render_series(
        "How many instructions make a model generalise",
        [figure],
        table=Table("Every model", ["rules", "seed", "examples", "seen", "unseen", "seconds"], rows),
        lead=f"Task {task}, {model}, {budget:,} training examples at every number of rules.",
        notes=found.notes,
    )
    with atomic(path) as file:
        file.write(page)


def _whole(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers with commas between."""
    if not text:
        return None
    try:
        found = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(
            f"{option} should be whole numbers with commas between, such as 4,30,180, not '{text}'"
        ) from error
    return found or None


def _pair(option: str, text: str | None) -> tuple[int, int] | None:
    """Shortest and longest; one number is both."""
    found = _whole(option, text)
    if found is None:
        return None
    if len(found) > 2:
        raise BadInput(f"{option} should be one number or two, shortest and longest, not '{text}'")
    return found[0], found[-1]


app.command(name="only-if")(errors_in_one_line(only_if))
app.command(name="rlhf-diversity")(errors_in_one_line(rlhf_diversity))
app.command(name="policies")(errors_in_one_line(policies))
