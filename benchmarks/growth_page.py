"""The page of how selectors grow with the size of the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.growth import WIDTH, growth, measured, why_not
from benchmarks.page import machine_line, seconds, when_line

HEAD = """# Selectors by size of the pool

<!-- Written by `python -m benchmarks.selectors --write docs/selectors-growth.md`; do not edit. -->

Every selector alone, on generated embeddings of {width} dimensions in 50 clusters, with the same k at every size and
default options (those of its tests where it has to be told something). Each size runs in a fresh process; **every
library is held to {threads}**; the figures are medians of up to three calls after one that warms up (a first call of
more than a second counts, and a slow row has fewer calls). A cell gives CPU time, wall time and, in brackets, the most
memory on top of libraries and input. *CPU ~* and *memory ~* are the growth between the two largest sizes measured: n^1
doubles as the pool doubles. Where these take next to nothing, fixed costs flatten it. A size was begun only if
the growth up to then said that it would end within {seconds:,.0f} s of CPU and {megabytes:,.0f} MB (from one size,
growth is taken as quadratic; never as less than linear); the last column says which sizes that forecast left out.
Methods that need more than embeddings, a quality and groups are not here.

{machine}

{when}
"""


def page(state: Mapping[str, Any], methods: Sequence[str], sizes: Sequence[int]) -> str:
    """The Markdown page.

    Args:
        state: what ``python -m benchmarks.selectors`` keeps: settings, limits and measured rows.
        methods: in order.
        sizes: that were wanted.
    """
    settings, rows = state["settings"], list(state["rows"].values())
    head = HEAD.format(
        width=WIDTH,
        threads="one thread" if settings["threads"] == 1 else f"{settings['threads']} threads",
        machine=machine_line(settings),
        when=when_line(settings, rows),
        **state["limits"],
    )
    lines = [
        "| selector | " + " | ".join(f"n = {n:,}" for n in sizes) + " | CPU ~ | memory ~ | left out |",
        "|---" * (len(sizes) + 4) + "|",
    ]
    lines += ["| " + " | ".join(_cells(state, method, sizes)) + " |" for method in methods]
    return head + "\n" + "\n".join(lines) + "\n"


def _cells(state: Mapping[str, Any], method: str, sizes: Sequence[int]) -> list[str]:
    held = measured(state, method)
    by_size = {
        n: f"{seconds(cpu)}, {seconds(wall)} (+{above:,.0f} MB)"
        for n, cpu, wall, above in zip(held["n"], held["cpu"], held["wall"], held["above_mb"], strict=True)
    }
    last = {key: values[-2:] for key, values in held.items()}
    exponents = [growth(last["n"], last["cpu"]), growth(last["n"], np.maximum(last["above_mb"], 1.0).tolist())]
    grown = ["–" if exponent is None else f"n^{exponent:.2f}" for exponent in exponents]
    return [f"`{method}`", *(by_size.get(n, "–") for n in sizes), *grown, _left_out(state, method, sizes)]


def _left_out(state: Mapping[str, Any], method: str, sizes: Sequence[int]) -> str:
    """The first size that was not measured, and why."""
    done = measured(state, method)["n"]
    for n in sizes:
        row = state["rows"].get(f"select-{method}-{n}")
        if row is not None and row["status"] != "ok":
            return f"{n:,}: {row['status']}: {row['reason']}".replace("|", r"\|")
        if n not in done:
            return why_not(state, method, n).replace("|", r"\|") or f"{n:,} not measured in this run"
    return ""
