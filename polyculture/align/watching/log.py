"""``watch.jsonl``: what was seen at each evaluation of a training, one JSON line each, whole or absent."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyculture.errors import BadInput
from polyculture.files import atomic, plain


@dataclass(frozen=True)
class Observation:
    """What was seen at one evaluation.

    Args:
        step: of training.
        metrics: name -> number; NaN where it could not be had.
        samples: of some prompts: ``prompt``, ``answers`` and their ``rewards``.
        alarm: ``reason``, ``step`` and ``stop_at``, from the step on at which it was raised.
        settings: of the watch; in the first line alone.
        seconds: it took.
        by_prompt: of metrics of the alarm: one number a held-out prompt, of which the metric is the mean.
    """

    step: int
    metrics: Mapping[str, float]
    samples: Sequence[Mapping[str, Any]] = ()
    alarm: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    by_prompt: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def line(self) -> str:
        """As JSON, without what is empty."""
        held = {name: value for name, value in vars(self).items() if name in ("step", "metrics") or value}
        return json.dumps(plain(held), ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")

    @classmethod
    def of(cls, held: Mapping[str, Any]) -> Observation:
        """What ``line`` wrote."""
        numbers = {name: math.nan if value is None else float(value) for name, value in held["metrics"].items()}
        return cls(**{**held, "metrics": numbers})


def alarm_in_words(reason: str, *, k: int, window: int, collapse: float) -> str:
    """What an alarm of :class:`polyculture.align.watching.alarm.FallAlarm` has seen, in a clause.

    Args:
        reason: of the alarm.
        k: tokens looked at.
        window: evaluations in a row at which a fall had to be seen.
        collapse: share of the starting entropy that counts as collapse.
    """
    times = "at this evaluation" if window == 1 else f"at {window} evaluations in a row"
    fell = f"below its highest value, {times}, by more than noise explains"
    return {
        "entropy reversal": f"the entropy of its {k} likeliest next tokens had risen from its start, and is {fell}",
        "mass loss": f"the probability of its {k} likeliest next tokens together is {fell}",
        "entropy collapse": f"the entropy of its {k} likeliest next tokens is below {collapse:g} of its start",
    }.get(reason, reason)


class WatchLog:
    """The evaluations of a run, kept in a file as they come.

    Args:
        path: of the file; its folder is made with the first evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.observations: list[Observation] = []

    def start(self, step: int, every: int) -> None:
        """Begin at a step: what a run that is resumed there would not have seen by then is dropped from the file.

        That is what lies after the step, and a last evaluation that was made off the beat because training ended.

        Args:
            step: at which training starts; 0 begins anew.
            every: steps from one evaluation to the next.
        """
        held = read_observations(self.path) if self.path.exists() and step > 0 else []
        self.observations = [one for one in held if one.step <= step and one.step % every == 0]
        if self.path.exists():
            with atomic(self.path) as file:
                file.writelines(one.line() + "\n" for one in self.observations)

    def append(self, seen: Observation) -> None:
        """Keep one more; a line that is cut short by a crash is not read."""
        self.observations.append(seen)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(seen.line() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BadInput(f"can't write {self.path}: {error.strerror}; choose another folder with -o") from error


def read_observations(path: Path) -> list[Observation]:
    """The evaluations in a file, in order; a last line that is not whole is left out.

    Raises:
        BadInput: there is no such file, or a line of it is no evaluation.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise BadInput(f"can't read {path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line end is not whole
        if not line.strip():
            continue
        try:
            found.append(Observation.of(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(f"{path} line {number} is no evaluation of a training: {error}; remove the file") from error
    return found
