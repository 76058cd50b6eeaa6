"""What an alignment run left in its folder, as its page needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polyculture.align.watching.log import Observation, read_observations
from polyculture.errors import BadInput

EXAMPLES = 3
"""Rows named for each reason why rows were set aside."""


@dataclass(frozen=True)
class Aside:
    """Rows that were set aside for one reason."""

    reason: str
    count: int
    examples: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class AlignmentReport:
    """What the page is made of; everything may be absent.

    Args:
        summary: of the run, plain values: ``objective``, ``model``, ``reference``, ``data``, ``examples``, ``rows``,
            ``held_out``, ``cuts``, ``steps``, ``seconds``, ``versions``, ... Others are shown among the settings.
        observations: the evaluations, in order of step.
        log: transformers' log history: dicts with ``step`` and numbers.
        settings: of the run.
        aside: rows that were not trained on.
        marks: words -> step at which a line is drawn in every plot over steps.
        kept: where the model of before the first alarm is, in the folder of the run.
    """

    summary: Mapping[str, Any] = field(default_factory=dict)
    observations: Sequence[Observation] = ()
    log: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    aside: Sequence[Aside] = ()
    marks: Mapping[str, float] = field(default_factory=dict)
    kept: str = ""

    @property
    def alarm(self) -> Mapping[str, Any] | None:
        """The alarm, if there was one: ``reason``, ``step``, ``stop_at``."""
        raised = [one.alarm for one in self.observations if one.alarm]
        return raised[0] if raised else self.summary.get("alarm")

    @property
    def watch(self) -> Mapping[str, Any]:
        """How the run was watched."""
        return next((one.settings for one in self.observations if one.settings), self.settings.get("watch") or {})


def read_alignment(folder: Path | str) -> AlignmentReport:
    """What an alignment run left in its folder; a run in stages is joined, its steps counted on.

    Reads ``summary.json``, ``settings.json``, ``watch.jsonl``, files of rejected rows, and where the summary has no
    ``log`` the ``trainer_state.json`` of the folder or of its last checkpoint.

    Args:
        folder: of the run.

    Raises:
        BadInput: it holds none of them, or one of them is damaged.
    """
    folder = Path(folder)
    summary, settings = _json(folder / "summary.json"), _json(folder / "settings.json")
    aside = _aside(sorted(folder.glob("**/*rejected.jsonl")))
    observations: list[Observation] = []
    log: list[Mapping[str, Any]] = []
    marks: dict[str, float] = {}
    parts = sorted(folder.glob("stage-*"), key=_number_of)
    kept = ""
    start = 0
    for part in parts or [folder]:
        seen = read_observations(part / "watch.jsonl") if (part / "watch.jsonl").exists() else []
        rows = _log(part)
        first_alarm = not any(one.alarm for one in observations) and any(one.alarm for one in seen)
        if first_alarm and (part / "before-alarm").is_dir():  # a later stage's lies behind the alarm that is told
            kept = str((part / "before-alarm").relative_to(folder))
        if start:
            marks[part.name.replace("-", " ")] = start
        observations += [_later(one, start) for one in seen]
        log += [{**row, "step": row["step"] + start} for row in rows if isinstance(row.get("step"), int)]
        start = max([start, *(one.step for one in observations), *(int(row["step"]) for row in log)])
    if not (summary or settings or observations or log):
        raise BadInput(f"{folder} holds no alignment run: no summary.json, settings.json, watch.jsonl or trainer log")
    return AlignmentReport(summary, observations, log, settings, aside, marks, kept)


def _later(one: Observation, start: int) -> Observation:
    alarm = one.alarm and {**one.alarm, **{name: one.alarm[name] + start for name in ("step", "stop_at")}}
    return replace(one, step=one.step + start, alarm=alarm)


def _log(folder: Path) -> list[Mapping[str, Any]]:
    held = _json(folder / "summary.json").get("log")
    if isinstance(held, list):
        return held
    states = [*sorted(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: _number_of(path.parent))]
    places = [folder / "trainer_state.json", *reversed(states)]
    found = next((path for path in places if path.exists()), None)
    return [] if found is None else list(_json(found).get("log_history") or [])


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"can't read {path}: {error}") from error
    return held if isinstance(held, dict) else {}


def _aside(paths: Sequence[Path]) -> list[Aside]:
    counts: dict[str, int] = {}
    examples: dict[str, list[Mapping[str, str]]] = {}
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    reason = str(row.get("reason") or "no reason given")
                except (ValueError, AttributeError):
                    continue
                counts[reason] = counts.get(reason, 0) + 1
                if counts[reason] <= EXAMPLES:
                    raw = row.get("row", row.get("raw", ""))
                    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, indent=1)
                    shown = {"place": str(row.get("place") or path.name), "text": text[:2000]}
                    examples.setdefault(reason, []).append(shown)
    ordered = sorted(counts, key=lambda reason: -counts[reason])
    return [Aside(reason, counts[reason], examples[reason]) for reason in ordered]


def _number_of(path: Path) -> int:
    digits = path.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1
