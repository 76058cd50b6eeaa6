"""Start-up of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Call, Disagreement, Row, Unavailable


def rows(quick: bool) -> list[Row]:
    return [
        Row(
            "start-up",
            "`polyculture --help`",
            "a fresh process",
            _ours,
            _both_ended_well,
            "`python -c pass`",
            lambda: _run([sys.executable, "-c", "pass"]),
            note="the peer is the least that any Python command takes",
            repeats=2 if quick else 5,
        ),
    ]


def _ours() -> Call:
    command = Path(sys.executable).with_name("polyculture")
    if not command.exists():
        raise Unavailable(f"{command} is not installed: pip install -e .")
    return _run([str(command), "--help"])


def _run(command: list[str]) -> Call:
    def call() -> tuple[int, str]:
        run = subprocess.run(command, capture_output=True, text=True)
        return run.returncode, run.stdout

    return call


def _both_ended_well(ours: tuple[int, str], peer: tuple[int, str]) -> str:
    if ours[0] or peer[0] or "curate" not in ours[1]:
        raise Disagreement(f"exit status {ours[0]} and {peer[0]}, or the help is not the help")
    return "both end with status 0"
