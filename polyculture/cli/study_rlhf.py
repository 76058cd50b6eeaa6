"""``polyculture study rlhf-diversity``: what RLHF does to generalisation and diversity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.report.comparison import Table
    from polyculture.studies.rlhf_findings import Found
    from polyculture.studies.rlhf_settings import RLHFStudy

TRAINING = "Training"
BY_MODEL = "by model"
NONE = "none"


def rlhf_diversity(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the study; the same command goes on in it.")
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="Preferences (prompt, chosen, rejected), or demonstrations (prompt, completion) with --reward; "
            "word-wishes is a task whose reward is known."
        ),
    ] = "word-wishes",
    model: Annotated[
        str, typer.Option("--model", "-M", help="A folder or hub id; tiny makes a small untrained one.")
    ] = "tiny",
    ood: Annotated[str | None, typer.Option(help="Data with shifted prompts, to test generalisation on.")] = None,
    reward: Annotated[
        str | None,
        typer.Option(help="Ground truth: a quality scorer, or python:MODULE:FUNCTION of (prompts, answers)."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="What counts wins, as --reward.",
            show_default="the ground truth, or a second reward model of half of the preferences",
        ),
    ] = None,
    kl: Annotated[str, typer.Option(help="KL coefficients of RL, with commas between.")] = "0.5,0.2,0.05",
    control: Annotated[
        str, typer.Option(help="One more KL coefficient, so large that RL can't leave SFT, or none.")
    ] = "1000",
    prompts: Annotated[int, typer.Option(help="Prompts to test on, of either kind; the paper's 500.", min=2)] = 100,
    samples: Annotated[int, typer.Option(help="Outputs a prompt.", min=2)] = 16,
    best_of: Annotated[int, typer.Option(help="n of best-of-n.", min=2)] = 16,
    pool: Annotated[
        int | None,
        typer.Option(help="Answers a prompt that best-of-n draws from.", show_default="samples times n: none shared"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of every policy's outputs.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Of every policy's outputs.")] = 1.0,
    embedder: options.Embedder = "tfidf",
    nli: Annotated[
        str | None, typer.Option(help="python:MODULE:FUNCTION of pairs of texts, for the NLI diversity too.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Where the page goes.", show_default="report.html in -o")] = None,
    demonstrations: Annotated[int, typer.Option(help="word-wishes: how many.", rich_help_panel=TRAINING)] = 8000,
    comparisons: Annotated[
        int, typer.Option(help="Pairs of answers that --reward compares.", rich_help_panel=TRAINING)
    ] = 4000,
    sft_epochs: Annotated[float | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    sft_learning_rate: Annotated[float | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    reward_epochs: Annotated[float | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    reward_learning_rate: Annotated[float | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Of SFT and reward model.", show_default=BY_MODEL, rich_help_panel=TRAINING)
    ] = None,
    rl_steps: Annotated[int | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    rl_prompts: Annotated[
        int | None,
        typer.Option(help="A step, with four answers each.", show_default=BY_MODEL, rich_help_panel=TRAINING),
    ] = None,
    rl_learning_rate: Annotated[float | None, typer.Option(show_default=BY_MODEL, rich_help_panel=TRAINING)] = None,
    max_length: Annotated[
        int | None,
        typer.Option(help="Most tokens of a prompt and an answer.", show_default=BY_MODEL, rich_help_panel=TRAINING),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Most tokens of an answer.", show_default=BY_MODEL, rich_help_panel=TRAINING)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Read the first so many rows of the data.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier study left in the folder.")] = False,
    split: options.Split = "train",
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Do answers win more and vary less after RLHF? SFT, best-of-n and RL against one reward model, side by side.

    "Understanding the Effects of RLHF on LLM Generalisation and Diversity" (2023). Without data it runs on a small task
    whose reward is known, in some minutes on two cores. Every stage is kept in the folder.
    """
    from polyculture.files import atomic
    from polyculture.report.policies import render_policies
    from polyculture.studies.rlhf_diversity import run_study
    from polyculture.studies.rlhf_settings import make_study

    job = make_study(
        output,
        data=data,
        model=model,
        ood=ood,
        reward=reward,
        judge=judge,
        kl=_numbers("--kl", kl),
        control=_control(control),
        prompts=prompts,
        samples=samples,
        best_of=best_of,
        pool=pool,
        temperature=temperature,
        top_p=top_p,
        embedder=embedder,
        nli=nli,
        demonstrations=demonstrations,
        comparisons=comparisons,
        sft_epochs=sft_epochs,
        sft_learning_rate=sft_learning_rate,
        reward_epochs=reward_epochs,
        reward_learning_rate=reward_learning_rate,
        batch_size=batch_size,
        rl_steps=rl_steps,
        rl_prompts=rl_prompts,
        rl_learning_rate=rl_learning_rate,
        max_length=max_length,
        max_new_tokens=max_new_tokens,
        limit=limit,
        split=split,
        seed=seed,
        fresh=fresh,
    )
    with progress_bar(quiet=json) as progress:
        found = run_study(job, progress)
    page = html or output / "report.html"
    with atomic(page) as file:
        file.write(render_policies(found, title="What RLHF does to wins and diversity", lead=_lead(job)))
    if json:
        print_json({**found.to_dict(), "reused": found.reused, "output": output, "html": page})
        return
    print_comparison(found)
    before = f"; there already: {', '.join(found.reused)}" if found.reused else ""
    print(f"stages in {output}{before}")
    print(f"page written to {page}")


def print_comparison(found: Found) -> None:
    """The tables of policies compared, and what a reader must know."""
    from polyculture.report.policies import claim_table, per_input_table, policy_table

    for table in (policy_table(found), *(per_input_table(found, p) for p in found.places), claim_table(found)):
        _print_one(table)
    print(f"wins are counted by {found.judge}")
    if found.reward_accuracy is not None:
        print(f"the reward model has {found.reward_accuracy:.1%} of held-out comparisons right")
    for note in found.notes:
        print(f"note: {note}")


def _print_one(table: Table) -> None:
    rows = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in table.rows]
    print_table(table.title, list(table.columns), rows, right=tuple(table.columns[1:]))


def _lead(job: RLHFStudy) -> str:
    return (
        f"{job.data}, model {job.model}: {job.samples} outputs for each of {job.prompts} prompts, temperature "
        f"{job.temperature:g}, top-p {job.top_p:g}; best of {job.best_of}."
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise BadInput(f"{option} should be numbers with commas between, such as 0.5,0.2, not '{text}'") from error


def _control(text: str) -> float | None:
    if text.lower() == NONE:
        return None
    found = _numbers("--control", text)
    if len(found) != 1 or found[0] <= 0:
        raise BadInput(f"--control should be one number above 0, or none, not '{text}'")
    return found[0]
