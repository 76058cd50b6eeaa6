"""Training in stages: each begins with the model that the one before left, which may also be its new reference.

A curriculum (Curry-DPO) has its stages' rows from the start; an iterated method (DNO) makes stage t's rows with the
model of stage t - 1. Both are driven by :func:`train_stages`: every stage is a training of its own, with a fresh
optimiser and learning-rate schedule, in ``stage-1``, ``stage-2``, ... of the output folder. A finished stage is kept
when the same is asked for again; one that was stopped goes on from its checkpoint.

Logged rewards are relative to a stage's own reference, so they are no single curve over stages; how far each stage's
model is from the original base is measured beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from polyculture.errors import BadInput, unknown
from polyculture.files import atomic, content_hash, fingerprint, locked, plain, write_json
from polyculture.progress import Progress, silent
from polyculture.versions import versions

Rows = Sequence[Mapping[str, Any]]
MakeRows = Callable[[int, str], Rows]
"""From the number of a stage, counted from 1, and the model it begins with, to its rows."""
UPDATES = ("each_stage", "never")
MANIFEST, BEGUN, ROWS = "manifest.json", "begun.json", "rows.jsonl"
PATIENCE = timedelta(days=30)
"""How long processes wait for the first one to make a stage's rows."""
MODEL_FILES = ("*.safetensors", "*.bin", "*config.json", "tokenizer*", "vocab*", "merges.txt", "*.model", "*.jinja")


@dataclass(frozen=True)
class TrainedStage:
    """What training one stage gave.

    Args:
        model: the folder of the trained model, inside the stage's folder.
        metrics: numbers to keep: the last loss, steps, ...
    """

    model: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)


TrainOne = Callable[[list[dict[str, Any]], str, str, Path], TrainedStage]
"""Trains on rows, from a model (folder or hub id), against a reference (the same), into a folder.

A fresh optimiser and schedule each time. If the folder holds checkpoints they are of this very stage, on the same rows
and settings: go on from the last one.
"""


@dataclass(frozen=True)
class Stage:
    """One stage of a finished run.

    Args:
        number: from 1.
        status: "done" now, or "kept" from an earlier run.
        model: the trained model's folder.
        began_with: the model it began with.
        reference: what it was trained against; logged rewards are relative to it.
        rows: how many examples.
        metrics: what the training gave.
        kl_to_base: KL(model || original base) in nats a completion, or None if it was not measured.
        seconds: of training and of making the rows.
    """

    number: int
    status: Literal["done", "kept"]
    model: Path
    began_with: str
    reference: str
    rows: int
    metrics: Mapping[str, Any]
    kl_to_base: float | None
    seconds: float


@dataclass(frozen=True)
class StagedRun:
    """A finished run of stages.

    Args:
        out: its folder.
        stages: in order.
    """

    out: Path
    stages: tuple[Stage, ...]

    @property
    def model(self) -> Path:
        """The folder of the final model."""
        return self.stages[-1].model

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON-able values."""
        return plain({"out": self.out, "model": self.model, "stages": [asdict(stage) for stage in self.stages]})


def train_stages(
    stages: Sequence[Rows] | MakeRows,
    train_one: TrainOne,
    out: Path | str,
    *,
    model: Path | str,
    reference: Path | str | None = None,
    iterations: int | None = None,
    update_reference: Literal["each_stage", "never"] = "each_stage",
    settings: Mapping[str, Any] | None = None,
    kl_to_base: Callable[[str], float] | None = None,
    main: bool | None = None,
    wait: Callable[[], None] | None = None,
    lock: bool = True,
    progress: Progress = silent,
) -> StagedRun:
    """Train stage after stage.

    Args:
        stages: the rows of each stage, or a function that makes those of stage t from the model it begins with. What a
            function made is kept in the stage's folder, and not made again while model and settings are the same.
        train_one: trains one stage, see TrainOne.
        out: the folder of the run; ``stages.json`` in it sums it up.
        model: the base: a folder or hub id.
        reference: the first stage's reference; None is the base.
        iterations: number of stages, where ``stages`` is a function.
        update_reference: "each_stage": a stage's reference is the model it begins with; "never": the first
            stage's throughout.
        settings: JSON-able; whatever else training and rows depend on (objective, hyper-parameters, seed). A stage is
            trained again when these, its rows, or the models it stands on have changed.
        kl_to_base: given a model's folder, KL(model || base); measured once a stage.
        main: whether this process makes rows and writes files. Launched as several processes, one is, and all train.
            None reads it from what the launcher set.
        wait: returns when every process has called it; None waits for up to 30 days.
        lock: hold the folder; False where the caller does.
        progress: told the stages.

    Raises:
        BadInput: there are no stages, one has no rows, or a model's folder is not there.
        UnknownMethod: there is no such update of the reference.
        RunLocked: another process is training in this folder.
    """
    if update_reference not in UPDATES:
        raise unknown("update of the reference", update_reference, UPDATES)
    total = iterations if callable(stages) else len(stages)
    if not total or total < 1:
        raise BadInput("there are no stages to train; give rows, or how many iterations to make")
    out, base, first = Path(out), str(model), str(reference or model)
    finished: list[Stage] = []
    main = int(os.environ.get("RANK", "0")) == 0 if main is None else main
    wait = wait or _patient_wait()
    with locked(out) if main and lock else contextlib.nullcontext():
        current, current_id = base, model_identity(base)
        against, against_id = first, model_identity(first)
        for t in range(1, total + 1):
            progress("stages", t - 1, total)
            if t > 1 and update_reference == "each_stage":
                against, against_id = current, current_id
            make = _maker(stages, t, current)
            known = "made of the model" if callable(stages) else rows_hash(stages[t - 1])
            place = _Folder(out / f"stage-{t}", fingerprint(t, settings, current_id, against_id, known))
            kept = place.manifest() is not None
            wait()  # every process has seen whether the stage is finished before one of them changes that
            if not kept:
                if finished and finished[-1].status == "kept":
                    _unchanged(current, current_id)
                if main:
                    place.begin(t, make)
                wait()
                rows, start = place.rows(), time.time()
                trained = train_one(rows, current, against, place.path)
                wait()
                if main:
                    place.finish(trained, len(rows), current, against, time.time() - start)
            if main:
                place.measure(kl_to_base)
            wait()
            finished.append(place.stage(t, "kept" if kept else "done"))
            current, current_id = str(finished[-1].model), (place.manifest() or {})["model_hash"]
            run = StagedRun(out, tuple(finished))
            if main:
                write_json(out / "stages.json", {"base": base, "update_reference": update_reference, **run.to_dict()})
        progress("stages", total, total)
    return run


def model_identity(model: str) -> str:
    """What tells a model from another: the content of its folder's weights and configuration, or a hub id as it is.

    Args:
        model: a folder, or a hub id.

    Raises:
        BadInput: the folder holds no model.
    """
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted({file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()})
    if not files:
        raise BadInput(f"{folder}: there is no model in it; give the folder that save_pretrained wrote")
    return fingerprint({file.name: content_hash(file) for file in files if file.name != "training_args.bin"})


def rows_hash(rows: Rows) -> str:
    """A hash of rows, one at a time."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(_line(row).encode())
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Folder:
    """A stage's folder: ``begun.json`` says what is being trained in it, ``manifest.json`` that it is finished."""

    path: Path
    inputs: str

    def manifest(self) -> dict[str, Any] | None:
        held = _read(self.path / MANIFEST)
        return held if held is not None and held.get("inputs") == self.inputs else None

    def begin(self, number: int, make: Callable[[], Rows]) -> None:
        """Make the stage's rows; what was begun on other inputs is removed, checkpoints of this stage stay."""
        begun = _read(self.path / BEGUN)
        if begun is not None and begun.get("inputs") == self.inputs:
            return
        start = time.time()
        rows = make()
        if not len(rows):
            raise BadInput(f"stage {number} has no rows to train on")
        shutil.rmtree(self.path, ignore_errors=True)
        with atomic(self.path / ROWS) as file:
            file.writelines(map(_line, rows))
        # Last: a folder without it is not begun, so rows half made are never trained on.
        write_json(self.path / BEGUN, {"inputs": self.inputs, "seconds": round(time.time() - start, 3)})

    def rows(self) -> list[dict[str, Any]]:
        with (self.path / ROWS).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def finish(self, trained: TrainedStage, rows: int, model: str, reference: str, seconds: float) -> None:
        about = {
            "inputs": self.inputs,
            "model": _inside(trained.model, self.path),
            "model_hash": model_identity(str(trained.model)),
            "began_with": model,
            "reference": reference,
            "rows": rows,
            "metrics": dict(trained.metrics),
            "kl_to_base": None,
            "seconds": round(seconds + (_read(self.path / BEGUN) or {}).get("seconds", 0.0), 3),
            "versions": versions(),
        }
        write_json(self.path / MANIFEST, about)

    def measure(self, kl_to_base: Callable[[str], float] | None) -> None:
        """Add the divergence from the base to the manifest if it is asked for and not there."""
        held = self.manifest()
        if held is not None and held["kl_to_base"] is None and kl_to_base is not None:
            held["kl_to_base"] = float(kl_to_base(str(self.path / held["model"])))
            write_json(self.path / MANIFEST, held)

    def stage(self, number: int, status: Literal["done", "kept"]) -> Stage:
        held = self.manifest() or {}
        kept = ("began_with", "reference", "rows", "metrics", "kl_to_base", "seconds")
        return Stage(number, status, self.path / held["model"], **{name: held[name] for name in kept})


def _maker(stages: Sequence[Rows] | MakeRows, number: int, model: str) -> Callable[[], Rows]:
    return (lambda: stages(number, model)) if callable(stages) else (lambda: stages[number - 1])


def _patient_wait() -> Callable[[], None]:
    """What returns when every process has called it, however long one of them samples and asks its judge before."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return lambda: None
    import torch
    import torch.distributed as dist
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Left to itself, accelerate joins processes on CPUs only if it is told that they are on CPUs.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    state = PartialState(cpu=cpu)
    if not dist.is_initialized():
        return state.wait_for_everyone
    # A group of its own: the training's gives up after half an hour, and takes its processes with it.
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    return lambda: dist.barrier(group=group)


def _unchanged(model: str, identity: str) -> None:
    """Check a kept stage's model before the next one begins with it."""
    try:
        same = Path(model).is_dir() and model_identity(model) == identity
    except BadInput:
        same = False
    if not same:
        raise BadInput(
            f"{model}: the model is gone or was changed since it was trained; remove the folder to train anew"
        )


def _inside(model: Path, folder: Path) -> str:
    try:
        return str(Path(model).resolve().relative_to(folder.resolve()))
    except ValueError as error:
        raise BadInput(f"a stage's model should be saved in its folder {folder}, not in {model}") from error


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(plain(dict(row)), ensure_ascii=False, sort_keys=False) + "\n"


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: is damaged ({error}); remove {path.parent} to train the stage again") from error
    return held
