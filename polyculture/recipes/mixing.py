"""The recipe stage ``mix``: how many rows of each group, as a mixer says, and which."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.files import atomic, write_json
from polyculture.methods import build, table
from polyculture.recipes.state import State


@dataclass(frozen=True)
class Mix:
    """Keep k of the rows that are left, as many of each group as a mixer says, chosen inside groups by a selector.

    Parameters: ``method`` and its own hyper-parameters; ``k``; ``runs``, a file of proxy runs (or of benefits, or of
    learning curves), or ``proxies``, how many tiny models to train on random mixtures, each for ``steps``; ``inner``,
    the selector inside a group (default random).
    """

    known: ClassVar[tuple[str, ...]] = ("method", "k", "runs", "proxies", "steps", "inner")

    def check(self, params: Mapping[str, Any]) -> None:
        """Check names and numbers."""
        if "method" not in params:
            raise BadInput(f"mix needs a method; there are {', '.join(table('mix'))}")
        mixer = self.mixer(params)
        build("select", params.get("inner", "random"))
        k = params.get("k")
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise BadInput(f"mix needs k, how many rows to keep, a whole number of 1 or more, not {k!r}")
        if mixer.fits != "groups" and ("runs" in params) == ("proxies" in params):
            more = " or proxies, how many to train" if mixer.fits == "runs" else ""
            raise BadInput(f"mix with {params['method']} needs runs, a file that it learns from{more}")
        if "proxies" in params and mixer.fits != "runs":
            raise BadInput(f"mix with {params['method']} does not learn from proxies; give it a file with runs")

    def mixer(self, params: Mapping[str, Any]) -> Any:
        """The mixer that the parameters describe."""
        return build("mix", params["method"], **{k: v for k, v in params.items() if k not in self.known})

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Write ``mixer.json``, ``weights.json``, ``chosen.json`` and ``rejected.jsonl``."""
        from polyculture.select.allocation import largest_remainder

        pool = state.pool.take(state.rows)
        pool.need("groups")
        assert pool.groups is not None
        mixer = self.mixer(params)
        self._fit(mixer, state, params)
        given = dict(zip(mixer.groups_, map(float, mixer.weights_), strict=True))
        unknown = sorted(set(given) - set(pool.group_names))
        if unknown:
            raise BadInput(f"{pool.source}: there is no group '{unknown[0]}'; groups are {', '.join(pool.group_names)}")
        weights = np.array([given.get(name, 0.0) for name in pool.group_names])
        held = np.bincount(pool.groups, minlength=len(pool.group_names))
        if params["k"] > held.sum():
            raise BadInput(f"k = {params['k']}, but {int(held.sum())} rows of {pool.source} are left")
        quota = largest_remainder(weights, params["k"], held)
        inner = build("select", params.get("inner", "random"))
        seeds = np.random.default_rng(state.seed).integers(2**31 - 1, size=len(quota))
        parts = []
        for group in np.flatnonzero(quota):
            rows = np.flatnonzero(pool.groups == group)
            parts.append(rows[inner.select(pool.take(rows), int(quota[group]), rng=int(seeds[group]))])
        chosen = np.concatenate(parts)
        mixer.save(folder / "mixer.json")
        counts = dict(zip(pool.group_names, quota.tolist(), strict=True))
        write_json(folder / "weights.json", {"weights": given, "rows": counts})
        write_json(folder / "chosen.json", {"rows": state.rows[chosen]})
        with atomic(folder / "rejected.jsonl") as file:
            for row in np.setdiff1d(np.arange(len(pool)), chosen):
                name = pool.group_names[pool.groups[row]]
                reason = (
                    f"its group '{name}' got {counts[name]} of {params['k']} rows (weight {given.get(name, 0.0):.3f})"
                )
                told = {
                    "row": int(state.rows[row]),
                    "reason": reason,
                    "kind": "not needed",
                    "nearest": None,
                    "similarity": None,
                }
                file.write(json.dumps({**told, "method": params["method"]}, ensure_ascii=False) + "\n")

    def _fit(self, mixer: Any, state: State, params: Mapping[str, Any]) -> None:
        if mixer.fits == "groups" and "runs" not in params:
            mixer.fit(state.pool.take(state.rows))
        elif "runs" in params:
            mixer.fit(type(mixer).read(params["runs"]))
        else:
            from polyculture.mix.proxy import ProxySettings, run_proxies

            pool = state.pool.take(state.rows)
            design = build("mix", "random-mixture", seed=state.seed).fit(pool).propose(params["proxies"])
            settings = ProxySettings(steps=params.get("steps", 200), seed=state.seed)
            # In the run folder, not in the stage's: a run that is killed goes on with the proxies that are there.
            path = state.folder.path / "proxies.csv"
            mixer.fit(
                run_proxies(
                    pool, design.weights, path, settings=settings, groups=design.groups, progress=state.progress
                )
            )
