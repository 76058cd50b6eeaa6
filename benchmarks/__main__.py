"""Measure the rows and write them down: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from benchmarks import kept
from benchmarks.harness import Row, measure
from benchmarks.page import page
from polyculture.files import atomic, write_json

MODULES = (
    "benchmarks.vendi",
    "benchmarks.selection",
    "benchmarks.text_overlap",
    "benchmarks.embedding",
    "benchmarks.logits_processors",
    "benchmarks.log_prob_head",
    "benchmarks.dpo_step",
    "benchmarks.strategies",
    "benchmarks.endpoint",
    "benchmarks.start_up",
)


def main(arguments: list[str] | None = None, modules: tuple[str, ...] = MODULES) -> int:
    """Run the command; the number returned is its exit status, 1 if a row failed or its results differ."""
    options = _options(arguments)
    found = {module: _rows(module, options.quick) for module in modules}
    names = [row.name for rows in found.values() for row in rows]
    if unknown := [name for name in options.only or () if name not in names]:
        print(f"no row is named {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(names))
        return 0
    state = kept.state(
        options.json,
        names,
        threads=options.threads,
        quick=options.quick,
        fresh=options.fresh,
        finished_too=bool(options.only),
    )
    for module, rows in found.items():
        for row in rows:
            wanted = row.name in options.only if options.only else row.name not in state["rows"]
            if wanted:
                state["rows"][row.name] = result = measure(module, row, quick=options.quick, threads=options.threads)
                write_json(options.json, state)
                print(_line(result), flush=True)
    state["finished"] = all(name in state["rows"] for name in names)
    write_json(options.json, state)
    if options.write:
        themes = [(_title(module), [row.name for row in rows]) for module, rows in found.items()]
        with atomic(options.write) as file:
            file.write(page(state, themes))
        print(f"wrote {options.write}")
    return int(any(row["status"] in ("disagrees", "failed") for row in state["rows"].values()))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measure these rows (again), keep the others")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of every library (default 1)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here, Markdown")
    parser.add_argument("--fresh", action="store_true", help="measure every row anew, even after an interrupted run")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where rows are kept as they come; an interrupted run goes on from there (default runs/benchmarks.json, "
        "with --quick runs/benchmarks-quick.json)",
    )
    options = parser.parse_args(arguments)
    options.json = options.json or Path("runs") / f"benchmarks{'-quick' if options.quick else ''}.json"
    return options


def _rows(module: str, quick: bool) -> list[Row]:
    rows: list[Row] = importlib.import_module(module).rows(quick)
    return rows


def _title(module: str) -> str:
    return (importlib.import_module(module).__doc__ or module).splitlines()[0].rstrip(".")


def _line(row: dict[str, Any]) -> str:
    def seconds(side: dict[str, float] | None) -> str:
        return "" if side is None else f"{side['cpu']:.4g} s CPU, {side['peak_mb']:.0f} MB"

    parts = [row["name"], seconds(row["ours"])]
    if row["theirs"]:
        parts.append(f"{row['peer']}: {seconds(row['theirs'])}, ratio {row['ratio']['cpu']:.3g}")
    parts += [row["status"] if row["status"] != "ok" else "", row["reason"], row["agreement"]]
    return "  ".join(part for part in parts if part)


if __name__ == "__main__":
    sys.exit(main())
