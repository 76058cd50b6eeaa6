"""One training in one folder, from its last checkpoint if there is one."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from polyculture.align.adapters import BASE, base_of
from polyculture.align.job import Alignment, Row, objective_of
from polyculture.align.mixture import Mixture
from polyculture.align.model_card import write_model_card
from polyculture.align.objective import Objective
from polyculture.align.preparation import check_same_processes
from polyculture.align.run_folder import MODEL, SUMMARY, last_checkpoint, write_rejected
from polyculture.align.stopping import LogAtCheckpoints, StepProgress, StopAfterStep
from polyculture.align.summary import AlignmentRun, summary_of
from polyculture.errors import BadInput
from polyculture.files import write_json
from polyculture.progress import Progress, silent


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
    dtype = job.training.dtype or ("float32" if job.training.lora is None else "auto")
    if job.training.lora is not None:
        with arguments.main_process_first(local=False):
            model = base_of(model, out / BASE, dtype)
    watch = job.watch
    if watch is not None:
        about_ten = max(1, -(-job.training.steps_of(len(rows)) // 10))
        every = about_ten if job.watch_every is None else job.watch_every
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
        dtype=dtype,
        reference_cache=job.cache,
        watch=watch if held_out else None,
        name=Path(str(job.data)).name if isinstance(job.data, (str, Path)) else "rows",
        progress=progress,
        callbacks=[StepProgress(progress), stop, LogAtCheckpoints()],
        **(more or {}),
    )
    trainer.remove_callback(PrinterCallback)
    main = trainer.is_world_process_zero()
    set_aside = write_rejected(out, trainer.reader.rejected) if main else 0
    checkpoint = last_checkpoint(out)
    if checkpoint is not None:
        check_same_processes(checkpoint, trainer.accelerator.num_processes)
    # Other processes of the run must not see what this one stops at: only a process alone listens.
    with stop.listening() if trainer.accelerator.num_processes == 1 else contextlib.nullcontext():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if stop.asked:  # in the last step too: there may be other stages after this training
        raise KeyboardInterrupt
    trainer.save_model(str(out / MODEL))
    (out / MODEL / "training_args.bin").unlink(missing_ok=True)  # a pickle, and settings.json says more
    state = trainer.state
    judged = any("eval_loss" in row and row["step"] == state.global_step for row in state.log_history)
    if held_out and make is None and (not judged or trainer.args.load_best_model_at_end):
        try:
            trainer.evaluate()  # its loss and rewards belong to the log
        except BadInput as error:  # such as a loss that overflows
            warnings.warn(f"the held-out rows can't be evaluated: {error}", stacklevel=2)
    summary = summary_of(job, trainer, len(rows), len(held_out), time.time() - started)
    if main:
        summary["rejected"] = set_aside
        if out == job.out:  # one card for the run: finish writes it for stages
            write_model_card(out / MODEL, summary, job.settings())
        write_json(out / SUMMARY, summary)
    trainer.accelerator.wait_for_everyone()
    return AlignmentRun(out, summary, resumed="" if checkpoint is None else checkpoint.name)
