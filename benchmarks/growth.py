"""How time and memory grow with the size of the pool, and which sizes that forecast rules out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH = 384


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
