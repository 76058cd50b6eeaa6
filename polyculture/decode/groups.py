"""Candidates grouped by their answer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polyculture.errors import BadInput


@dataclass(frozen=True)
class Group:
    """The candidates that give one answer.

    Args:
        key: the answer.
        members: positions of its candidates, ascending.
        count: how many they are.
        freq: their share of all candidates, unparsable ones included.
        mean_score: mean of their scores; None without scores.
        representative: position of the best scored one (the first of equals; the first of all without scores).
    """

    key: Any
    members: tuple[int, ...]
    count: int
    freq: float
    mean_score: float | None
    representative: int


def group_answers(
    keys: Sequence[Any],
    scores: Sequence[float | None] | None = None,
    *,
    equal: Callable[[Any, Any], bool] | None = None,
) -> list[Group]:
    """Group equal answers in order of first appearance.

    Args:
        keys: (N,) answer keys; None and "" are answers that could not be read: they belong to no group but count in N.
        scores: (N,) scores, higher is better. A candidate whose score is NaN is set aside with a warning: it is in no
            group and does not count in N.
        equal: when two keys are the same answer, default equality. A key is compared with the first member of each
            group, so this should be an equivalence; normalise to a key first where it is not.

    Returns:
        The groups; an empty list if no answer could be read.

    Raises:
        BadInput: there are no candidates, or not one score each.

    >>> [(g.key, g.count, g.mean_score) for g in group_answers(["7", "8", "7", None], [1.0, 5.0, 2.0, 9.0])]
    [('7', 2, 1.5), ('8', 1, 5.0)]
    """
    if len(keys) == 0:
        raise BadInput("there are no candidates to group; give at least one")
    if scores is not None and len(scores) != len(keys):
        raise BadInput(f"{len(keys)} answers but {len(scores)} scores; give one score an answer")
    held = None if scores is None or any(s is None for s in scores) else [float(s) for s in scores if s is not None]
    aside = set() if held is None else {i for i, s in enumerate(held) if math.isnan(s)}
    if aside:
        warnings.warn(f"{len(aside)} of {len(keys)} candidates have a NaN score and are set aside", stacklevel=2)
    found: list[tuple[Any, list[int]]] = []
    place: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        if i in aside or key is None or key == "":
            continue
        members = place.get(key) if equal is None else next((m for first, m in found if equal(key, first)), None)
        if members is None:
            members = []
            found.append((key, members))
            place[key] = members
        members.append(i)
    n = len(keys) - len(aside)
    groups = []
    for key, members in found:
        mean, best = None, members[0]
        if held is not None:
            own = np.array([held[i] for i in members])
            with np.errstate(invalid="ignore"):
                mean = float(np.mean(own))
            mean = -math.inf if math.isnan(mean) else mean  # infinities of both signs: no reason to trust it
            best = members[int(np.argmax(own))]
        groups.append(Group(key, tuple(members), len(members), len(members) / n, mean, best))
    return groups


def by_count(groups: Sequence[Group]) -> list[Group]:
    """Most frequent first, ties in order of first appearance."""
    return sorted(groups, key=lambda g: -g.count)


def by_score(groups: Sequence[Group]) -> list[Group]:
    """Highest mean score first, ties in order of first appearance.

    Raises:
        BadInput: the groups have no scores.
    """
    if any(g.mean_score is None for g in groups):
        raise BadInput("the candidates have no scores; give a score to rank answers by")
    return sorted(groups, key=lambda g: -(g.mean_score or 0.0))
