"""``polyculture align``: train a model towards what is preferred."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyculture.cli import options
from polyculture.cli.console import number, print_json, print_table, progress_bar
from polyculture.cli.method_options import given_to_any
from polyculture.errors import BadInput

if TYPE_CHECKING:
    from polyculture.align.summary import AlignmentRun


SHOWN = {
    "accuracy in training": "rewards/accuracies",
    "margin in training": "rewards/margins",
    "loss, held out": "eval_loss",
    "accuracy, held out": "eval_rewards/accuracies",
    "margin, held out": "eval_rewards/margins",
    "reward of samples": "watch/reward",
    "Vendi of a prompt's samples": "watch/vendi_prompt",
    "Vendi across prompts": "watch/vendi_across",
    "entropy, nats a token": "watch/entropy",
    "KL to the reference, nats a token": "watch/reverse_kl",
}
"""Lines of the table, from the log: first value and last."""


def align(
    context: typer.Context,
    data: Annotated[
        str, typer.Argument(help="Rows with TRL's columns: prompt, chosen, rejected, or as the objective needs.")
    ],
    model: Annotated[str, typer.Option("--model", "-M", help="A folder or hub id of a causal language model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run; the same command goes on in it.")],
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            "-O",
            help="What to train: dpo, tdpo, kto, ...; python:module:function; a sum: 0.8*dpo+0.2*sft. Its options "
            "follow by name: --beta 0.05.",
        ),
    ] = "dpo",
    reference: Annotated[
        str | None, typer.Option(help="What the policy is compared with.", show_default="the model before training")
    ] = None,
    held_out: Annotated[
        str,
        typer.Option(
            help="Share of the prompts that is watched and not trained on, or a file of held-out rows.",
            rich_help_panel="Data",
        ),
    ] = "0.05",
    epochs: Annotated[float, typer.Option(help="Passes over the data.", rich_help_panel="Training")] = 1.0,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps, in place of epochs.", rich_help_panel="Training")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Examples at once on each device.", rich_help_panel="Training")] = 8,
    accumulate: Annotated[int, typer.Option(help="Batches of one optimiser step.", rich_help_panel="Training")] = 1,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The highest.", show_default="1e-6, 1e-5 for an adapter", rich_help_panel="Training"),
    ] = None,
    warmup: Annotated[
        float,
        typer.Option(
            help="Share of the steps in which the learning rate rises; then it falls to 0.", rich_help_panel="Training"
        ),
    ] = 0.1,
    max_length: Annotated[
        int, typer.Option(help="Most tokens of a prompt and an answer.", rich_help_panel="Training")
    ] = 1024,
    lora: Annotated[
        int | None,
        typer.Option(help="Rank of a LoRA adapter to train instead of the model.", rich_help_panel="Training"),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the weights in memory: float32, bfloat16, auto.", rich_help_panel="Training")
    ] = None,
    bf16: Annotated[
        bool | None, typer.Option(help="Compute in bfloat16.", show_default="on a GPU", rich_help_panel="Training")
    ] = None,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", help="Hold fewer activations, compute them twice.", rich_help_panel="Training"
        ),
    ] = False,
    save_every: Annotated[
        int | None,
        typer.Option(
            help="Steps from one checkpoint to the next.",
            show_default="about ten checkpoints",
            rich_help_panel="Training",
        ),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option(
            "--training",
            help="Any other of transformers' TrainingArguments: --training optim=adafactor.",
            rich_help_panel="Training",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="A column that the data lack or name otherwise: prompt=column:question, NAME=NUMBER, "
            "NAME=python:MODULE:FUN (of the row).",
            rich_help_panel="Data",
        ),
    ] = None,
    margin_rewards: Annotated[
        str | None,
        typer.Option(
            help="modpo: rewards of the other objectives: length,python:MODULE:FUN,implicit:DIR.",
            rich_help_panel="Data",
        ),
    ] = None,
    divergence: Annotated[
        str | None,
        typer.Option(
            help="Hold to the reference by forward_kl, js or alpha:0.3 in place of reverse KL.",
            rich_help_panel="Variants",
        ),
    ] = None,
    ld_alpha: Annotated[
        float, typer.Option(help="LD: weight of tokens beyond a pair's shorter answer.", rich_help_panel="Variants")
    ] = 1.0,
    wpo: Annotated[
        bool,
        typer.Option(
            "--wpo", help="WPO: weigh pairs by how likely the policy writes them.", rich_help_panel="Variants"
        ),
    ] = False,
    refresh: Annotated[
        str | None,
        typer.Option(
            help="TR-DPO: ALPHA,STEPS of a reference that follows the policy, as in 0.6,512.",
            rich_help_panel="Variants",
        ),
    ] = None,
    watch_every: Annotated[
        int | None,
        typer.Option(
            help="Steps from one evaluation to the next.", show_default="about ten evaluations", rich_help_panel="Watch"
        ),
    ] = None,
    watch_prompts: Annotated[
        int, typer.Option(help="Held-out prompts that are sampled; 0 does not watch.", rich_help_panel="Watch")
    ] = 32,
    watch_samples: Annotated[int, typer.Option(help="Samples of each.", rich_help_panel="Watch")] = 4,
    watch_tokens: Annotated[int, typer.Option(help="Most tokens of a sample.", rich_help_panel="Watch")] = 64,
    reward: Annotated[
        str,
        typer.Option(help="Of samples: a quality scorer, python:MODULE:FUNCTION, or none.", rich_help_panel="Watch"),
    ] = "heuristic",
    embedder: Annotated[
        str, typer.Option(help="Of the samples' Vendi scores: tfidf, minilm, ...", rich_help_panel="Watch")
    ] = "tfidf",
    watch_divergence: Annotated[
        bool,
        typer.Option(
            help="Measure the distance from the reference; without --lora it costs a second model in memory.",
            rich_help_panel="Watch",
        ),
    ] = True,
    alarm: Annotated[
        str, typer.Option(help="At signs of over-optimisation: warn, stop, or off.", rich_help_panel="Watch")
    ] = "warn",
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Use the CPU even where there is a GPU.", rich_help_panel="Training")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the model would see, token for token, and write nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier run left in the folder.")] = False,
    on_bad_row: options.OnBadRow = "error",
    split: options.Split = "train",
    seed: options.Seed = 0,
    json: options.Json = False,
    cache: options.Cache = None,
    no_cache: options.NoCache = False,
) -> None:
    """Train a model towards what is preferred, and watch what it does to the diversity of its answers.

    Columns of the data: pairs have prompt, chosen, rejected; labels prompt, completion, label; rankings prompt,
    responses, scores; demonstrations prompt, completion, or messages; prompts prompt. Pairs serve every objective.

    Runs alone, or under torchrun and accelerate launch. Stopped, it goes on from its last checkpoint when the same
    command is given again. Options that belong to the objective are given by their names: --objective kto --beta 0.2.
    """
    from polyculture.align.job import Alignment
    from polyculture.align.run import align as run
    from polyculture.align.training import Training
    from polyculture.align.watching.settings import Watch

    folder = options.cache_folder(cache, no_cache)
    job = Alignment(
        data=data,
        model=model,
        out=output,
        objective=objective,
        hyper=given_to_any(context),
        reference=reference,
        held_out=_share(held_out),
        columns=_pairs(column or [], "--column"),
        margin_rewards=margin_rewards,
        divergence=divergence,
        ld_alpha=ld_alpha,
        wpo=wpo,
        refresh=_refresh(refresh),
        training=Training(
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=learning_rate,
            warmup=warmup,
            max_length=max_length,
            lora=lora,
            dtype=dtype,
            bf16=bf16,
            gradient_checkpointing=gradient_checkpointing,
            save_every=save_every,
            cpu=cpu,
            seed=seed,
            more=_pairs(training or [], "--training"),
        ),
        watch=None
        if watch_prompts == 0
        else Watch(
            prompts=watch_prompts,
            samples=watch_samples,
            max_new_tokens=watch_tokens,
            reward=reward,
            embedder=embedder,
            divergence=watch_divergence,
            alarm=alarm,  # type: ignore[arg-type]
        ),
        watch_every=watch_every,
        on_bad_row=on_bad_row,  # type: ignore[arg-type]
        split=split,
        cache=None if folder is None else folder / "reference",
        fresh=fresh,
    )
    main = int(os.environ.get("RANK", "0")) == 0
    with progress_bar(quiet=json or not main) as progress:
        if dry_run:
            from polyculture.cli.align_preview import preview

            return preview(job, json, progress) if main else None
        done = run(job, progress)
    if main:
        from polyculture.report.alignment import write_alignment

        write_alignment(done.out)
        _show(done, json)


def _show(done: AlignmentRun, as_json: bool) -> None:
    summary = dict(done.summary)
    if as_json:
        print_json({**summary, "output": done.out, "resumed": done.resumed})
        return
    rows = [[name, text] for name, text in _lines(summary, done) if text]
    print_table(f"{summary['objective']} on {summary['data']}", ["", ""], rows)
    print(f"model: {done.model}")
    print(f"report: {done.out / 'report.html'}")


def _lines(summary: dict[str, Any], done: AlignmentRun) -> list[tuple[str, str]]:
    held_out = summary["held_out"]
    joined = "of" if summary["examples"] <= summary["rows"] else "from"  # a row of labels or ranks holds several
    lines = [
        ("resumed", done.resumed),
        ("examples", f"{summary['examples']:,} {joined} {summary['rows']:,} rows"),
        ("held out", f"{held_out:,} row{'' if held_out == 1 else 's'}" if held_out else ""),
        ("set aside", f"{summary['rejected']:,}, see {done.out / 'rejected.jsonl'}" if summary["rejected"] else ""),
        ("cut", summary["cuts"]),
        ("steps", f"{summary['steps']:,}"),
        ("loss", number(summary["loss"])),
    ]
    for shown, key in SHOWN.items():
        values = [row[key] for row in summary.get("log", ()) if key in row]
        if values:
            lines.append(
                (shown, f"{number(values[0])} → {number(values[-1])}" if len(values) > 1 else number(values[0]))
            )
    alarm = summary.get("alarm")
    if alarm:
        from polyculture.align.watching.callback import KEPT

        safer = f"the model of step {alarm['stop_at']} is safer"
        kept = done.out / KEPT
        where = f" (the checkpoint up to it: {kept})" if kept.exists() else ""
        lines.append(("alarm", f"{alarm['reason']} at step {alarm['step']}; {safer}{where}"))
    return lines


def _share(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _pairs(entries: list[str], option: str) -> dict[str, str]:
    found = [entry.partition("=") for entry in entries]
    if not all(equals for _, equals, _ in found):
        raise BadInput(f"{option} should read NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in found}


def _refresh(text: str | None) -> tuple[float, int] | None:
    if text is None:
        return None
    alpha, _, every = text.partition(",")
    try:
        return float(alpha), int(every)
    except ValueError:
        raise BadInput(f"--refresh should read ALPHA,STEPS, as in 0.6,512, not '{text}'") from None
