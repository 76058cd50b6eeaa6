"""Strategies: from a tutoring log to a predictor trained on a small even draw of it.

Scalable and Equitable Math Problem Solving Strategy Prediction in Big Educational Data (MVec, 2023, arXiv 2308.03892).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from polyculture.errors import BadInput
from polyculture.progress import Progress, silent
from polyculture.select.mastery_model import MasteryModel
from polyculture.select.mvec import Cells, coarse_to_fine
from polyculture.select.relation_vectors import RelationVectors
from polyculture.select.strategy_predictor import StrategyPredictor, strategy_jaccard
from polyculture.select.strategy_symmetry import alignment_similarity, attention_similarity, most_attended
from polyculture.select.tutoring_logs import TutoringLog


def draw_instances(
    log: TutoringLog,
    student_labels: Any,
    problem_labels: Any,
    *,
    per_student_cluster: int = 50,
    per_problem_cluster: int = 100,
    rng: np.random.Generator | int | None = None,
) -> np.ndarray:
    """The interactions between some students of each cluster and some problems of each cluster.

    Args:
        log: what to draw from.
        student_labels: (students,) the cluster of each student code.
        problem_labels: (problems,) the cluster of each problem code.
        per_student_cluster: students drawn of a cluster, at most.
        per_problem_cluster: problems drawn of a cluster, at most.
        rng: a Generator, or a seed for one; None draws a fresh seed.

    Returns:
        int64 rows of the log, ascending.

    Raises:
        BadInput: fewer than one would be drawn of a cluster.
    """
    if per_student_cluster < 1 or per_problem_cluster < 1:
        raise BadInput("at least one student and one problem should be drawn of each cluster")
    generator = np.random.default_rng(rng)

    def some(labels: Any, most: int) -> np.ndarray:
        held = np.asarray(labels)
        picked = np.zeros(len(held), dtype=bool)
        for label in np.unique(held):
            members = np.flatnonzero(held == label)
            picked[generator.choice(members, min(most, len(members)), replace=False)] = True
        return picked

    students, problems = some(student_labels, per_student_cluster), some(problem_labels, per_problem_cluster)
    return np.flatnonzero(students[log.students] & problems[log.problems]).astype(np.int64)


def blend(old: Any, new: Any, alike: Any) -> np.ndarray:
    """Vectors before and after pruning, by how alike attention was: alike * old + (1 - alike) * new.

    Args:
        old: (m, d) vectors.
        new: (m, d) vectors learnt from pruned strategies.
        alike: (m,) mean attention similarity of the cells of each entity's cluster.
    """
    share = np.asarray(alike, dtype=np.float64)[:, None]
    return share * np.asarray(old) + (1 - share) * np.asarray(new)


@dataclass(eq=False)
class StrategyModel(BaseEstimator):
    """Predicts the knowledge components a student will use on a problem, equally well for weak and strong students.

    ``fit`` learns vectors of relations and a mastery model, clusters students and problems coarse to fine while the
    strategies inside cells get more alike, draws interactions from all clusters, and trains the predictor on those.
    After it there are ``cells_``, ``rows_`` (what was drawn), ``vectors_``, ``mastery_`` and ``predictor_``. Source:
    arXiv 2308.03892.

    Args:
        vectors: how relations become vectors; None is the paper's (300 wide, window 8).
        mastery: the mastery model; None is the paper's, which is large for a CPU.
        predictor: the predictor; None is the paper's.
        per_student_cluster: students drawn of a cluster, at most.
        per_problem_cluster: problems drawn of a cluster, at most.
        budget: instead of those, draw so many interactions in turn from all cells; None draws as above.
        shrink: factor from one radius of the clusters to the next.
        finest: smallest radius, as a share of the first.
        keep: share of each strategy's components kept when pruning; 1 prunes nothing.
        mastery_rows: interactions that the mastery model learns from, at most.
        seed: of the draws.
    """

    vectors: RelationVectors | None = None
    mastery: MasteryModel | None = None
    predictor: StrategyPredictor | None = None
    per_student_cluster: int = 50
    per_problem_cluster: int = 100
    budget: int | None = None
    shrink: float = 0.85
    finest: float = 0.3
    keep: float = 1.0
    mastery_rows: int = 20_000
    seed: int = 0

    def fit(self, log: TutoringLog, *, progress: Progress = silent) -> StrategyModel:
        """Learn from a log.

        Raises:
            BadInput: the log has no interactions with components, or a hyper-parameter is out of range.
        """
        from sklearn.base import clone

        if not 0 < self.keep <= 1:
            raise BadInput(f"keep is a share of the components and should be in (0, 1], not {self.keep}")
        rng = np.random.default_rng(self.seed)
        rows = np.flatnonzero([len(codes) > 0 for codes in log.components])
        if not len(rows):
            raise BadInput("the log has no interactions with knowledge components to learn from")
        some = rng.choice(rows, min(self.mastery_rows, len(rows)), replace=False)
        n_components = len(log.component_names)
        self.vectors_ = clone(self.vectors or RelationVectors()).fit(log.relations(), progress=progress)
        self.mastery_ = clone(self.mastery or MasteryModel()).fit(
            [log.components[i] for i in some],
            [log.correct[i] for i in some],
            n_components=n_components,
            progress=progress,
        )
        attention = self.mastery_.attention(log.components, log.correct)
        self._take_vectors(log)
        self.cells_ = self._divide(log, attention, rng)
        if self.keep < 1:
            self._prune(log, attention, progress)
            self.cells_ = self._divide(log, attention, rng)
        self.rows_ = self._draw(log, rng)
        taught = log.take(self.rows_)
        self.predictor_ = clone(self.predictor or StrategyPredictor()).fit(
            self.inputs(taught), taught.components, n_components=n_components, progress=progress
        )
        return self

    def predict(self, log: TutoringLog) -> list[list[int]]:
        """The components that each interaction's student will use, by student, section and problem alone.

        Raises:
            BadInput: it has not been fitted, or a code is not one of the log it was fitted to.
        """
        self._check_fitted()
        return self.predictor_.predict(self.inputs(log))

    def predict_proba(self, log: TutoringLog) -> np.ndarray:
        """Probabilities of each step's component, (n, steps, components + 1); the last ends the strategy."""
        self._check_fitted()
        return self.predictor_.predict_proba(self.inputs(log))

    def accuracy(self, log: TutoringLog) -> np.ndarray:
        """Jaccard index of the predicted and the used components of each interaction, (n,)."""
        pairs = zip(self.predict(log), log.components, strict=True)
        return np.array([strategy_jaccard(predicted, actual) for predicted, actual in pairs])

    def _take_vectors(self, log: TutoringLog) -> None:
        self.students_ = self.vectors_.transform([f"s:{i}" for i in range(len(log.student_names))])
        self.sections_ = self.vectors_.transform([f"h:{i}" for i in range(len(log.section_names))])
        self.problems_ = self.vectors_.transform([f"p:{i}" for i in range(len(log.problem_names))])
        self.components_ = self.vectors_.transform([f"c:{i}" for i in range(len(log.component_names))])

    def _divide(self, log: TutoringLog, attention: Sequence[np.ndarray], rng: np.random.Generator) -> Cells:
        """Clusters of students and problems, coarse to fine, by alignment and attention of the strategies in cells."""
        weights = [held.mean(axis=0) if len(held) else np.zeros(0) for held in attention]
        embedded = [self.components_[list(codes)] for codes in log.components]

        def aligned(one: np.ndarray, other: np.ndarray) -> np.ndarray:
            return np.array([alignment_similarity(embedded[i], embedded[j]) for i, j in zip(one, other, strict=True)])

        def attended(one: np.ndarray, other: np.ndarray) -> np.ndarray:
            return np.array([attention_similarity(weights[i], weights[j]) for i, j in zip(one, other, strict=True)])

        found = coarse_to_fine(
            (self.students_, self.problems_),
            (log.students, log.problems),
            (aligned, attended),
            shrink=self.shrink,
            finest=self.finest,
            most_cells=self.budget or len(log),
            rng=rng,
        )
        self._alike = self._alike_by_cell(found, attended)
        return found

    def _alike_by_cell(self, cells: Cells, attended: Any) -> np.ndarray:
        """Mean attention similarity inside each cell; 0 for a cell of one."""
        return np.array([attended(c[:-1], c[1:]).mean() if len(c) > 1 else 0.0 for c in cells.members])

    def _prune(self, log: TutoringLog, attention: Sequence[np.ndarray], progress: Progress) -> None:
        """Vectors from strategies without their least attended components, blended into the old ones."""
        from sklearn.base import clone

        kept = [most_attended(held, self.keep).tolist() for held in attention]
        pruned = replace(
            log,
            components=tuple(tuple(codes[i] for i in at) for codes, at in zip(log.components, kept, strict=True)),
            correct=tuple(tuple(flags[i] for i in at) for flags, at in zip(log.correct, kept, strict=True)),
        )
        old = {side: getattr(self, side) for side in ("students_", "problems_")}
        self.vectors_ = clone(self.vectors or RelationVectors()).set_params(window=4)
        self.vectors_.fit(pruned.relations(), progress=progress)
        self._take_vectors(log)
        for side, labels, codes in zip(old, self.cells_.labels, (log.students, log.problems), strict=True):
            of_cluster = np.zeros(int(labels.max()) + 1)
            cells = np.zeros(len(of_cluster))
            for members, alike in zip(self.cells_.members, self._alike, strict=True):
                cluster = labels[codes[members[0]]]
                of_cluster[cluster] += alike
                cells[cluster] += 1
            share = of_cluster / np.maximum(cells, 1)
            setattr(self, side, blend(old[side], getattr(self, side), share[labels]).astype(np.float32))

    def _draw(self, log: TutoringLog, rng: np.random.Generator) -> np.ndarray:
        if self.budget is not None:
            if self.budget < 1:
                raise BadInput(f"the budget should be at least one interaction, not {self.budget}")
            return self.cells_.in_turn(min(self.budget, len(log)), rng)
        return draw_instances(
            log,
            *self.cells_.labels,
            per_student_cluster=self.per_student_cluster,
            per_problem_cluster=self.per_problem_cluster,
            rng=rng,
        )

    def inputs(self, log: TutoringLog) -> np.ndarray:
        """The vectors of student, section and problem of each interaction, (n, 3, size): what the predictor reads.

        Raises:
            BadInput: a code is not one of the log that the model was fitted to.
        """
        for what, codes, table in (
            ("student", log.students, self.students_),
            ("section", log.sections, self.sections_),
            ("problem", log.problems, self.problems_),
        ):
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(table):
                raise BadInput(f"the log has a {what} code outside the {len(table)} that the model was fitted to")
        return np.stack(
            [self.students_[log.students], self.sections_[log.sections], self.problems_[log.problems]], axis=1
        )

    def _check_fitted(self) -> None:
        if not hasattr(self, "predictor_"):
            raise BadInput("this strategy model has not been fitted yet; call fit first")
