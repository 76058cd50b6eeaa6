"""What a benchmark row is, and how it is measured.

Each side of a row runs in a process of its own (``benchmarks.side``), so that its peak memory is its own and neither
side's threads, caches or just-in-time compilers touch the other's. The sides are called in turns, so that a machine
that slows down slows both. One call each comes first and is not counted, unless it took longer than ``LONG``.

This module and ``benchmarks.side`` use the standard library alone: a peer may live in an environment without ours.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pickle
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LONG = 1.0
"""Seconds above which a first call counts: warming up is no matter then."""
BUDGET = 6.0
"""Seconds after which a side is not called again."""
LIMIT = 900.0
"""Seconds after which one call, or the preparation for it, is given up."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

Call = Callable[[], Any]
Setup = Callable[[], Call]


class Unavailable(Exception):
    """A side can't be measured here; the message says why."""


class Disagreement(Exception):
    """The sides did not find the same; the message says how far apart they are."""


class SideFailed(Exception):
    """A side raised, died or took too long."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Args:
        name: unique, kebab-case.
        what: the operation, in a few words.
        size: of its input.
        ours: prepares the input, untimed, and returns the call to be timed.
        check: ``check(ours, peer)``, or ``check(ours)`` without a peer, of what the calls returned; returns what to say
            of their agreement, raises :class:`Disagreement` if they differ.
        peer: what ours is compared with; "" if ours runs alone.
        theirs: as ``ours``, for the peer.
        note: what a reader has to know besides.
        items: how many of what one call handles, for a rate: ``(512, "requests")``.
        repeats: most timed calls a side.
        peer_python: finds the interpreter of the peer's own environment, or raises :class:`Unavailable`.
    """

    name: str
    what: str
    size: str
    ours: Setup
    check: Callable[..., str]
    peer: str = ""
    theirs: Setup | None = None
    note: str = ""
    items: tuple[int, str] | None = None
    repeats: int = 5
    peer_python: Callable[[], str] | None = None


@dataclass
class Side:
    """A process that prepares one side of a row and runs it when told to."""

    module: str
    row: Row
    which: str
    quick: bool
    threads: int
    runs: list[dict[str, float]] = field(default_factory=list)
    spent: float = 0.0

    def start(self, folder: Path) -> None:
        """Start the process, which prepares its input.

        Raises:
            Unavailable: it has no interpreter.
        """
        python = sys.executable
        if self.which == "peer" and self.row.peer_python is not None:
            python = self.row.peer_python()
        self.folder = folder
        self.errors = (folder / f"{self.which}.log").open("w+")
        command = [python, "-m", "benchmarks.side", self.module, self.row.name, self.which]
        self.process = subprocess.Popen(
            [*command, *(["--quick"] if self.quick else [])],
            cwd=ROOT,
            env=environment(self.threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ready(self) -> None:
        """Wait until its input is prepared.

        Raises:
            Unavailable: it says that it can't run here.
            SideFailed: it failed.
        """
        self.start_mb = float(self._answer()["start_mb"])

    def call(self) -> None:
        """Time one call, or several in a row where one is too short to time."""
        run = self._ask("call")
        self.spent += run["wall"] * run["number"]
        self.runs.append(run)

    def result(self) -> Any:
        """What the last call returned."""
        path = self.folder / f"{self.which}.pickle"
        self._ask(f"result {path}")
        with path.open("rb") as file:
            return pickle.load(file)

    def due(self) -> bool:
        """Whether another call should be timed."""
        if not self.runs:
            return True
        last = self.runs[-1]
        return len(self.runs) < self.row.repeats and self.spent + last["wall"] * last["number"] < BUDGET

    def measured(self) -> dict[str, float]:
        """Medians over the runs."""
        return {
            "cpu": statistics.median(run["cpu"] for run in self.runs),
            "wall": statistics.median(run["wall"] for run in self.runs),
            "peak_mb": max(run["peak_mb"] for run in self.runs),
            "start_mb": self.start_mb,
            "runs": len(self.runs),
        }

    def close(self) -> None:
        """End the process."""
        process = getattr(self, "process", None)
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # it died with something unsaid
                    pipe.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.errors.close()

    def _ask(self, what: str) -> dict[str, Any]:
        try:
            print(what, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise SideFailed(f"{self._name()} died: {self._last_words()}") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            self.process.kill()
            raise SideFailed(f"{self._name()} took longer than {LIMIT:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise SideFailed(f"{self._name()} died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "unavailable" in answer:
            raise Unavailable(answer["unavailable"])
        if "failed" in answer:
            raise SideFailed(f"{self._name()}: {answer['failed']}")
        return answer

    def _name(self) -> str:
        return "ours" if self.which == "ours" else self.row.peer

    def _last_words(self) -> str:
        self.errors.flush()
        lines = Path(self.errors.name).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def environment(threads: int) -> dict[str, str]:
    """The environment of a side: its threads pinned, waiting threads asleep, no hub."""
    pinned = dict.fromkeys(THREAD_VARIABLES, str(threads))
    quiet = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **pinned, **quiet, "PYTHONWARNINGS": "ignore"}


def measure(module: str, row: Row, *, quick: bool = False, threads: int = 1) -> dict[str, Any]:
    """Measure one row.

    Args:
        module: the module whose ``rows(quick)`` gives the row; the sides import it.
        row: the row.
        quick: whether the row is of the small kind.
        threads: that BLAS, OpenMP, numba and tokenizers may use.

    Returns:
        JSON values: ``status`` ("ok", "skipped", "disagrees", "failed") and ``reason``, ``ours`` and ``theirs`` with
        seconds and MB (``theirs`` is None where there is no peer), ``ratio`` (peer over ours) of CPU, wall and peak
        memory, ``agreement``, and the load of the machine before and after.
    """
    found: dict[str, Any] = {
        "module": module,
        **{key: getattr(row, key) for key in ("name", "what", "size", "peer", "note")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": [round(os.getloadavg()[0], 2)],
        "status": "ok",
        "reason": "",
        "ours": None,
        "theirs": None,
        "ratio": None,
        "agreement": "",
    }
    ours = Side(module, row, "ours", quick, threads)
    theirs = Side(module, row, "peer", quick, threads) if row.theirs else None
    with tempfile.TemporaryDirectory(prefix="polyculture-bench-") as folder:
        try:
            ours.start(Path(folder))
            if theirs is not None:
                try:
                    theirs.start(Path(folder))
                    theirs.ready()
                except Unavailable as reason:
                    found["reason"] = f"not measured: {reason}"
                    theirs.close()
                    theirs = None
            ours.ready()
            _take_turns([ours] if theirs is None else [ours, theirs])
            found["ours"] = ours.measured()
            if theirs is not None:
                found["theirs"] = theirs.measured()
                found["ratio"] = {
                    key: found["theirs"][key] / max(found["ours"][key], 1e-9) for key in ("cpu", "wall", "peak_mb")
                }
            if (theirs is None) == (row.theirs is None):
                found["agreement"] = _agreement(row, *(side.result() for side in (ours, theirs) if side is not None))
            if row.items is not None:
                found["rates"] = _rates(row.items, found)
        except Unavailable as reason:
            found |= {"status": "skipped", "reason": str(reason)}
        except Disagreement as reason:
            found |= {"status": "disagrees", "reason": str(reason)}
        except SideFailed as reason:
            found |= {"status": "failed", "reason": str(reason)}
        finally:
            ours.close()
            if theirs is not None:
                theirs.close()
    found["load"].append(round(os.getloadavg()[0], 2))
    return found


def _take_turns(sides: list[Side]) -> None:
    for side in sides:
        side.call()
        if side.spent < LONG:
            side.runs.clear()
    while waiting := [side for side in sides if side.due()]:
        for side in waiting:
            side.call()


def _agreement(row: Row, *results: Any) -> str:
    try:
        return row.check(*results)
    except Disagreement:
        raise
    except Exception as error:  # results of two shapes, most likely; the rows after this one should still run
        raise Disagreement(f"results can't be compared: {type(error).__name__}: {error}") from error


def _rates(items: tuple[int, str], found: Mapping[str, Any]) -> str:
    n, name = items
    rates = [
        f"{_number(n / found[side]['wall'])} {name} a second, {_duration(found[side]['cpu'] / n)} of CPU each"
        for side in ("ours", "theirs")
        if found[side]
    ]
    return f"{rates[0]}" + (f"; the peer {rates[1]}" if len(rates) > 1 else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{1e6 * seconds:.4g} µs"


def close(ours: float, theirs: float, *, relative: float, what: str = "values") -> str:
    """Says how far two numbers differ.

    Raises:
        Disagreement: by more than ``relative`` of the second.
    """
    apart = abs(ours - theirs) / max(abs(theirs), 1e-300)
    if not math.isfinite(apart) or apart > relative:
        raise Disagreement(f"{what} differ by {apart:.1e}: ours {ours:.8g}, the peer's {theirs:.8g}")
    return f"{what} differ by {apart:.0e}" if apart else f"{what} are equal"
