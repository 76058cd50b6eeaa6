"""What an alignment run is to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyculture.align.mixture import Mixture, parse_objective
from polyculture.align.modifiers import with_divergence
from polyculture.align.objective import Objective
from polyculture.align.training import Training
from polyculture.align.watching.settings import Watch
from polyculture.errors import BadInput
from polyculture.files import content_hash, plain
from polyculture.methods import parameters
from polyculture.reading import OnBadRow

Row = dict[str, Any]


@dataclass(frozen=True)
class Alignment:
    """What is to be done.

    Args:
        data: a file, a folder, a hub id, or rows, with TRL's columns; see polyculture.align.data.examples.
        model: a folder or hub id of a causal language model.
        out: folder of the run.
        objective: a name of ``polyculture.align.METHODS``, ``python:module:function``, or a sum: "0.8*dpo+0.2*sft".
        hyper: its hyper-parameters, by name.
        reference: the model that the policy is compared with; None is the model itself.
        held_out: the share of prompts that is not trained on, or a file of held-out rows.
        columns: columns of numbers to add, see polyculture.align.data.columns.
        margin_rewards: rewards of the other objectives of MODPO, see polyculture.align.data.margin_rewards.
        divergence: the f-divergence from the reference in place of the reverse KL: "forward_kl", "js", "alpha:0.3".
        ld_alpha: weight of the tokens beyond a pair's shorter completion (LD-DPO).
        wpo: weigh each pair by how likely the policy writes it (WPO).
        refresh: (alpha, steps) of a reference that follows the policy (TR-DPO).
        training: how long, how fast, on what.
        watch: how it is watched; None does not watch.
        watch_every: steps from one evaluation to the next; None makes about ten.
        on_bad_row: "error" stops at a row that can't be read, "skip" sets it aside.
        split: of a hub data set or a saved DatasetDict.
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
