"""The recipe stage ``minimize``: the rows that are left, each attribute only as finely as the service needs it."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from polyculture.errors import BadInput
from polyculture.files import atomic, write_json
from polyculture.methods import build, table
from polyculture.recipes.state import State


@dataclass(frozen=True)
class Minimize:
    """Write the rows that are left in a coarser form, and measure what a service and an adversary are left with.

    Parameters: ``target``, the column that the service predicts; ``method`` (default pat) and its own
    hyper-parameters, ``sensitive`` and ``categorical`` among them; ``columns``, the attributes (default all);
    ``test_share``.
    """

    known: ClassVar[tuple[str, ...]] = ("target", "method", "columns", "test_share")

    def check(self, params: Mapping[str, Any]) -> None:
        """Check the target, the method's name and its hyper-parameters."""
        if "target" not in params:
            raise BadInput("minimize needs target, the column that the service predicts")
        table("privacy").target(params.get("method", "pat"))
        self.minimizer(params)

    def minimizer(self, params: Mapping[str, Any]) -> Any:
        """The minimizer that the parameters describe."""
        hyper = {name: value for name, value in params.items() if name not in self.known}
        for name in ("sensitive", "categorical"):
            if name in hyper:
                hyper[name] = tuple([hyper[name]] if isinstance(hyper[name], str) else hyper[name])
        return build("privacy", params.get("method", "pat"), **hyper)

    def run(self, state: State, params: Mapping[str, Any], folder: Path) -> None:
        """Write ``minimized.csv``, ``generalisation.json``, ``frontier.json`` and ``minimize.html``."""
        import pandas as pd

        from polyculture.privacy.frontier import between_ends, frontier
        from polyculture.report.minimization import render_minimization

        records = state.pool.records.take(state.rows)
        frame = pd.DataFrame([row for block in records.blocks() for row in block])
        wanted = list(params.get("columns") or [c for c in frame.columns if c != params["target"]])
        for name in (params["target"], *wanted):
            if name not in frame.columns:
                columns = ", ".join(map(str, frame.columns))
                raise BadInput(f"{state.pool.source}: column '{name}' is missing; columns are {columns}")
        X, y = frame[wanted], frame[params["target"]].to_numpy()
        minimizer = self.minimizer(params).set_params(random_state=state.seed)
        settings = between_ends(params.get("method", "pat"), {}, minimizer)
        rows = frontier(
            X,
            y,
            settings,
            sensitive=minimizer.sensitive,
            categorical=minimizer.categorical,
            test_share=params.get("test_share", 0.3),
            seed=state.seed,
            progress=state.progress,
        )
        write_coarse(folder / "minimized.csv", minimizer.fit(X, y).generalise(X), params["target"], y)
        write_json(folder / "generalisation.json", minimizer.to_dict())
        write_json(folder / "frontier.json", [dataclasses.asdict(row) for row in rows])
        with atomic(folder / "minimize.html") as file:
            file.write(render_minimization(rows, source=state.pool.source, records=len(X)))


def write_coarse(path: Path, coarse: Mapping[str, Sequence[str]], target: str, y: Any) -> None:
    """Write records in their coarser form as CSV, the target as it was.

    Args:
        path: the file.
        coarse: attribute -> (n,) labels, as ``Minimizer.generalise`` gives them.
        target: name of the last column.
        y: (n,) its values.
    """
    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*coarse, target])
        writer.writerows(zip(*coarse.values(), y, strict=True))
