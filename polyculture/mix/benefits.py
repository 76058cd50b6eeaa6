"""How much each group helps each task: the table that influence gives and mixture optimisers take."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.files import atomic
from polyculture.mix.groups import check_names, group_names
from polyculture.tables import read_csv


@dataclass(frozen=True)
class Benefits:
    """What training on each group does for each task.

    In a CSV file: one row a task, a column a group, and a column ``task`` of names.

    Args:
        groups: the m group names.
        tasks: the n task names.
        values: (n, m); larger is better, negative where the group harms the task.
    """

    groups: tuple[str, ...]
    tasks: tuple[str, ...]
    values: np.ndarray

    @classmethod
    def of(cls, values: Any, *, groups: Sequence[str] | None = None, tasks: Sequence[str] | None = None) -> Benefits:
        """Benefits from an (n, m) array; names that are not given are numbered.

        Raises:
            BadInput: the array has another shape, or an entry is NaN or infinite.
        """
        held = np.asarray(values, dtype=np.float64)
        if held.ndim != 2 or 0 in held.shape:
            raise BadInput(f"benefits should be (tasks, groups) with at least one of each, not {held.shape}")
        names = check_names(group_names(held.shape[1]) if groups is None else groups)
        of = check_names([f"task{i}" for i in range(len(held))] if tasks is None else tasks, "task")
        if held.shape != (len(of), len(names)):
            raise BadInput(f"benefits are {held.shape}, but there are {len(of)} tasks and {len(names)} groups")
        if not np.isfinite(held).all():
            task, group = np.argwhere(~np.isfinite(held))[0]
            raise BadInput(f"the benefit of group '{names[group]}' for task '{of[task]}' is NaN or infinite")
        return cls(names, of, held)

    @classmethod
    def read(cls, path: Path | str, *, weights: Sequence[str] | None = None, **_: Any) -> Benefits:
        """Benefits from a CSV file.

        Args:
            path: the file.
            weights: the columns of groups; None takes every column but ``task``.

        Raises:
            BadInput: a column is missing or an entry is not a number, with its line.
        """
        header, rows = read_csv(path)
        groups = list(weights) if weights else [c for c in header if c != "task"]
        for column in groups:
            if column not in header:
                raise unknown(f"column in {path}", column, header)
        values = []
        for line, row in rows:
            try:
                values.append([float(row[g]) for g in groups])
            except ValueError as error:
                raise BadInput(f"{path} line {line}: {error}; benefits are numbers, one a group") from error
        if not values:
            raise BadInput(f"{path}: there are no tasks in it")
        tasks = [row["task"] for _, row in rows] if "task" in header else None
        return cls.of(values, groups=[g.removeprefix("w:") for g in groups], tasks=tasks)

    def write(self, path: Path | str) -> None:
        """Write them as the CSV file that :meth:`read` takes."""
        with atomic(Path(path)) as file:
            writer = csv.writer(file)
            writer.writerow(["task", *self.groups])
            writer.writerows(
                [task, *map(repr, row)] for task, row in zip(self.tasks, self.values.tolist(), strict=True)
            )
