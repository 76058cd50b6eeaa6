"""Tutoring logs: which knowledge components a student used on a problem, and which of them right at once.

The form of the logs in Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from polyculture.errors import BadInput

SPREAD = (0.70, 0.15, 0.08, 0.04, 0.03)  # of the mastery groups
FAMILIES = (0.50, 0.25, 0.12, 0.06, 0.04, 0.03)  # of the problems


@dataclass(frozen=True)
class TutoringLog:
    """n interactions of a student with a problem.

    Args:
        students: (n,) int64 codes.
        problems: (n,) int64 codes.
        sections: (n,) int64 codes of where in the curriculum the problem lies.
        components: the knowledge components of each interaction, in order, as codes.
        correct: for each of them, whether the first attempt was right.
        component_names: the name of each component code.
        student_names: the name of each student code.
        problem_names: the name of each problem code.
        section_names: the name of each section code.
    """

    students: np.ndarray
    problems: np.ndarray
    sections: np.ndarray
    components: tuple[tuple[int, ...], ...]
    correct: tuple[tuple[bool, ...], ...]
    component_names: tuple[str, ...]
    student_names: tuple[str, ...]
    problem_names: tuple[str, ...]
    section_names: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.students), len(self.problems), len(self.sections), len(self.components), len(self.correct)}
        if len(lengths) != 1:
            raise BadInput(f"the columns of a tutoring log should have one length, not {sorted(lengths)}")
        for row, (codes, flags) in enumerate(zip(self.components, self.correct, strict=True)):
            if len(codes) != len(flags):
                raise BadInput(f"interaction {row + 1} has {len(codes)} components and {len(flags)} flags")

    def __len__(self) -> int:
        return len(self.students)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> TutoringLog:
        """A log from records with ``student``, ``problem``, ``section``, ``components`` and ``correct``.

        Args:
            rows: one interaction each; ``components`` and ``correct`` are lists of one length.

        Raises:
            BadInput: a record lacks a field, or its lists differ in length.
        """
        held = list(rows)
        for number, row in enumerate(held, start=1):
            for field in ("student", "problem", "section", "components", "correct"):
                if row.get(field) is None:
                    raise BadInput(f"interaction {number} has no '{field}'; its fields are {', '.join(map(str, row))}")
        books: dict[str, dict[str, int]] = {name: {} for name in ("student", "problem", "section", "component")}

        def code(book: str, name: Any) -> int:
            return books[book].setdefault(str(name), len(books[book]))

        def column(book: str) -> np.ndarray:
            return np.array([code(book, row[book]) for row in held], dtype=np.int64)

        students, problems, sections = column("student"), column("problem"), column("section")
        components = tuple(tuple(code("component", name) for name in row["components"]) for row in held)
        correct = tuple(tuple(bool(flag) for flag in row["correct"]) for row in held)
        names = {book: tuple(codes) for book, codes in books.items()}
        return cls(
            students,
            problems,
            sections,
            components,
            correct,
            names["component"],
            names["student"],
            names["problem"],
            names["section"],
        )

    def take(self, rows: Any) -> TutoringLog:
        """The interactions at ``rows``, in that order; names and codes stay."""
        at = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            students=self.students[at],
            problems=self.problems[at],
            sections=self.sections[at],
            components=tuple(self.components[i] for i in at),
            correct=tuple(self.correct[i] for i in at),
        )

    def relations(self) -> list[list[str]]:
        """The corpus of relations: what should lie close, as short lists of tokens.

        For each interaction with components c_1..c_L: [student, section, problem, c_i], [student, c_i] and
        [problem, c_i] for each i, and the whole sequence. Tokens are ``s:``, ``h:``, ``p:`` and ``c:`` with the code.
        """
        found: list[list[str]] = []
        for s, h, p, codes in zip(self.students, self.sections, self.problems, self.components, strict=True):
            tokens = [f"c:{c}" for c in codes]
            for token in tokens:
                found += [[f"s:{s}", f"h:{h}", f"p:{p}", token], [f"s:{s}", token], [f"p:{p}", token]]
            if len(tokens) > 1:
                found.append(tokens)
        return found

    def mastery(self) -> np.ndarray:
        """Share of each student's components that were right at first, (students,); NaN for one without any."""
        right, seen = np.zeros(len(self.student_names)), np.zeros(len(self.student_names))
        for student, flags in zip(self.students, self.correct, strict=True):
            right[student] += sum(flags)
            seen[student] += len(flags)
        with np.errstate(invalid="ignore"):
            return right / seen


def mastery_groups(mastery: Any, n_groups: int = 5) -> np.ndarray:
    """Students by quantiles of their mastery: int64 codes from 0, the weakest; -1 for a student whose mastery is NaN.

    Raises:
        BadInput: fewer than one group is asked for.
    """
    if n_groups < 1:
        raise BadInput(f"there should be at least one mastery group, not {n_groups}")
    held = np.asarray(mastery, dtype=np.float64)
    known = np.isfinite(held)
    groups = np.full(len(held), -1, dtype=np.int64)
    if known.any():
        edges = np.quantile(held[known], np.linspace(0, 1, n_groups + 1)[1:-1])
        groups[known] = np.searchsorted(edges, held[known], side="right")
    return groups


@dataclass(frozen=True)
class KnownStrategies:
    """A generated log whose strategies are known.

    Args:
        log: what was observed.
        student_group: (students,) hidden mastery group of each student.
        problem_family: (problems,) hidden family of each problem.
        strategies: (groups, families, components) bool, the components that belong to the strategy of each pair.
    """

    log: TutoringLog
    student_group: np.ndarray
    problem_family: np.ndarray
    strategies: np.ndarray

    def truth(self, log: TutoringLog) -> np.ndarray:
        """The components of the strategy behind each interaction, (n, components) bool."""
        return self.strategies[self.student_group[log.students], self.problem_family[log.problems]]


def make_tutoring_log(
    n: int = 6000,
    *,
    students: int = 150,
    problems: int = 80,
    components: int = 24,
    length: int = 4,
    group_shares: Sequence[float] = SPREAD,
    family_shares: Sequence[float] = FAMILIES,
    flips: float = 0.02,
    shared: bool = False,
    rng: np.random.Generator | int | None = None,
) -> KnownStrategies:
    """A log of students of unequal groups on problems of unequal families, each pair of which has its own strategy.

    Groups also differ in how often they are right at first, from 0.9 down to 0.4.

    Args:
        n: interactions; student and problem of each are drawn evenly.
        students: number of students.
        problems: number of problems.
        components: number of knowledge components.
        length: components of a strategy.
        group_shares: share of the students in each group; every group has at least one.
        family_shares: share of the problems in each family; every family has at least one.
        flips: probability with which each component is observed although unused, or the reverse.
        shared: whether all groups and families have one strategy.
        rng: a Generator, or a seed for one; None draws a fresh seed.

    Raises:
        BadInput: there are more groups than students, families than problems, or a strategy is longer than there are
            components.
    """
    generator = np.random.default_rng(rng)
    if not 0 < length <= components or n < 1 or not 0 <= flips < 1:
        raise BadInput("a log needs n of 1 or more, a length from 1 to the number of components, and flips in [0, 1)")
    group, family = _divide(students, group_shares, "students"), _divide(problems, family_shares, "problems")
    pairs = len(group_shares) * len(family_shares)
    orders = np.array([generator.permutation(components)[:length] for _ in range(1 if shared else pairs)])
    orders = np.broadcast_to(orders, (pairs, length)).reshape(len(group_shares), len(family_shares), length)
    strategies = np.zeros((*orders.shape[:2], components), dtype=bool)
    np.put_along_axis(strategies, orders, True, axis=2)
    skill = np.linspace(0.9, 0.4, len(group_shares)) if len(group_shares) > 1 else np.array([0.7])
    of_student, of_problem = generator.integers(students, size=n), generator.integers(problems, size=n)
    flipped = generator.random((n, components)) < flips
    sequences, flags = [], []
    for s, p, flip in zip(of_student, of_problem, flipped, strict=True):
        order = orders[group[s], family[p]].tolist()
        seen = [c for c in order if not flip[c]]
        seen += [int(c) for c in np.flatnonzero(flip) if c not in order]  # what was not part of the strategy comes last
        sequences.append(tuple(seen))
        flags.append(tuple((generator.random(len(seen)) < skill[group[s]]).tolist()))
    log = TutoringLog(
        of_student,
        of_problem,
        family[of_problem],
        tuple(sequences),
        tuple(flags),
        tuple(f"component {i}" for i in range(components)),
        tuple(f"student {i}" for i in range(students)),
        tuple(f"problem {i}" for i in range(problems)),
        tuple(f"section {i}" for i in range(len(family_shares))),
    )
    return KnownStrategies(log, group, family, strategies)


def _divide(n: int, shares: Sequence[float], what: str) -> np.ndarray:
    """The part of each of n, (n,) int64, by shares; every part has at least one."""
    weights = np.asarray(shares, dtype=np.float64)
    if not len(weights) or (weights <= 0).any() or n < len(weights):
        raise BadInput(f"{n} {what} can't be divided into {len(weights)} parts of at least one each by positive shares")
    sizes = np.maximum(1, np.floor(weights / weights.sum() * n).astype(int))
    sizes[int(sizes.argmax())] += n - sizes.sum()
    return np.repeat(np.arange(len(weights)), sizes)
