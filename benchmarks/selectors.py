"""Every selector alone: time and memory by the size of the pool, and how they grow.

``python -m benchmarks.selectors`` measures every method on the smallest pool, then on larger ones where the growth so
far says that they will fit the limits. k is the same at every size, so that the exponent is that of n. Rows are those
of ``benchmarks.harness``: each in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import kept
from benchmarks.harness import Call, Disagreement, Row, measure
from polyculture.files import atomic, write_json

SIZES, QUICK = (2_500, 10_000, 100_000, 1_000_000), (2_000, 4_000)
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


def growth(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The exponent a for which values grow as n^a: the slope of their logarithms; None for fewer than two sizes.

    >>> growth([10, 100], [1.0, 100.0])
    2.0
    """
    if len(sizes) < 2:
        return None
    x, y = np.log(sizes), np.log(np.maximum(values, 1e-9))
    return round(float(np.polyfit(x, y, 1)[0]), 6)


def foreseen(sizes: Sequence[float], values: Sequence[float], n: int) -> float:
    """What n is expected to take, by the growth so far, taken as quadratic where there is one size only."""
    exponent = 2.0 if len(sizes) < 2 else math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])
    return values[-1] * (n / sizes[-1]) ** max(exponent, 1.0)


def measured(state: Mapping[str, Any], method: str) -> dict[str, list[float]]:
    """What is held of a method, smallest size first: n, cpu and wall seconds, and MB: start, and above it at most."""
    found: dict[str, list[float]] = {"n": [], "cpu": [], "wall": [], "start_mb": [], "above_mb": []}
    for row in sorted(state["rows"].values(), key=lambda row: size_of(row["name"])):
        if method_of(row["name"]) == method and row["status"] == "ok":
            ours = row["ours"]
            for key in ("cpu", "wall", "start_mb"):
                found[key].append(ours[key])
            found["n"].append(size_of(row["name"]))
            found["above_mb"].append(max(ours["peak_mb"] - ours["start_mb"], 0.0))
    return found


def method_of(row: str) -> str:
    """The selector that a row's name speaks of."""
    return row.removeprefix("select-").rpartition("-")[0]


def size_of(row: str) -> int:
    """The rows of the pool that a row's name speaks of."""
    return int(row.rpartition("-")[2])


def why_not(state: Mapping[str, Any], method: str, n: int) -> str:
    """Why n rows are not begun: the limits by what smaller pools took, or a smaller one that went wrong; "" if not."""
    for name, row in state["rows"].items():
        if method_of(name) == method and row["status"] != "ok" and size_of(name) < n:
            return f"{size_of(name):,} rows: {row['status']}: {row['reason']}"
    held, limits = measured(state, method), state["limits"]
    smaller = {key: [value for size, value in zip(held["n"], held[key], strict=True) if size < n] for key in held}
    if not smaller["n"]:
        return ""
    cpu = foreseen(smaller["n"], smaller["cpu"], n)
    memory = foreseen(smaller["n"], smaller["above_mb"], n) + smaller["start_mb"][-1] * n / smaller["n"][-1]
    if cpu > limits["seconds"]:
        return f"{n:,} would take about {cpu:,.0f} s of CPU"
    return f"{n:,} would take about {memory:,.0f} MB" if memory > limits["megabytes"] else ""


def measure_all(state: dict[str, Any], wanted: Sequence[Row], file: Path) -> None:
    """Measure the rows that are not held yet and that the limits allow, and keep each as it comes.

    Args:
        state: ``settings``, ``limits`` (seconds of CPU and megabytes that a call may be expected to take) and ``rows``.
        wanted: the rows, smallest sizes first.
        file: JSON file that the state is kept in.
    """
    settings = state["settings"]
    for row in wanted:
        if row.name in state["rows"] or why_not(state, method_of(row.name), size_of(row.name)):
            continue
        result = measure("benchmarks.selectors", row, quick=settings["quick"], threads=settings["threads"])
        state["rows"][row.name] = result
        write_json(file, state)
        ours = result["ours"]
        said = f"{ours['cpu']:.4g} s CPU, {ours['peak_mb']:.0f} MB" if ours else ""
        print("  ".join(part for part in (row.name, said, result["reason"]) if part), flush=True)


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


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the page; the number returned is the exit status, 1 if a row failed."""
    options = _options(arguments)
    every = sorted(rows(options.quick), key=lambda row: size_of(row.name))
    methods = list(dict.fromkeys(method_of(row.name) for row in every))
    if wrong := [name for name in options.only if name not in methods]:
        print(f"no selector is named {', '.join(wrong)}; there are {', '.join(methods)}", file=sys.stderr)
        return 2
    state = kept.state(
        options.json, [row.name for row in every], threads=options.threads, quick=options.quick, fresh=options.fresh
    )
    state["limits"] = {"seconds": options.seconds, "megabytes": options.megabytes}
    measure_all(state, [row for row in every if not options.only or method_of(row.name) in options.only], options.json)
    state["finished"] = all(
        row.name in state["rows"] or why_not(state, method_of(row.name), size_of(row.name)) for row in every
    )
    write_json(options.json, state)
    if options.write:
        from benchmarks.growth_page import page

        with atomic(options.write) as file:
            file.write(page(state, methods, QUICK if options.quick else SIZES))
        print(f"wrote {options.write}")
    return int(any(row["status"] in ("disagrees", "failed") for row in state["rows"].values()))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selectors", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods only")
    parser.add_argument("--quick", action="store_true", help="small pools, to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of every library (default 1)")
    parser.add_argument("--seconds", type=float, default=300, help="longest call that is begun, CPU (default 300)")
    parser.add_argument("--megabytes", type=float, default=memory / 2, help="most memory (default half the machine's)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here, Markdown")
    parser.add_argument("--fresh", action="store_true", help="measure every row anew, even after an interrupted run")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where rows are kept as they come; an interrupted run goes on from there (default runs/selectors.json, "
        "with --quick runs/selectors-quick.json)",
    )
    options = parser.parse_args(arguments)
    options.json = options.json or Path("runs") / f"selectors{'-quick' if options.quick else ''}.json"
    return options


if __name__ == "__main__":
    sys.exit(main())
