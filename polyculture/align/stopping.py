"""What happens between two steps: telling how far a training is, stopping it with a checkpoint, logging beside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from polyculture.progress import Progress


class StopAfterStep(TrainerCallback):
    """On the first Ctrl-C or SIGTERM, saves a checkpoint after the step and stops; on the second, stops at once.

    Attributes:
        asked: whether it was asked to stop.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch signals in the block; only the main thread can."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        ignored = {number for number, handler in before.items() if handler == signal.SIG_IGN}

        def stop(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        caught = [] if threading.current_thread() is not threading.main_thread() else before.keys() - ignored
        try:
            for number in caught:
                signal.signal(number, stop)
            yield
        finally:
            for number in caught:
                signal.signal(number, before[number])

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer after each optimiser step."""
        if self.asked:
            control.should_save = True
            control.should_training_stop = True


class StepProgress(TrainerCallback):
    """Tells how many steps are done.

    Args:
        progress: is told.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer after each optimiser step."""
        self.progress("training", state.global_step, state.max_steps)


class LogAtCheckpoints(TrainerCallback):
    """Has a line logged with every checkpoint and after the last step.

    A resumed training then goes on with the means of its log where they were, and the log covers every step.
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer after each optimiser step."""
        if control.should_save or control.should_training_stop or state.global_step >= state.max_steps:
            control.should_log = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer after each pass over the data, where a checkpoint may be due too."""
        if control.should_save:
            control.should_log = True
