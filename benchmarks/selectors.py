"""Every selector alone: time and memory by the size of the pool, and how they grow.

``python -m benchmarks.selectors`` measures every method on the smallest pool, then on larger ones where the growth so
far says that they will fit the limits. k is the same at every size, so that the exponent is that of n. Rows are those
of ``benchmarks.harness``: each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import kept
from benchmarks.growth import WIDTH, method_of, size_of, why_not
from benchmarks.growth_page import page
from benchmarks.harness import Call, Disagreement, Row, measure
from polyculture.files import atomic, write_json

SIZES, QUICK = (2_500, 10_000, 100_000, 1_000_000), (2_000, 4_000)
K, QUICK_K, DOMAINS = 100, 20, 8
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
