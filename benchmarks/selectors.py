"""Every selector alone: time and memory by the size of the pool, and how they grow.

``python -m benchmarks.selectors`` measures one method after the other, smallest pool first, and goes on to a larger
pool only where the growth so far says that it will fit the limits. k is the same at every size, so that the exponent is
that of n. Rows are those of ``benchmarks.harness``: each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Call, Disagreement, Row, measure
from polyculture.files import write_json

SIZES, QUICK = (10_000, 100_000, 1_000_000), (2_000, 4_000)
WIDTH, K, QUICK_K, DOMAINS = 384, 100, 20, 8
FIELDS = {"embeddings", "quality", "groups"}
ON_ARRAYS: dict[str, dict[str, Any]] = {"near-duplicates": {"by": "embeddings"}}
"""Options that make a method run on arrays where its defaults ask for texts."""


def rows(quick: bool = False) -> list[Row]:
    """One row a method and size, smallest first; methods that need more than arrays are left out."""
    from polyculture.methods import build, table

    found = []
    for name in table("select"):
        options: dict[str, Any] = getattr(table("select")[name], "test_params", dict)() | ON_ARRAYS.get(name, {})
        if not set(build("select", name, **options).required()) <= FIELDS:
            continue
        for n in QUICK if quick else SIZES:
            k = QUICK_K if quick else K
            found.append(
                Row(
                    f"select-{name}-{n}",
                    f"Selection, {name}",
                    f"{n:,} × {WIDTH}, k = {k}",
                    partial(_select, name, options, n, k),
                    partial(_rows_apart, n, k),
                    repeats=3,
                )
            )
    return found


def growth(sizes: Sequence[int], values: Sequence[float]) -> float | None:
    """The exponent a for which values grow as n^a: the slope of their logarithms; None for fewer than two sizes.

    >>> growth([10, 100], [1.0, 100.0])
    2.0
    """
    if len(sizes) < 2:
        return None
    x, y = np.log(sizes), np.log(np.maximum(values, 1e-9))
    return round(float(np.polyfit(x, y, 1)[0]), 6)


def foreseen(sizes: Sequence[int], values: Sequence[float], n: int) -> float:
    """What n is expected to take, by the growth so far, taken as quadratic where there is one size only."""
    exponent = 2.0 if len(sizes) < 2 else math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])
    return values[-1] * (n / sizes[-1]) ** max(exponent, 1.0)


def measure_all(
    *, quick: bool, threads: int, only: Sequence[str], seconds: float, megabytes: float, kept: Path | None
) -> dict[str, dict[str, Any]]:
    """Measure every method as far as the limits allow.

    Args:
        quick: small pools.
        threads: of every library.
        only: names of methods; none is all.
        seconds: wall time that a call may be expected to take.
        megabytes: memory that a call may be expected to take.
        kept: JSON file that results are kept in and read from, so that an interrupted run goes on.

    Returns:
        A dict a method: sizes, cpu and wall seconds, peak_mb and above_mb (the peak above the prepared input), the
        exponents of cpu and above_mb, and why it went no further.
    """
    found: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    wanted: dict[str, list[Row]] = {}
    for row in rows(quick):
        wanted.setdefault(row.name.removeprefix("select-").rpartition("-")[0], []).append(row)
    for name, held in wanted.items():
        if name in found or (only and name not in only):
            continue
        found[name] = _measure_method(held, quick, threads, seconds, megabytes)
        print(_line(name, found[name]), flush=True)
        if kept is not None:
            write_json(kept, found)
    return found


def _measure_method(held: Sequence[Row], quick: bool, threads: int, seconds: float, megabytes: float) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {"sizes": [], "cpu": [], "wall": [], "peak_mb": [], "above_mb": []}
    why = ""
    for row in held:
        n = int(row.name.rpartition("-")[2])
        if parts["sizes"]:
            wall = foreseen(parts["sizes"], parts["wall"], n)
            memory = foreseen(parts["sizes"], parts["peak_mb"], n)
            if wall > seconds or memory > megabytes:
                why = f"{n:,} rows would take about {wall:,.0f} s and {memory:,.0f} MB"
                break
        result = measure("benchmarks.selectors", row, quick=quick, threads=threads)
        if result["status"] != "ok":
            why = f"{n:,} rows: {result['status']}: {result['reason']}"
            break
        ours: Mapping[str, float] = result["ours"]
        parts["sizes"].append(n)
        for key in ("cpu", "wall", "peak_mb"):
            parts[key].append(ours[key])
        parts["above_mb"].append(max(ours["peak_mb"] - ours["start_mb"], 0.0))
    return {
        **parts,
        "cpu_exponent": growth(parts["sizes"], parts["cpu"]),
        "memory_exponent": growth(parts["sizes"], np.maximum(parts["above_mb"], 1.0).tolist()),
        "stopped": why,
    }


def _line(name: str, found: Mapping[str, Any]) -> str:
    cells = [
        f"{n:,}: {cpu:.3g} s, {above:,.0f} MB"
        for n, cpu, above in zip(found["sizes"], found["cpu"], found["above_mb"], strict=True)
    ]
    exponents = ["n^?" if found[key] is None else f"n^{found[key]:.2f}" for key in ("cpu_exponent", "memory_exponent")]
    return f"{name:20} {'; '.join(cells):70} time {exponents[0]}, memory {exponents[1]}  {found['stopped']}"


def _select(name: str, options: Mapping[str, Any], n: int, k: int) -> Call:
    from polyculture.methods import build
    from polyculture.pool import Pool

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, WIDTH)).astype(np.float32)
    X = rng.standard_normal((n, WIDTH), dtype=np.float32)
    X += centres[rng.integers(50, size=n)]
    pool = Pool.from_arrays(X, quality=rng.uniform(0.1, 1, n)).with_(
        groups=rng.integers(DOMAINS, size=n), group_names=tuple(f"domain {i}" for i in range(DOMAINS))
    )
    selector = build("select", name, **options)
    return lambda: selector.select(pool, k, rng=0)


def _rows_apart(n: int, k: int, chosen: np.ndarray) -> str:
    if len(np.unique(chosen)) != len(chosen) or not 1 <= len(chosen) <= k or chosen.min() < 0 or chosen.max() >= n:
        raise Disagreement(f"{len(chosen)} rows came back, not {k} different ones of {n}")
    return f"{len(chosen)} different rows"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a line a method, and keep the numbers."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selectors", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods only")
    parser.add_argument("--quick", action="store_true", help="small pools, to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of every library (default 1)")
    parser.add_argument("--seconds", type=float, default=300, help="longest call that is begun (default 300)")
    parser.add_argument("--megabytes", type=float, default=memory / 2, help="most memory (default half the machine's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep results here, and go on from there")
    options = parser.parse_args(arguments)
    measure_all(
        quick=options.quick,
        threads=options.threads,
        only=options.only,
        seconds=options.seconds,
        megabytes=options.megabytes,
        kept=options.json,
    )


if __name__ == "__main__":
    main()
