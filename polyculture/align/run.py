"""An alignment run from data to a trained model, in one folder, which the same call takes up where it was."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.columns import with_columns
from polyculture.align.examples import split_prompt
from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.model_card import write_model_card
from polyculture.align.modifiers import with_divergence
from polyculture.align.objective import Objective
from polyculture.align.run_folder import MODEL, REJECTED, SUMMARY, last_checkpoint, open_run, write_rejected
from polyculture.align.stopping import StepProgress, StopAfterStep
from polyculture.align.training import Training
from polyculture.align.watch_settings import Watch
from polyculture.errors import BadInput
from polyculture.files import content_hash, plain, write_json
from polyculture.methods import parameters
from polyculture.progress import Progress, silent
from polyculture.reading import OnBadRow, read_pool
from polyculture.versions import versions

Row = dict[str, Any]


@dataclass(frozen=True)
class Alignment:
    """What is to be done.

    Args:
        data: a file, a folder, a hub id, or rows, with TRL's columns; see polyculture.align.examples.
        model: a folder or hub id of a causal language model.
        out: folder of the run.
        objective: a name of ``polyculture.align.METHODS``, ``python:module:function``, or a sum: "0.8*dpo+0.2*sft".
        hyper: its hyper-parameters, by name.
        reference: the model that the policy is compared with; None is the model itself.
        held_out: the share of prompts that is not trained on, or a file of held-out rows.
        columns: columns of numbers to add, see polyculture.align.columns.
        margin_rewards: rewards of the other objectives of MODPO, see polyculture.align.margin_rewards.
        divergence: the f-divergence from the reference in place of the reverse KL: "forward_kl", "js", "alpha:0.3".
        ld_alpha: weight of the tokens beyond a pair's shorter completion (LD-DPO).
        wpo: weigh each pair by how likely the policy writes it (WPO).
        refresh: (alpha, steps) of a reference that follows the policy (TR-DPO).
        training: how long, how fast, on what.
        watch: how it is watched; None does not watch.
        watch_every: steps from one evaluation to the next; None makes about ten.
        on_bad_row: "error" stops at a row that can't be read, "skip" sets it aside.
        split: of a hub data set.
        cache: folder of the reference's log-probabilities, shared by runs; None keeps them in ``out``.
        fresh: remove what an earlier run left in ``out``.
    """

    data: str | Path | Sequence[Row]
    model: str
    out: Path
    objective: str = "dpo"
    hyper: Mapping[str, Any] = field(default_factory=dict)
    reference: str | None = None
    held_out: float | str = 0.05
    columns: Mapping[str, str] = field(default_factory=dict)
    margin_rewards: str | None = None
    divergence: str | None = None
    ld_alpha: float = 1.0
    wpo: bool = False
    refresh: tuple[float, int] | None = None
    training: Training = field(default_factory=Training)
    watch: Watch | None = field(default_factory=Watch)
    watch_every: int | None = None
    on_bad_row: OnBadRow = "error"
    split: str = "train"
    cache: Path | None = None
    fresh: bool = False

    def settings(self) -> dict[str, Any]:
        """What the result depends on, in plain values."""
        held = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("out", "cache", "fresh"):
            held.pop(name)
        held["training"] = dataclasses.asdict(self.training)
        held["watch"] = None if self.watch is None else dataclasses.asdict(self.watch)
        if isinstance(self.data, (str, Path)):
            held["data"] = str(self.data)
            held["data_hash"] = content_hash(Path(self.data)) if Path(self.data).exists() else None
        else:
            held["data"] = f"{len(self.data)} rows"
            held["data_hash"] = rows_fingerprint(self.data)
        found: dict[str, Any] = plain(held)
        return found


def rows_fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A hash of rows, whatever holds them."""
    import xxhash

    digest = xxhash.xxh3_128()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return str(digest.hexdigest())


@dataclass(frozen=True)
class AlignmentRun:
    """What came of a run; ``summary`` is also in ``summary.json``."""

    out: Path
    summary: Mapping[str, Any]
    resumed: str = ""

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.out / MODEL


def objective_of(job: Alignment) -> Objective | Mixture:
    """The objective of a run, its divergence applied.

    Raises:
        UnknownMethod: there is no such objective, hyper-parameter or divergence.
        BadInput: a value can't be read, or the divergence can't be used with the objective.
    """
    objective = parse_objective(job.objective, **job.hyper)
    if job.divergence is None:
        return objective
    name, _, alpha = job.divergence.partition(":")
    name = name.replace("-", "_")
    try:
        options: dict[str, Any] = {"alpha": float(alpha)} if alpha else {}
        if isinstance(objective, Objective) and "divergence" in parameters(objective.loss):
            return Objective.of(objective, divergence=name, **options)  # f-dpo, f-dpg: an option of its own
        if isinstance(objective, Mixture):
            return with_divergence(objective, name, **options)
        return with_divergence(objective, name, **options)
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"divergence '{job.divergence}' should read NAME or alpha:NUMBER") from error


def read_rows(job: Alignment, progress: Progress = silent) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the held-out ones; no prompt is in both.

    Raises:
        BadInput: the data can't be read, or nothing is left to train on.
    """
    rows = _rows(job.data, job, progress)
    if isinstance(job.held_out, str):
        return rows, _rows(job.held_out, job, progress)
    if not 0 <= job.held_out < 1:
        raise BadInput(f"the held-out share should lie in [0, 1), not be {job.held_out}")
    prompts: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        prompts.setdefault(_prompt_key(row), []).append(i)
    wanted = round(job.held_out * len(prompts))
    if job.watch is not None and not wanted and len(prompts) > 1 and job.held_out:
        wanted = 1
    if wanted >= len(prompts):
        raise BadInput(f"holding out {wanted} of {len(prompts)} prompts leaves none to train on; give fewer")
    groups = list(prompts.values())
    order = np.random.default_rng(job.training.seed).permutation(len(groups))
    out = {i for group in order[:wanted] for i in groups[group]}
    return [row for i, row in enumerate(rows) if i not in out], [row for i, row in enumerate(rows) if i in out]


def align(job: Alignment, progress: Progress = silent) -> AlignmentRun:
    """Train, or take a stopped training up where it was, or give back what a finished one found.

    Args:
        job: what is to be done.
        progress: told what is going on.

    Raises:
        BadInput: the data, the objective or the settings can't be used; the message says where and what to do.
        RunLocked: another process is training in this folder.
        KeyboardInterrupt: it was asked to stop; what is done is kept.
    """
    from polyculture.align.ways import trained_by

    main = int(os.environ.get("RANK", "0")) == 0
    with _alone(job.out) if main else _nothing():
        if main:
            open_run(job.out, job.settings(), fresh=job.fresh)
        _wait_for_all(job)  # until the first process has cleared the folder, or found that the run is finished
        found = _finished(job.out)
        _wait_for_all(job)
        if found is not None:
            return AlignmentRun(job.out, found, resumed="finished before")
        train, held_out = read_rows(job, progress)
        return trained_by(job, train, held_out, progress)


def train_on(
    job: Alignment,
    rows: list[Row],
    held_out: list[Row],
    *,
    out: Path,
    model: str,
    reference: str | None,
    make: Callable[..., Any] | None = None,
    objective: Objective | Mixture | None = None,
    more: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> AlignmentRun:
    """One training in one folder: from its last checkpoint if there is one.

    Args:
        job: the settings.
        rows: to train on.
        held_out: to watch on; may be empty, then nothing is watched.
        out: the folder.
        model: the model to begin with.
        reference: what it is compared with; None is the model.
        make: makes the trainer; by default AlignmentTrainer.
        objective: in place of the job's.
        more: further arguments of the trainer.
        progress: told the steps.

    Raises:
        BadInput: see :class:`polyculture.align.trainer.AlignmentTrainer`.
        KeyboardInterrupt: it was asked to stop; a checkpoint is kept.
    """
    from transformers.trainer_callback import PrinterCallback

    from polyculture.align.trainer import AlignmentTrainer

    started = time.time()
    stop = StopAfterStep()
    arguments = job.training.arguments(out, len(rows))
    watch = job.watch
    if watch is not None:
        every = job.watch_every or max(1, -(-job.training.steps_of(len(rows)) // 10))
        watch = dataclasses.replace(watch, every=every, seed=job.training.seed)
    trainer = (make or AlignmentTrainer)(
        model,
        objective or objective_of(job),
        arguments,
        rows,
        held_out or None,
        reference=reference,
        peft_config=job.training.peft_config(),
        ld_alpha=job.ld_alpha,
        wpo=job.wpo,
        refresh=job.refresh,
        max_length=job.training.max_length,
        share_prompts=job.training.share_prompts,
        dtype=job.training.dtype or ("float32" if job.training.lora is None else "auto"),
        reference_cache=job.cache,
        watch=watch if held_out else None,
        name=Path(str(job.data)).name if isinstance(job.data, (str, Path)) else "rows",
        progress=progress,
        callbacks=[StepProgress(progress), stop],
        **(more or {}),
    )
    trainer.remove_callback(PrinterCallback)
    main = trainer.is_world_process_zero()
    if main:
        write_rejected(out, trainer.rejected)
    checkpoint = last_checkpoint(out)
    # Other processes of the run must not see what this one stops at: only a process alone listens.
    with stop.listening() if trainer.accelerator.num_processes == 1 else _nothing():
        trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if stop.asked and trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    trainer.save_model(str(out / MODEL))
    summary = _summary(job, trainer, trained, rows, held_out, time.time() - started)
    if main:
        if out == job.out:  # one card for the run: finish writes it for stages
            write_model_card(out / MODEL, summary, job.settings())
        write_json(out / SUMMARY, summary)
    trainer.accelerator.wait_for_everyone()
    return AlignmentRun(out, summary, resumed="" if checkpoint is None else checkpoint.name)


def finish(job: Alignment, staged: Any, about: Mapping[str, Any], *, model: Path | None = None) -> AlignmentRun:
    """Sum up a run of stages.

    Args:
        job: the settings.
        staged: a polyculture.align.stages.StagedRun.
        about: what else belongs in the summary.
        model: the stage's model that is the run's; None is the last one's.
    """
    import shutil

    last = json.loads((staged.stages[-1].model.parent / SUMMARY).read_text(encoding="utf-8"))
    stages = [{k: v for k, v in stage.items() if k != "model"} for stage in staged.to_dict()["stages"]]
    totals = {name: sum(stage["metrics"].get(name, 0) for stage in stages) for name in ("examples", "steps")}
    seconds = sum(stage["seconds"] for stage in stages)
    summary = {**last, **totals, **plain(dict(about)), "objective": job.objective, "hyper": plain(dict(job.hyper))}
    summary |= {"seconds": seconds, "rows": sum(stage["rows"] for stage in stages), "stages": stages}
    if int(os.environ.get("RANK", "0")) == 0:
        fresh = job.out / f".{MODEL}.tmp"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(model or staged.model, fresh)
        shutil.rmtree(job.out / MODEL, ignore_errors=True)
        write_model_card(fresh, summary, job.settings())
        fresh.rename(job.out / MODEL)
        write_json(job.out / SUMMARY, summary)
    return AlignmentRun(job.out, summary)


def _summary(
    job: Alignment, trainer: Any, trained: Any, rows: list[Row], held_out: list[Row], seconds: float
) -> dict[str, Any]:
    import torch

    watching = getattr(trainer, "watching", None)
    # What each process holds of the steps since the last log is its own part; the mean over them is the loss.
    loss = trainer.accelerator.reduce(torch.tensor(trained.training_loss, device=trainer.args.device), "mean")
    alarm = None if watching is None else watching.monitor.alarm
    return dict(
        plain(
            {
                "objective": trainer.objective.name,
                "hyper": trainer.objective.hyper,
                "model": job.model,
                "reference": job.reference or "the model before training",
                "data": str(job.data) if isinstance(job.data, (str, Path)) else f"{len(job.data)} rows",
                "rows": len(rows),
                "held_out": len(held_out),
                "examples": len(trainer.train_dataset),
                "rejected": len(trainer.rejected),
                "cuts": str(trainer.cuts),
                "prompts_shared": trainer.layout.share,
                "head": trainer.abilities.why or "log-probabilities without the logits of whole batches",
                "steps": trainer.state.global_step,
                "processes": trainer.accelerator.num_processes,
                "sharded": bool(trainer.is_fsdp_enabled),
                "loss": float(loss),
                "alarm": None if alarm is None else dataclasses.asdict(alarm),
                "seconds": round(seconds, 3),
                "log": trainer.state.log_history,
                "versions": versions(),
            }
        )
    )


def _rows(source: str | Path | Sequence[Row], job: Alignment, progress: Progress) -> list[Row]:
    name = Path(str(source)).name if isinstance(source, (str, Path)) else "row"
    pool = read_pool(
        source,
        need_text=False,
        on_bad_row=job.on_bad_row,
        rejects=job.out / f"unread-{REJECTED}" if job.on_bad_row == "skip" else None,
        split=job.split,
        progress=progress,
    )
    rows = [row for block in pool.records.blocks() for row in block]
    return with_columns(rows, job.columns, name)


def _prompt_key(row: Row) -> str:
    prompt = row.get("prompt")
    if prompt is None and "chosen" in row and "rejected" in row:
        prompt = split_prompt(row["chosen"], row["rejected"])[0]
    if prompt is None:
        prompt = row.get("messages", row)
    return json.dumps(prompt, sort_keys=True, default=str)


def _wait_for_all(job: Alignment) -> None:
    """Until every process of the run is here."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch.distributed as dist

        _ = job.training.arguments(job.out, 1).device  # joins the processes
        if dist.is_initialized():
            dist.barrier()


def _finished(out: Path) -> dict[str, Any] | None:
    path = out / SUMMARY
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _alone(out: Path) -> Any:
    from polyculture.files import locked

    return locked(out)


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()
