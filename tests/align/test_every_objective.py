"""Every objective trains a tiny model, is stopped, and goes on to the result of the run that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from polyculture.align.job import Alignment
from polyculture.align.run import align
from polyculture.align.training import Training
from polyculture.methods import table
from tests.align.stops import Stopped, stop_at
from tests.align.test_run import weights

NEEDED: dict[str, dict[str, Any]] = {
    # What an objective needs besides pairs, as the command line takes it.
    "odpo": {"columns": {"margin": "1.5"}},
    "dno": {"columns": {"win_chosen": "0.75", "win_rejected": "0.25"}},
    "modpo": {"hyper": {"w": "1,0.1"}, "margin_rewards": "length"},
    "f-dpg": {"hyper": {"target": "reward:length"}},
    "curry-dpo": {"hyper": {"iterations": "2"}},
    "dno-prct": {"hyper": {"iterations": "2", "judge": "heuristic"}},
}
QUICK = ("dpo", "tdpo", "kto", "pl")


def check(name: str, model: str, rows: list[dict[str, Any]], folder: Path) -> None:
    training = Training(steps=4, batch_size=4, learning_rate=1e-2, max_length=64, save_every=1, cpu=True)
    settings: dict[str, Any] = {"training": training, "watch": None, "held_out": 0.0, "objective": name}
    settings |= NEEDED.get(name, {})
    whole = align(Alignment(data=rows, model=model, out=folder / "whole", **settings))
    assert whole.summary["steps"] >= 4 and torch.isfinite(weights(whole.model)).all()
    with pytest.raises(Stopped):
        align(Alignment(data=rows, model=model, out=folder / "cut", **settings), stop_at(3))
    again = align(Alignment(data=rows, model=model, out=folder / "cut", **settings))
    assert torch.equal(weights(again.model), weights(whole.model))


@pytest.mark.parametrize("name", QUICK)
def test_an_objective_goes_on_where_it_was(
    name: str, tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    check(name, tiny_model, preferences, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in table("align") if name not in QUICK])
def test_each_other_objective_does_too(
    name: str, tiny_model: str, preferences: list[dict[str, Any]], tmp_path: Path
) -> None:
    check(name, tiny_model, preferences, tmp_path)
