"""One side of a row, in a process of its own: prepares, then calls when a line on stdin says so.

``python -m benchmarks.side MODULE ROW ours|peer [--quick]``. Answers are lines of JSON on stdout; whatever a library
prints goes to stderr. Standard library only, since a peer's environment may hold nothing of ours.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import math
import os
import pickle
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHORTEST = 0.05
"""Seconds a measurement should last; shorter calls are made several times in a row."""
MB = 2**20


def main(arguments: list[str]) -> None:
    module, name, which = arguments[:3]
    # Only answers may reach the real stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        call = _prepare(module, name, which, quick="--quick" in arguments)
    except Exception as error:
        missing = isinstance(error, ImportError) or type(error).__name__ in ("Unavailable", "MissingExtra")
        traceback.print_exc()
        answer(**{"unavailable" if missing else "failed": _said(error)})
        return
    gc.collect()
    _forget_peak()
    answer(start_mb=_status("VmRSS"))
    result: Any = None
    number = 1
    for line in sys.stdin:
        try:
            if line.startswith("call"):
                result, run = _timed(call, number)
                number = min(1000, max(1, math.ceil(SHORTEST / max(run["wall"], 1e-9))))
                answer(**run, peak_mb=peak_mb())
            else:
                with Path(line.split(maxsplit=1)[1].strip()).open("wb") as file:
                    pickle.dump(result, file)
                answer()
        except Exception as error:
            traceback.print_exc()
            answer(failed=_said(error))


def _prepare(module: str, name: str, which: str, quick: bool) -> Callable[[], Any]:
    rows = importlib.import_module(module).rows(quick)
    row = next(row for row in rows if row.name == name)
    return row.ours() if which == "ours" else row.theirs()


def _timed(call: Callable[[], Any], number: int) -> tuple[Any, dict[str, float]]:
    result = None
    cpu, wall = cpu_seconds(), time.perf_counter()
    for _ in range(number):
        result = call()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return result, {"cpu": cpu / number, "wall": wall / number, "number": number}


def cpu_seconds() -> float:
    """CPU time of this process, its threads, and its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_mb() -> float:
    """The most memory this process held at once since its input was ready, or a child of its held."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    return max(_status("VmHWM"), child)


def _status(key: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split(f"{key}:")[1].split()[0]) * 1024 / MB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MB if sys.platform == "darwin" else most * 1024 / MB


def _forget_peak() -> None:
    """Start the high-water mark anew, so that what preparing took does not count."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
