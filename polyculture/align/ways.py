"""The ways to train there are: one training on the data; one on the policy's own samples; several, stage by stage."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyculture.align.data.examples import MARGIN_REWARDS, PlacedRow, read_examples
from polyculture.align.job import Alignment, Row, objective_of
from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.objective import Objective
from polyculture.align.reference.distance import KLToBase
from polyculture.align.reference.gap import ReferenceGaps
from polyculture.align.sampled.settings import FDPG, Sampled
from polyculture.align.staged.curriculum import CurryDPO
from polyculture.align.staged.dno_prct import DNOPrct
from polyculture.align.staged.iterated import iterate
from polyculture.align.staged.stages import TrainedStage, TrainOne
from polyculture.align.summary import AlignmentRun, finish
from polyculture.align.training_run import train_on
from polyculture.errors import BadInput
from polyculture.methods import build, table
from polyculture.progress import Progress


def trained_by(job: Alignment, rows: list[Row], held_out: list[Row], progress: Progress) -> AlignmentRun:
    """Train in the way that the objective asks for.

    Args:
        job: the settings.
        rows: to train on.
        held_out: to watch on.
        progress: told what is going on.
    """
    way = _way(job)
    if isinstance(way, CurryDPO):
        return _in_stages(job, way, rows, held_out, progress)
    if isinstance(way, DNOPrct):
        return _in_iterations(job, way, rows, held_out, progress)
    if isinstance(way, FDPG) or parse_objective(job.objective).kind == "samples":
        return _on_samples(job, way, rows, held_out, progress)
    objective = objective_of(job)
    if job.margin_rewards is not None:
        if "margin_rewards_chosen" not in objective.columns:
            raise BadInput(f"--margin-rewards goes with --objective modpo, not {objective.name}")
        rows, held_out = _with_margins(job, [rows, held_out])
    return train_on(
        job,
        rows,
        held_out,
        out=job.out,
        model=job.model,
        reference=job.reference,
        objective=objective,
        progress=progress,
    )


def _way(job: Alignment) -> Any:
    """The class behind the objective's name, made with its hyper-parameters, or None where it is a loss."""
    name = job.objective.strip()
    if name not in table("align") or not isinstance(table("align")[name], type):
        return None
    return build("align", name, **job.hyper)


def _in_stages(job: Alignment, way: CurryDPO, rows: list[Row], held_out: list[Row], progress: Progress) -> AlignmentRun:
    from polyculture.align.staged.stages import train_stages

    if job.margin_rewards is not None:
        raise BadInput(f"--margin-rewards goes with --objective modpo, not {job.objective}")
    # The way's own objective, with the run's divergence under it.
    objective = objective_of(dataclasses.replace(job, objective="dpo", hyper={"beta": way.beta}))
    gaps = ReferenceGaps(
        job.reference or job.model,
        max_length=job.training.max_length,
        batch_size=job.training.batch_size,
        dtype=job.training.dtype or "float32",
        device="cpu" if job.training.cpu else None,
        folder=job.cache or job.out / "reference",
        progress=progress,
    )
    plan = way.plan(rows, gaps, rng=job.training.seed)

    staged = train_stages(
        plan.stages,
        _stage_training(job, objective, held_out, progress),
        job.out,
        model=job.model,
        reference=job.reference,
        update_reference=way.update_reference,
        settings=job.settings(),
        kl_to_base=_kl_to_base(job, held_out or rows),
        lock=False,
        progress=progress,
    )
    about = {"criterion": plan.criterion, "mode": plan.mode, "left out": plan.counts}
    return finish(job, staged, {"way": "curry-dpo", "curriculum": {**dataclasses.asdict(way), **about}})


def _in_iterations(
    job: Alignment, way: DNOPrct, rows: list[Row], held_out: list[Row], progress: Progress
) -> AlignmentRun:

    if job.reference is not None or job.margin_rewards is not None:
        raise BadInput("dno-prct takes each iteration's first model as reference; leave out the reference and margins")
    objective = objective_of(dataclasses.replace(job, objective="dpo", hyper={"beta": way.eta}))
    found = iterate(
        way,
        rows,
        held_out,
        _stage_training(job, objective, held_out, progress),
        job.out,
        model=job.model,
        seed=job.training.seed,
        settings=job.settings(),
        device="cpu" if job.training.cpu else None,
        dtype=job.training.dtype or "float32",
        kl_to_base=_kl_to_base(job, held_out or rows),
        lock=False,
        progress=progress,
    )
    return finish(job, found.staged, found.about(), model=found.model)


def _on_samples(
    job: Alignment, way: FDPG | None, rows: list[Row], held_out: list[Row], progress: Progress
) -> AlignmentRun:
    from polyculture.align.sampled.trainer import SamplingTrainer

    if job.margin_rewards is not None:
        raise BadInput(f"--margin-rewards goes with --objective modpo, not {job.objective}")
    if way is None:  # an objective of one's own
        sampled, hyper = Sampled.out_of(job.hyper)
        objective = objective_of(dataclasses.replace(job, hyper=hyper))
    else:
        if job.divergence is not None:  # here it is the divergence from the target
            way = build("align", "f-dpg", **{**job.hyper, "divergence": job.divergence.replace("-", "_")})
        sampled, objective = way, way.objective
    return train_on(
        job,
        rows,
        held_out,
        out=job.out,
        model=job.model,
        reference=job.reference,
        make=SamplingTrainer,
        objective=objective,
        more={"sampled": sampled},
        progress=progress,
    )


def _stage_training(
    job: Alignment, objective: Objective | Mixture, held_out: list[Row], progress: Progress
) -> TrainOne:
    def train_one(stage_rows: list[Row], model: str, reference: str, out: Path) -> TrainedStage:
        run = train_on(
            job,
            stage_rows,
            held_out,
            out=out,
            model=model,
            reference=None if reference == model else reference,
            objective=objective,
            progress=progress,
        )
        trained = run.model if job.training.lora is None else _merged(run.model, model, out / "merged", job)
        metrics = {name: run.summary[name] for name in ("loss", "steps", "examples", "rejected")}
        return TrainedStage(trained, metrics)

    return train_one


def _kl_to_base(job: Alignment, rows: list[Row]) -> KLToBase:
    return KLToBase(
        job.model,
        rows,
        max_length=job.training.max_length,
        dtype=job.training.dtype or "float32",
        device="cpu" if job.training.cpu else None,
        seed=job.training.seed,
    )


def _merged(adapter: Path, model: str, out: Path, job: Alignment) -> Path:
    """A stage's adapter and the model it was trained on as one model: the next stage puts a new adapter on it.

    The adapter alone would name the original base as what it belongs to, and forget the stages in between.
    """
    if int(os.environ.get("RANK", "0")) == 0:
        from polyculture.errors import need
        from polyculture.llm.loading import load

        base, tokenizer = load(model, None, job.training.dtype or "auto")
        whole = need("peft", "train").PeftModel.from_pretrained(base, adapter).merge_and_unload()
        whole.save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


def _with_margins(job: Alignment, parts: Sequence[list[Row]]) -> list[list[Row]]:
    from transformers import AutoTokenizer

    from polyculture.align.data.margin_rewards import make_margin_rewards, margin_columns

    assert job.margin_rewards is not None
    rewards = make_margin_rewards(
        job.margin_rewards,
        tokenizer=AutoTokenizer.from_pretrained(job.model),
        reference=job.reference or job.model,
        beta=float(job.hyper.get("beta", 0.1)),
        max_length=job.training.max_length,
    )
    made = []
    for rows in parts:
        if not rows:
            made.append(rows)
            continue
        numbered = [PlacedRow(row, f"pair {i}") for i, row in enumerate(rows)]
        examples, _ = read_examples(numbered, "pairs", name=job.objective)
        columns = margin_columns(
            rewards,
            [example.prompt for example in examples],
            [example.completions[0] for example in examples],
            [example.completions[1] for example in examples],
        )
        # Rows that hold no usable pair get no numbers to train on; they are set aside with their reason later.
        nothing = [0.0] * len(rewards)
        with_numbers = list(rows)
        for i, row in enumerate(rows):
            numbers = dict.fromkeys(MARGIN_REWARDS, nothing)
            with_numbers[i] = (
                PlacedRow({**row, **numbers}, row.place) if isinstance(row, PlacedRow) else {**row, **numbers}
            )
        for example, chosen, rejected in zip(examples, columns.chosen, columns.rejected, strict=True):
            row = with_numbers[int(example.place.removeprefix("pair "))]
            row["margin_rewards_chosen"], row["margin_rewards_rejected"] = chosen.tolist(), rejected.tolist()
        made.append(with_numbers)
    return made
