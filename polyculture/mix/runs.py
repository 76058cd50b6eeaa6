"""Proxy runs at rest: one row a measurement, the mixture that was trained on and the scores it led to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput, unknown
from polyculture.mix.groups import check_names, group_names, on_simplex
from polyculture.tables import read_csv

WEIGHT = "w:"
RESERVED = ("run", "mixture", "progress", "steps", "seed", "tokens", "seconds")


@dataclass(frozen=True)
class Runs:
    """n measurements of m groups and k scores.

    In a CSV file the weights are the columns ``w:GROUP`` (or those named), ``mixture`` labels the rows of one mixture,
    ``progress`` is the share of the training schedule behind a row, in (0, 1], and every other column of numbers is a
    score, but for run, steps, seed, tokens and seconds. Scores named ``loss``, ``loss:...`` or ``perplexity`` are
    better when lower, the others when higher.

    Args:
        groups: the m group names.
        weights: (n, m) mixtures, rows on the simplex.
        scores: names of the k scores.
        values: (n, k) scores in their own units.
        progress: (n,) share of the schedule, in (0, 1].
        mixture: (n,) int64; rows with the same code share a mixture, so that validation can keep them together.
        minimise: (k,) bool, whether a lower score is better.
        source: where they came from, for messages.
    """

    groups: tuple[str, ...]
    weights: np.ndarray
    scores: tuple[str, ...]
    values: np.ndarray
    progress: np.ndarray
    mixture: np.ndarray
    minimise: np.ndarray
    source: str = field(default="runs")

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def n_mixtures(self) -> int:
        """How many different mixtures there are."""
        return len(np.unique(self.mixture))

    @classmethod
    def from_arrays(
        cls,
        weights: Any,
        values: Any,
        *,
        groups: Sequence[str] | None = None,
        scores: Sequence[str] | None = None,
        progress: Any = None,
        mixture: Any = None,
        minimise: Any = None,
        source: str = "runs",
    ) -> Runs:
        """Runs from plain arrays.

        Args:
            weights: (n, m) mixtures; rows that don't sum to 1 are divided by their sum, with a warning.
            values: (n,) or (n, k) scores.
            groups: m names; None numbers them.
            scores: k names; None numbers them.
            progress: (n,) share of the schedule in (0, 1]; None is 1 for every row.
            mixture: (n,) labels; None tells mixtures apart by their weights.
            minimise: bool or (k,) bool; None goes by the scores' names.
            source: where they came from, for messages.

        Raises:
            BadInput: shapes differ, a weight or a score is NaN, infinite or (a weight) negative, or there are no rows.
        """
        held = np.asarray(values, dtype=np.float64)
        held = held[:, None] if held.ndim == 1 else held
        given = np.asarray(weights, dtype=np.float64)
        if given.ndim != 2 or held.ndim != 2 or len(given) != len(held):
            raise BadInput(f"{source}: weights should be (n, m) and scores (n, k), not {given.shape} and {held.shape}")
        if len(given) == 0:
            raise BadInput(f"{source}: there are no runs")
        if held.shape[1] == 0:
            raise BadInput(f"{source}: there are no scores; name their columns with --scores")
        bad = ~np.isfinite(held).all(axis=1)
        if bad.any():
            raise BadInput(
                f"{source}: a score is NaN or infinite in row {', '.join(map(str, np.flatnonzero(bad)[:5] + 1))} "
                f"({bad.sum()} of {len(held)} rows); mend the runs, or leave them out with --on-bad-row skip"
            )
        mixtures = on_simplex(given, f"{source}: weights")
        names = check_names(group_names(given.shape[1]) if groups is None else groups)
        score_names = check_names([f"score{j}" for j in range(held.shape[1])] if scores is None else scores, "score")
        if len(names) != given.shape[1] or len(score_names) != held.shape[1]:
            raise BadInput(
                f"{source}: {len(names)} group and {len(score_names)} score names for {given.shape[1]} weights and "
                f"{held.shape[1]} scores"
            )
        share = np.ones(len(held)) if progress is None else np.asarray(progress, dtype=np.float64)
        if share.shape != (len(held),) or not ((share > 0) & (share <= 1)).all():
            raise BadInput(f"{source}: progress should be one number a row, above 0 and at most 1")
        labels = [tuple(row) for row in np.round(mixtures, 9)] if mixture is None else [str(x) for x in mixture]
        codes: dict[Any, int] = {}
        low = np.array([_is_loss(s) for s in score_names]) if minimise is None else np.asarray(minimise, dtype=bool)
        return cls(
            names,
            mixtures,
            score_names,
            held,
            share,
            np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64),
            np.broadcast_to(low, (held.shape[1],)).copy(),
            source,
        )

    @classmethod
    def read(
        cls,
        path: Path | str,
        *,
        weights: Sequence[str] | None = None,
        scores: Sequence[str] | None = None,
        minimise: Sequence[str] | None = None,
        on_bad_row: Literal["error", "skip"] = "error",
    ) -> Runs:
        """Runs from a CSV file with a header.

        Args:
            path: the file.
            weights: the weight columns; None takes those named ``w:GROUP``.
            scores: the score columns; None takes every other column of numbers.
            minimise: the score columns where lower is better; None goes by their names.
            on_bad_row: "skip" leaves rows with a missing or impossible number out, with a warning that counts them.

        Raises:
            BadInput: the file or a column is missing, or a row is bad, with its line.
        """
        header, rows = read_csv(path)
        picked = list(weights) if weights else [c for c in header if c.startswith(WEIGHT)]
        for column in [*picked, *(scores or ()), *(minimise or ())]:
            if column not in header:
                raise unknown(f"column in {path}", column, header)
        if not picked:
            raise BadInput(
                f"{path} has no weight columns; call them w:GROUP, or name them with --weights. "
                f"Its columns are {', '.join(header)}"
            )
        wanted = list(scores) if scores else _score_columns(header, rows, picked)
        if not wanted:
            raise BadInput(f"{path} has no score columns beside {', '.join(header)}; name them with --scores")
        for column in minimise or ():
            if column not in wanted:
                raise unknown("score", column, wanted)
        columns = [*picked, *wanted, *(["progress"] if "progress" in header else [])]
        held, labels, skipped = [], [], []
        for number, row in rows:
            try:
                held.append([_number(row, c, path, number) for c in columns])
            except BadInput:
                if on_bad_row == "error":
                    raise
                skipped.append(number)
                continue
            labels.append(row.get("mixture"))
        if skipped:
            warnings.warn(f"{path}: left out {len(skipped)} bad rows (line {skipped[0]}, ...)", stacklevel=2)
        if not held:
            raise BadInput(f"{path}: there are no runs in it")
        table = np.array(held)
        lower = None if minimise is None else [c in minimise for c in wanted]
        return cls.from_arrays(
            table[:, : len(picked)],
            table[:, len(picked) : len(picked) + len(wanted)],
            groups=[c.removeprefix(WEIGHT) for c in picked],
            scores=wanted,
            progress=table[:, -1] if "progress" in header else None,
            mixture=labels if "mixture" in header else None,
            minimise=lower,
            source=str(path),
        )

    def __post_init__(self) -> None:
        for code in np.unique(self.mixture):
            rows = self.weights[self.mixture == code]
            if np.ptp(rows, axis=0).max() > 1e-6:
                raise BadInput(f"{self.source}: rows with the same mixture label have different weights")

    @property
    def gains(self) -> np.ndarray:
        """(n, k) scores with those to be minimised negated: higher is better in every column."""
        return np.where(self.minimise, -self.values, self.values)

    def take(self, rows: Any) -> Runs:
        """The measurements at ``rows``, in that order."""
        at = np.asarray(rows)
        held = (self.weights[at], self.scores, self.values[at], self.progress[at], self.mixture[at])
        return Runs(self.groups, *held, self.minimise, self.source)


def as_runs(runs: Runs | Any, values: Any = None, groups: Sequence[str] | None = None) -> Runs:
    """Runs as they are, or from arrays as scikit-learn's ``fit(X, y)`` takes them."""
    if isinstance(runs, Runs):
        return runs
    if values is None:
        raise BadInput("fit needs Runs, or mixtures (n, m) together with their scores (n, k)")
    return Runs.from_arrays(runs, values, groups=groups)


def _score_columns(header: list[str], rows: list[tuple[int, Mapping[str, str]]], weights: list[str]) -> list[str]:
    def numeric(column: str) -> bool:
        return any(_is_number(row[column]) for _, row in rows)

    taken = {*weights, *RESERVED}
    return [c for c in header if c not in taken and not c.startswith(WEIGHT) and numeric(c)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(row: Mapping[str, str], column: str, path: Path | str, line: int) -> float:
    text = row[column].strip()
    if not _is_number(text) or not np.isfinite(float(text)):
        shown = "is missing" if not text else f"should be a number, not '{text}'"
        raise BadInput(f"{path} line {line}: '{column}' {shown}; mend it, or leave the row out with --on-bad-row skip")
    return float(text)


def _is_loss(name: str) -> bool:
    head = name.lower().split(":")[0]
    return head in ("loss", "perplexity", "nll") or head.endswith(("_loss", "-loss"))
