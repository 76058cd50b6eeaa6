"""``polyculture study policies``: compare policies by outputs that are there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polyculture.cli import options
from polyculture.cli.console import print_json, progress_bar
from polyculture.cli.study_rlhf import print_comparison
from polyculture.errors import BadInput


def policies(
    outputs: Annotated[
        list[str],
        typer.Argument(
            help="NAME=FILE of each policy, the one to compare with first: rows with prompt, and responses (a list) or "
            "response, perhaps with scores and reference."
        ),
    ],
    ood: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE of the same policy on shifted prompts; once a policy.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="What scores answers: a quality scorer, or python:MODULE:FUNCTION of (prompts, answers).",
            show_default="the scores in the files",
        ),
    ] = None,
    embedder: options.Embedder = "tfidf",
    nli: Annotated[
        str | None, typer.Option(help="python:MODULE:FUNCTION of pairs of texts, for the NLI diversity too.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the comparison here.")] = None,
    json: options.Json = False,
) -> None:
    """Which policy wins more, in and out of distribution, and which is more varied? By outputs you already have.

    Every policy is compared with the first one, prompt by prompt. Sample all of them at one temperature and top-p.
    """
    from polyculture.align.watching.measures import make_reward
    from polyculture.files import atomic
    from polyculture.report.policies import render_policies
    from polyculture.studies.own_outputs import compare_outputs, read_outputs
    from polyculture.studies.rlhf_settings import make_measures

    inside, outside = _named("policy", outputs), _named("--ood", ood or [])
    reward = None if judge is None else make_reward(judge)
    with progress_bar(quiet=json) as progress:
        found = compare_outputs(
            {name: read_outputs(file, progress=progress) for name, file in inside.items()},
            {name: read_outputs(file, progress=progress) for name, file in outside.items()},
            judge=reward,
            judge_name="" if reward is None or judge is None else judge,
            measures=make_measures(embedder, nli),
            progress=progress,
        )
    if html is not None:
        with atomic(html) as file:
            file.write(render_policies(found, title="Policies compared", lead=", ".join(inside)))
    if json:
        print_json({**found.to_dict(), "html": html})
        return
    print_comparison(found)
    if html is not None:
        print(f"page written to {html}")


def _named(what: str, given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, equals, file = one.partition("=")
        if not (name and equals and file):
            raise BadInput(f"{what} should be NAME=FILE, such as RL=rl.jsonl, not '{one}'")
        if name in found:
            raise BadInput(f"{what}: there are two files for '{name}'; put their rows into one")
        found[name] = file
    return found
