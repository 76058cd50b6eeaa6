"""The folder of an alignment run: its settings, what it set aside, its checkpoints, and what came out.

``settings.json`` says what is being done, so that the same command goes on and another one is refused;
``summary.json`` is there when it is done.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyculture.align.adapters import BASE
from polyculture.align.data.examples import Rejected
from polyculture.errors import BadInput
from polyculture.files import atomic, plain, write_json

SETTINGS, SUMMARY, REJECTED, MODEL = "settings.json", "summary.json", "rejected.jsonl", "model"
UNREAD, UNREAD_HELD_OUT = "unread-rejected.jsonl", "unread-held-out.jsonl"
BEFORE_TRAINING = {SETTINGS, REJECTED, UNREAD, UNREAD_HELD_OUT, BASE, ".lock"}
"""What a run that was refused before its first step leaves."""


def open_run(out: Path, settings: Mapping[str, Any], *, fresh: bool) -> dict[str, Any] | None:
    """Make or re-open a run's folder; its summary if it has finished.

    Args:
        out: the folder.
        settings: what is to be done, in plain values. They may change while nothing was trained yet.
        fresh: remove what an earlier run left here and begin anew.

    Raises:
        BadInput: the folder belongs to a run with other settings, or holds something else.
    """
    wanted = plain(dict(settings))
    path = out / SETTINGS
    if fresh:
        _clear(out)
    if path.exists():
        held = _read(path)
        differ = [change for name in sorted({*held, *wanted}) for change in _changes(name, held, wanted)]
        if differ and {p.name for p in out.iterdir()} <= BEFORE_TRAINING:
            _clear(out)
            write_json(path, wanted)
        elif differ:
            raise BadInput(
                f"{out} is a run with other settings: {', '.join(differ[:4])}"
                + (f" and {len(differ) - 4} more" if len(differ) > 4 else "")
                + "; choose another folder with -o, or give --fresh to remove it and begin anew"
            )
    elif out.exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise BadInput(f"{out} is not empty and holds no alignment run; choose another folder with -o")
    else:
        write_json(path, wanted)
    return _read(out / SUMMARY) if (out / SUMMARY).exists() else None


def last_checkpoint(out: Path) -> Path | None:
    """The newest checkpoint that is whole; one that was being written when the process died is removed, with a warning.

    Args:
        out: the folder with ``checkpoint-N``.
    """
    found = [(int(m[1]), p) for p in out.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    for _, folder in sorted(found, reverse=True):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))  # written last
            return folder
        except (OSError, json.JSONDecodeError):
            warnings.warn(f"{folder} was not written to its end and is removed", stacklevel=2)
            shutil.rmtree(folder, ignore_errors=True)
    return None


def write_unread(path: Path, no_rows: Path, unread: Sequence[Rejected]) -> None:
    """Write what could not be read; no file if there is nothing.

    Args:
        path: the file.
        no_rows: a file of what was no row at all, which comes first; it need not be there.
        unread: rows that hold something else than they should.
    """
    _write(path, [*_lines(no_rows), *map(_line, unread)])


def write_rejected(out: Path, rejected: Sequence[Rejected], stages: Sequence[Path] = ()) -> int:
    """Write what can't be trained on, each with its place and reason; no file if there is nothing.

    Args:
        out: the folder; what could not be read in it comes first.
        rejected: what was read.
        stages: folders whose rejected rows are this one's too.

    Returns:
        How many there are.
    """
    of_stages = [line for folder in stages for line in _lines(folder / REJECTED)]
    lines = list(dict.fromkeys([*_lines(out / UNREAD), *map(_line, rejected), *of_stages]))
    _write(out / REJECTED, lines)
    return len(lines)


def _write(path: Path, lines: Sequence[str]) -> None:
    if not lines:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as file:
        file.writelines(lines)


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return list(file)


def _line(one: Rejected) -> str:
    row = {"place": one.place, "reason": one.reason, "row": plain(dict(one.row))}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _clear(out: Path) -> None:
    if not out.exists():
        return
    if not (out / SETTINGS).exists() and any(p.name != ".lock" for p in out.iterdir()):
        raise BadInput(f"{out} holds no alignment run, so it is not removed; choose another folder with -o")
    for path in out.iterdir():
        if path.name == ".lock":
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _read(path: Path) -> dict[str, Any]:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: is damaged ({error}); give --fresh to begin anew") from error
    return held


def _changes(name: str, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What is different under a name, setting by setting where there are several."""
    before, now = held.get(name), wanted.get(name)
    if before == now:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        return [one for inner in sorted({*before, *now}) for one in _changes(inner, before, now)]
    return [f"{name} was {json.dumps(before)} and is now {json.dumps(now)}"]
