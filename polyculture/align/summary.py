"""What came of a run: of one training, or of several in stages."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyculture.align.job import Alignment
from polyculture.align.model_card import write_model_card
from polyculture.align.run_folder import MODEL, SUMMARY, write_rejected
from polyculture.files import plain, write_json
from polyculture.versions import versions


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


def finish(job: Alignment, staged: Any, about: Mapping[str, Any], *, model: Path | None = None) -> AlignmentRun:
    """Sum up a run of stages.

    Args:
        job: the settings.
        staged: a polyculture.align.staged.stages.StagedRun.
        about: what else belongs in the summary.
        model: the stage's model that is the run's; None is the last one's.
    """
    last = _read(Path(staged.stages[-1].model).parent / SUMMARY) or {}
    stages = [{k: v for k, v in stage.items() if k != "model"} for stage in staged.to_dict()["stages"]]
    totals = {name: sum(stage["metrics"].get(name, 0) for stage in stages) for name in ("examples", "steps")}
    seconds = sum(stage["seconds"] for stage in stages)
    summary = {**last, **totals, **plain(dict(about)), "objective": job.objective, "hyper": plain(dict(job.hyper))}
    summary |= {"seconds": seconds, "rows": sum(stage["rows"] for stage in stages), "stages": stages}
    each = [_read(Path(stage.model).parent / SUMMARY) or last for stage in staged.stages]
    summary["cuts"] = "; ".join(dict.fromkeys(f"stage {t}: {one['cuts']}" for t, one in enumerate(each, 1)))
    alarms = [{**one["alarm"], "stage": t} for t, one in enumerate(each, 1) if one["alarm"]]
    summary["alarm"] = alarms[0] if alarms else None
    if int(os.environ.get("RANK", "0")) == 0:
        folders = [Path(stage.model).parent for stage in staged.stages]
        summary["rejected"] = write_rejected(job.out, [], folders)
        fresh = job.out / f".{MODEL}.tmp"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(model or staged.model, fresh)
        shutil.rmtree(job.out / MODEL, ignore_errors=True)
        write_model_card(fresh, summary, job.settings())
        fresh.rename(job.out / MODEL)
        write_json(job.out / SUMMARY, summary)
    return AlignmentRun(job.out, summary)


def summary_of(job: Alignment, trainer: Any, rows: int, held_out: int, seconds: float) -> dict[str, Any]:
    """What came of one training, in plain values.

    Args:
        job: the settings.
        trainer: after training.
        rows: rows that were given to train on.
        held_out: rows that were held out.
        seconds: it took, from its last start.
    """
    watching = getattr(trainer, "watching", None)
    alarm = None if watching is None else watching.monitor.alarm
    return dict(
        plain(
            {
                "objective": trainer.objective.name,
                "hyper": trainer.objective.hyper,
                "model": job.model,
                "reference": job.reference or "the model before training",
                "data": str(job.data) if isinstance(job.data, (str, Path)) else f"{len(job.data)} rows",
                "rows": rows,
                "held_out": held_out,
                "examples": len(trainer.train_dataset),
                "rejected": len(trainer.reader.rejected),
                "cuts": str(trainer.reader.cuts),
                "prompts_shared": trainer.layout.share,
                "head": trainer.abilities.why or "log-probabilities without the logits of whole batches",
                "steps": trainer.state.global_step,
                "processes": trainer.accelerator.num_processes,
                "sharded": bool(trainer.is_fsdp_enabled),
                "loss": mean_loss(trainer.state.log_history),
                "alarm": None if alarm is None else dataclasses.asdict(alarm),
                "seconds": round(seconds, 3),
                "log": trainer.state.log_history,
                "versions": versions(),
            }
        )
    )


def mean_loss(log: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean loss over all steps, from the log, of which each row is the mean since the row before.

    Args:
        log: transformers' log history.
    """
    rows = [(row["step"], row["loss"]) for row in log if "loss" in row]
    steps = [step - before for (step, _), before in zip(rows, [0, *(step for step, _ in rows)], strict=False)]
    return sum(n * loss for n, (_, loss) in zip(steps, rows, strict=True)) / sum(steps) if rows else None


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
