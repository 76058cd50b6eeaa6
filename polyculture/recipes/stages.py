"""What a recipe's stages do: each checks its parameters, then reads what came before and leaves its artefacts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from polyculture.errors import BadInput, MissingExtra, unknown
from polyculture.files import atomic, write_json
from polyculture.measure.on_pool import measure_pool
from polyculture.methods import build, meaning, parameters, table
from polyculture.recipes.aligning import Align, settings_model
from polyculture.recipes.minimizing import Minimize
from polyculture.recipes.mixing import Mix
from polyculture.recipes.recipe import Recipe
from polyculture.recipes.state import State

RANDOM_DRAWS = 5
BASELINE_MEASURES = (
    "vendi",
    "vendi-orders",
    "intdiv",
    "mean-nn-distance",
    "mean-reward",
    "group-balance",
    "ngram-diversity",
    "compression-ratio",
    "length",
)
"""What random and top-quality selections are measured by when no measures are named: what takes well under a second."""


class StageKind(Protocol):
    """One kind of stage."""

    def check(self, params: Mapping[str, Any]) -> None:
        """Raise if the parameters can't work, before anything runs."""

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Do the work; leave artefacts in ``folder``."""


@runtime_checkable
class LongStage(StageKind, Protocol):
    """A stage that takes long: stopped, it finds in ``folder`` what it has done, and goes on from there."""

    def stands_on(self, params: Mapping[str, Any]) -> dict[str, str]:
        """What it works on besides rows and files, by name: with anything else it begins anew."""


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
        names = list(params.get("measures") or ())
        rows = state.rows
        found = measure_pool(state.pool.take(rows), names or None, rng=state.seed, progress=state.progress)
        held = found.to_dict()
        for name, value in held["values"].items():
            value["meaning"] = meaning("measure", name.partition(".")[0])
        baselines = {}
        for baseline, draws in baseline_rows(state).items():
            state.progress(f"measuring {baseline} selections", 0, 1)
            taken = [
                measure_pool(state.pool.take(draw), names or BASELINE_MEASURES, intervals=False, rng=state.seed).values
                for draw in draws
            ]
            baselines[baseline] = {name: spread([values[name].value for values in taken]) for name in taken[0]}
            state.progress(f"measuring {baseline} selections", 1, 1)
        write_json(folder / "measures.json", {"rows": len(rows), **held, "baselines": baselines})


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """The mean of several draws, and the 95 % range that another draw falls in (Student t); one draw has no range."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) == 1:
        return {"value": mean, "low": None, "high": None}
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values)))
    return {"value": mean, "low": mean - half, "high": mean + half}


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
            for reason in reasons(pool, chosen, numbers=state.rows):
                held = {
                    "row": reason.row,
                    "reason": reason.text,
                    "kind": reason.kind,
                    "nearest": reason.nearest,
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

        selected = [stage.params["method"] for stage in state.recipe.stages if stage.kind == "select"]
        report = build_curation_report(
            state.pool,
            state.rows,
            baselines=baseline_rows(state),
            method=", then ".join(selected),
            title=params.get("title") or "",
            parameters=state.parameters,
            reasons=state.reasons(),
            timings=state.timings(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=state.seed,
            progress=state.progress,
        )
        write_json(folder / "report.json", report.to_dict())


def _only(params: Mapping[str, Any], known: tuple[str, ...], stage: str) -> None:
    for name in params:
        if name not in known:
            raise unknown(f"parameter of stage {stage}", name, known)


STAGES: dict[str, StageKind] = {
    "measure": Measure(),
    "select": Select(),
    "mix": Mix(),
    "minimize": Minimize(),
    "align": Align(),
    "report": Report(),
}


def schema() -> dict[str, Any]:
    """What a recipe may hold, derived from the stages and the methods' signatures."""

    def described(stage: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in table(stage):
            try:
                fields = parameters(table(stage)[name]).values()
            except MissingExtra as error:
                found[name] = str(error)
                continue
            found[name] = {
                f.name: {"type": f.type_name, "required": f.required, "help": f.help}
                | ({} if f.required else {"default": f.default if _plain(f.default) else str(f.default)})
                for f in fields
            }
        return found

    return {
        "recipe": Recipe.model_json_schema(),
        "stages": {name: inspect.getdoc(kind) for name, kind in STAGES.items()},
        "parameters": {"align": settings_model().model_json_schema()},
        "methods": {stage: described(stage) for stage in ("select", "mix", "privacy", "quality", "align")},
    }


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
