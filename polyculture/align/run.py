"""An alignment run from data to a trained model, in one folder, which the same call takes up where it was."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.align.data.columns import with_columns
from polyculture.align.data.examples import MARGIN_REWARDS, readable_rows
from polyculture.align.data.splitting import split_prompt
from polyculture.align.inputs import Kind
from polyculture.align.job import Alignment, Row, objective_of
from polyculture.align.run_folder import SUMMARY, UNREAD, UNREAD_HELD_OUT, open_run, write_unread
from polyculture.align.summary import AlignmentRun
from polyculture.align.ways import trained_by
from polyculture.errors import BadInput
from polyculture.files import locked
from polyculture.methods import table
from polyculture.progress import Progress, silent
from polyculture.reading import read_pool
from polyculture.wording import counted


def read_rows(job: Alignment, progress: Progress = silent) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the held-out ones; no prompt is in both.

    Raises:
        BadInput: the data can't be read, or nothing is left to train on.
    """
    rows = _rows(job.data, job, progress)
    if isinstance(job.held_out, str):
        return rows, _rows(job.held_out, job, progress, UNREAD_HELD_OUT)
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
    main = _is_main()
    with locked(job.out) if main else contextlib.nullcontext():
        if main:
            open_run(job.out, job.settings(), fresh=job.fresh)
        _wait_for_all(job)  # until the first process has cleared the folder, or found that the run is finished
        found = _finished(job.out)
        _wait_for_all(job)
        if found is not None:
            return AlignmentRun(job.out, found, resumed="finished before")
        train, held_out = read_rows(job, progress)
        return trained_by(job, train, held_out, progress)


def _rows(
    source: str | Path | Sequence[Row], job: Alignment, progress: Progress, unread_file: str = UNREAD
) -> list[Row]:
    name = Path(str(source)).name if isinstance(source, (str, Path)) else "rows"
    skip = job.on_bad_row == "skip"
    with tempfile.TemporaryDirectory() as folder:
        no_rows = Path(folder) / unread_file
        pool = read_pool(
            source,
            need_text=False,
            on_bad_row=job.on_bad_row,
            rejects=no_rows if skip else None,
            split=job.split,
            progress=progress,
        )
        rows = with_columns([row for block in pool.records.blocks() for row in block], job.columns, name)
        # Before any model is loaded: that can take long, and the mistake is mostly here.
        kind, columns = needed(job)
        rows, unread = readable_rows(rows, kind, columns=columns, source=name, name=job.objective, skip=skip)
        if _is_main():
            write_unread(job.out / unread_file, no_rows, unread)
            _warn_of_no_prompts(rows, name)
    return rows


def needed(job: Alignment) -> tuple[Kind, tuple[str, ...]]:
    """The kind of data that a run's objective is of, and the columns of numbers that its rows should have.

    Args:
        job: the settings.
    """
    method = table("align").get(job.objective.strip())
    if isinstance(method, type):
        return getattr(method, "kind", "pairs"), ()  # a curriculum trains on pairs, also of rankings
    objective = objective_of(job)
    made = MARGIN_REWARDS if job.margin_rewards is not None else ()
    return objective.kind, tuple(column for column in objective.columns if column not in made)


def _warn_of_no_prompts(rows: Sequence[Row], source: str) -> None:
    """Pairs whose prompt is in a column of another name would train as answers to nothing."""
    pairs = [row for row in rows if row.get("prompt") is None and row.get("chosen") and row.get("rejected")]
    bare = sum(not split_prompt(row["chosen"], row["rejected"])[0] for row in pairs)
    if bare:
        warnings.warn(
            f"{source}: no prompt in {bare:,} of {counted(len(rows), 'row')}: none in a column 'prompt', and nothing "
            f"that chosen and rejected both begin with; columns are {', '.join(rows[0])}; say which holds it with "
            "--column prompt=column:NAME",
            stacklevel=2,
        )


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


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
