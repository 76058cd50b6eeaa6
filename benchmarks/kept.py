"""The measured rows on disk, so that an interrupted run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.machine import describe


def state(
    file: Path, names: Collection[str], *, threads: int, quick: bool, fresh: bool = False, finished_too: bool = False
) -> dict[str, Any]:
    """What an unfinished run on the same machine left, or the beginning of a new one.

    Args:
        file: JSON, as written by an earlier run; it need not be there.
        names: rows that there are now; others are left out, and so are rows that failed.
        threads: of every library.
        quick: whether sizes are small.
        fresh: begin anew whatever is there.
        finished_too: take up a finished run as well.

    Returns:
        ``settings``, ``finished`` (False) and ``rows`` by name.
    """
    settings = {"threads": threads, "quick": quick, "machine": describe()}
    new: dict[str, Any] = {"settings": settings, "finished": False, "rows": {}}
    if fresh or not file.exists():
        return new
    held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if _comparable(held["settings"]) != _comparable(settings) or (held["finished"] and not finished_too):
        return new
    return new | {"rows": {k: row for k, row in held["rows"].items() if k in names and row["status"] != "failed"}}


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Rows measured before and after a commit may stand in one table; those of two machines or versions may not."""
    machine = {key: value for key, value in settings["machine"].items() if key != "commit"}
    return settings | {"machine": machine}
