"""What stops a training in the middle, as a process that dies would."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import TrainerCallback

from polyculture.align import ways


class Stopped(Exception):
    """What stands for a process that dies."""


def stop_at(step: int) -> Any:
    """A progress that stops a training when that step is done."""

    def progress(what: str, done: int, total: int) -> None:
        if what == "training" and done == step:
            raise Stopped

    return progress


class StopAt(TrainerCallback):
    """Ends a training at a step, as if it were the last, with a checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


def stop_in_the_second(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the second training from here on stop before it begins; the names of their folders, as they come."""
    real, calls = ways.train_on, []

    def train_on(*args: Any, **how: Any) -> Any:
        calls.append(how["out"].name)
        if len(calls) == 2:
            raise Stopped
        return real(*args, **how)

    monkeypatch.setattr(ways, "train_on", train_on)
    return calls
