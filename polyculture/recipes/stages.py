"""What a recipe's stages do: each checks its parameters, then reads what came before and leaves its artefacts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.files import atomic, write_json
from polyculture.methods import build, parameters, table
from polyculture.recipes.state import State

RANDOM_DRAWS = 5


class StageKind(Protocol):
    """One kind of stage."""

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise if the parameters can't work, before anything runs."""

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Do the work; leave artefacts in ``folder``."""


@dataclass(frozen=True)
class Measure:
    """Measure the rows that are left, beside random and top-quality selections of the same size.

    Parameters: ``measures``, a list of names (default: the usual ones for what the pool has).
    """

    known: ClassVar[tuple[str, ...]] = ("measures",)

    def check(self, params: Mapping[str, Any]) -> None:
        """Check the measures' names."""
        _only(params, self.known, "measure")
        for name in params.get("measures") or ():
            table("measure").target(name)

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Write ``measures.json``: each value with its interval, what was skipped and why, and the baselines."""
        from polyculture.measure.on_pool import measure_pool

        names = list(params.get("measures") or ()) or None
        rows = state.rows
        found = measure_pool(state.pool.take(rows), names, rng=state.seed, progress=state.progress)
        baselines = {
            name: [
                measure_pool(state.pool.take(draw), names, intervals=False, rng=state.seed).to_dict() for draw in draws
            ]
            for name, draws in baseline_rows(state).items()
        }
        write_json(folder / "measures.json", {"rows": len(rows), **found.to_dict(), "baselines": baselines})


def baseline_rows(state: State) -> dict[str, list[np.ndarray]]:
    """What would have been chosen at random (several draws) and by quality alone, as many rows as are left."""
    k, n = len(state.rows), len(state.pool)
    if k == n:
        return {}
    seeds = np.random.SeedSequence(state.seed).spawn(RANDOM_DRAWS)
    draws = {"random": [np.random.default_rng(seed).choice(n, size=k, replace=False) for seed in seeds]}
    if state.pool.quality is not None:
        draws["top-quality"] = [build("select", "top-quality").select(state.pool, k, rng=state.seed)]
    return draws


@dataclass(frozen=True)
class Select:
    """Keep k of the rows that are left.

    Parameters: ``method``, ``k`` (a filter may leave it out) and the method's own hyper-parameters.
    """

    known: ClassVar[tuple[str, ...]] = ("method", "k")

    def check(self, params: Mapping[str, Any]) -> None:
        """Check the method's name, its hyper-parameters and k."""
        if "method" not in params:
            raise BadInput(f"select needs a method; there are {', '.join(table('select'))}")
        selector = self.selector(params)
        k = params.get("k")
        if k is None and not selector.may_return_fewer:
            raise BadInput(f"select with {params['method']} needs k, how many rows to keep")
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise BadInput(f"select: k should be a whole number, 1 or more, not {k!r}")

    def selector(self, params: Mapping[str, Any]) -> Any:
        """The selector that the parameters describe."""
        return build("select", params["method"], **{k: v for k, v in params.items() if k not in self.known})

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Write ``chosen.json`` (row numbers in order of choice) and ``rejected.jsonl`` (row numbers and reasons)."""
        from polyculture.select.reasons import reasons

        selector = self.selector(params)
        pool = state.pool.take(state.rows)
        state.progress(f"selecting with {params['method']}", 0, 1)
        chosen = selector.select(pool, params.get("k") or len(pool), rng=state.seed)
        state.progress(f"selecting with {params['method']}", 1, 1)
        write_json(folder / "chosen.json", {"rows": state.rows[chosen]})
        with atomic(folder / "rejected.jsonl") as file:
            for reason in reasons(pool, chosen):
                held = {
                    "row": int(state.rows[reason.row]),
                    "reason": reason.text,
                    "nearest": None if reason.nearest is None else int(state.rows[reason.nearest]),
                    "similarity": reason.similarity,
                    "method": params["method"],
                }
                file.write(json.dumps(held, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Report:
    """Write ``report.json``, from which the page is rendered.

    Parameters: ``title``.
    """

    known: ClassVar[tuple[str, ...]] = ("title",)

    def check(self, params: Mapping[str, Any]) -> None:
        """Check the parameters' names."""
        _only(params, self.known, "report")

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Gather everything the page shows."""
        from polyculture.report.build import build_curation_report

        report = build_curation_report(
            state.pool,
            state.rows,
            baselines={name: draws[0] for name, draws in baseline_rows(state).items()},
            title=params.get("title") or f"Curating {state.pool.source}",
            parameters=state.parameters,
            seed=state.seed,
            progress=state.progress,
        )
        write_json(folder / "report.json", report.to_dict())


def _only(params: Mapping[str, Any], known: tuple[str, ...], stage: str) -> None:
    for name in params:
        if name not in known:
            raise unknown(f"parameter of stage {stage}", name, known)


STAGES: dict[str, StageKind] = {"measure": Measure(), "select": Select(), "report": Report()}


def schema() -> dict[str, Any]:
    """What a recipe may hold, derived from the stages and the methods' signatures, as a JSON schema."""
    from polyculture.recipes.recipe import Recipe

    selectors = {}
    for name in table("select"):
        fields = parameters(table("select")[name])
        selectors[name] = {
            field.name: {
                "type": field.type_name,
                "default": None if field.required else field.default,
                "help": field.help,
            }
            for field in fields.values()
        }
    return {
        "recipe": Recipe.model_json_schema(),
        "stages": {name: kind.__doc__ for name, kind in STAGES.items()},
        "select": selectors,
    }
