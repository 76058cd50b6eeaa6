"""Tutoring logs, their vectors, the mastery model, the predictor, and all of it together."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.select.mastery_model import MasteryModel
from polyculture.select.relation_vectors import RelationVectors
from polyculture.select.strategies import StrategyModel, blend, draw_instances
from polyculture.select.strategy_predictor import StrategyPredictor, predictive_equality, strategy_jaccard
from polyculture.select.tutoring_logs import TutoringLog, make_tutoring_log, mastery_groups

ROWS = [
    {"student": "ann", "problem": "p1", "section": "fractions", "components": ["add", "reduce"], "correct": [1, 0]},
    {"student": "bob", "problem": "p1", "section": "fractions", "components": ["add"], "correct": [1]},
    {"student": "ann", "problem": "p2", "section": "ratios", "components": [], "correct": []},
]
SMALL = MasteryModel(
    layers=1, width=16, heads=2, hidden=32, epochs=14, batch_size=16, warmup=30, factor=0.25, dropout=0.0
)


def test_log_from_rows() -> None:
    log = TutoringLog.from_rows(ROWS)
    assert log.components == ((0, 1), (0,), ()) and log.component_names == ("add", "reduce")
    assert log.students.tolist() == [0, 1, 0] and log.sections.tolist() == [0, 0, 1]
    assert log.mastery().tolist() == [0.5, 1.0]
    assert log.relations()[:3] == [["s:0", "h:0", "p:0", "c:0"], ["s:0", "c:0"], ["p:0", "c:0"]]
    assert log.relations()[6] == ["c:0", "c:1"] and len(log.relations()) == 10
    assert log.take([2, 0]).components == ((), (0, 1)) and len(log.take([])) == 0


def test_bad_logs() -> None:
    with pytest.raises(BadInput, match="interaction 2 has no 'correct'"):
        TutoringLog.from_rows([ROWS[0], {**ROWS[1], "correct": None}])
    with pytest.raises(BadInput, match="interaction 1 has 2 components and 1 flags"):
        TutoringLog.from_rows([{**ROWS[0], "correct": [1]}])
    with pytest.raises(BadInput, match="can't be divided"):
        make_tutoring_log(10, students=3)
    with pytest.raises(BadInput, match="length from 1"):
        make_tutoring_log(10, length=30)


def test_generated_log_is_what_it_says() -> None:
    known = make_tutoring_log(3000, rng=0)
    shares = np.bincount(known.student_group) / 150
    np.testing.assert_allclose(shares, [0.7, 0.15, 0.08, 0.04, 0.03], atol=0.02)
    assert known.strategies.shape == (5, 6, 24) and (known.strategies.sum(axis=2) == 4).all()
    truth = known.truth(known.log)
    seen = np.zeros_like(truth)
    for row, codes in enumerate(known.log.components):
        seen[row, list(codes)] = True
    assert np.mean(seen != truth) == pytest.approx(0.02, abs=0.003)
    mastery = known.log.mastery()
    assert mastery[known.student_group == 0].mean() > mastery[known.student_group == 4].mean() + 0.3
    shared = make_tutoring_log(100, shared=True, flips=0, rng=0)
    assert len(set(shared.log.components)) == 1
    again = make_tutoring_log(3000, rng=0)
    assert again.log.components == known.log.components and again.log.correct == known.log.correct


def test_mastery_groups() -> None:
    assert mastery_groups([0.1, 0.2, 0.8, 0.9, np.nan], 2).tolist() == [0, 0, 1, 1, -1]
    assert mastery_groups([0.5, 0.5], 1).tolist() == [0, 0] and mastery_groups([np.nan]).tolist() == [-1]
    with pytest.raises(BadInput, match="at least one"):
        mastery_groups([0.5], 0)


def test_tokens_seen_together_lie_close() -> None:
    rng = np.random.default_rng(0)
    lists = [[f"{'ab'[i % 2]}{rng.integers(5)}" for _ in range(4)] for i in range(400)]
    held = RelationVectors(size=16, epochs=10, batch_size=64, seed=1).fit(lists)
    X = held.transform([f"a{i}" for i in range(5)] + [f"b{i}" for i in range(5)])
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    alike = X @ X.T
    assert alike[:5, :5].mean() > alike[:5, 5:].mean() + 0.3
    again = RelationVectors(size=16, epochs=10, batch_size=64, seed=1).fit(lists)
    np.testing.assert_array_equal(again.vectors_, held.vectors_)
    assert (held.transform(["unseen"]) == 0).all() and held.transform([]).shape == (0, 16)
    with pytest.raises(BadInput, match="two or more tokens"):
        RelationVectors().fit([["alone"]])
    with pytest.raises(BadInput, match="not been fitted"):
        RelationVectors().transform(["a"])


def test_mastery_model_learns_which_components_are_hard() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.permutation(6)[: rng.integers(1, 5)].tolist() for _ in range(200)]
    flags = [[c < 3 for c in sequence] for sequence in sequences]
    model = SMALL.set_params(seed=0).fit(sequences, flags)
    assert model.losses_[-1] < 0.5 * model.losses_[0]
    right = model.predict_proba([[0, 4], [5], [], [2, 1, 3]])
    assert [len(p) for p in right] == [2, 1, 0, 3]
    assert right[0][0] > 0.8 and right[0][1] < 0.2 and right[1][0] < 0.2
    attention = model.attention([[0, 4, 1], []], [[True, False, True], []])
    assert attention[0].shape == (3, 3) and attention[1].shape == (0, 0)
    assert (attention[0] >= 0).all() and (attention[0].sum(axis=1) <= 1 + 1e-6).all()
    alone = model.attention([[0, 4]], [[True, False]])[0]
    with_longer = model.attention([[0, 4], [1, 2, 3, 0]], [[True, False], [True] * 4])[0]
    np.testing.assert_allclose(alone, with_longer, atol=1e-5)  # padding makes no difference


def test_mastery_model_refuses() -> None:
    with pytest.raises(BadInput, match="flag for each"):
        SMALL.fit([[0, 1]], [[True]])
    with pytest.raises(BadInput, match="no sequences"):
        SMALL.fit([[]], [[]])
    with pytest.raises(BadInput, match="multiple of the heads"):
        MasteryModel(width=10, heads=3).fit([[0]], [[True]])
    with pytest.raises(BadInput, match="not been fitted"):
        MasteryModel().predict_proba([[0]])
    model = MasteryModel(layers=1, width=8, heads=2, hidden=8, epochs=1).fit([[0, 1]], [[True, False]])
    with pytest.raises(BadInput, match="not one of the 2"):
        model.predict_proba([[2]])


def test_predictor_learns_strategies_of_different_lengths() -> None:
    rng = np.random.default_rng(0)
    strategies = [[0, 1, 2], [3], [], [2, 2, 0, 4]]
    kind = rng.integers(4, size=160)
    X = rng.normal(size=(4, 3, 6))[kind] + 0.05 * rng.normal(size=(160, 3, 6))
    model = StrategyPredictor(hidden=24, epochs=25, learning_rate=0.02).fit(X, [strategies[i] for i in kind])
    assert model.predict(X[:20]) == [strategies[i] for i in kind[:20]]
    probabilities = model.predict_proba(X[:5])
    assert probabilities.shape == (5, 4, 6)
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, rtol=1e-5)
    assert model.predict(X[:0]) == []
    assert StrategyPredictor(hidden=4, epochs=1).fit(X[:2], [[], []]).predict(X[:2]) == [[], []]


def test_predictor_refuses() -> None:
    X = np.zeros((2, 3, 4))
    with pytest.raises(BadInput, match="one for each"):
        StrategyPredictor().fit(X, [[1]])
    with pytest.raises(BadInput, match="not one of 2"):
        StrategyPredictor().fit(X, [[1], [2]], n_components=2)
    with pytest.raises(BadInput, match=r"\(n, m, d\)"):
        StrategyPredictor().fit(X[0], [[1]] * 3)
    with pytest.raises(BadInput, match="NaN"):
        StrategyPredictor().fit(np.full((2, 3, 4), np.nan), [[1], [1]])
    with pytest.raises(BadInput, match="not been fitted"):
        StrategyPredictor().predict(X)


def test_jaccard_and_equality() -> None:
    assert strategy_jaccard([], []) == 1 and strategy_jaccard([], [1]) == 0 == strategy_jaccard([1], [])
    found = predictive_equality([1.0, 0.5, 0.0, 0.5], ["a", "a", "b", "b"])
    assert (found.mean, found.gap, found.worst, found.spread) == (0.5, 0.5, 0.25, 0.25)
    assert found.by_group == {"a": 0.75, "b": 0.25}
    with pytest.raises(BadInput, match="one length"):
        predictive_equality([], [])
    with pytest.raises(BadInput, match="NaN"):
        predictive_equality([np.nan], ["a"])


def test_draw_and_blend() -> None:
    log = make_tutoring_log(2000, rng=0).log
    students, problems = np.arange(150) % 3, np.zeros(80, dtype=int)
    rows = draw_instances(log, students, problems, per_student_cluster=2, per_problem_cluster=10, rng=0)
    assert len(set(log.students[rows].tolist())) <= 6 and len(set(log.problems[rows].tolist())) <= 10
    everything = draw_instances(log, students, problems, per_student_cluster=150, per_problem_cluster=80)
    assert everything.tolist() == list(range(2000))
    with pytest.raises(BadInput, match="at least one"):
        draw_instances(log, students, problems, per_student_cluster=0)
    np.testing.assert_allclose(blend([[1.0], [1.0]], [[0.0], [0.0]], [0.25, 1.0]), [[0.25], [1.0]])


@pytest.mark.parametrize("keep", [1.0, 0.75])
def test_all_together(keep: float) -> None:
    known = make_tutoring_log(600, students=40, problems=20, group_shares=(0.8, 0.2), family_shares=(0.7, 0.3), rng=0)
    model = StrategyModel(
        RelationVectors(size=24, epochs=10, batch_size=512),
        MasteryModel(layers=1, width=16, heads=2, hidden=16, epochs=1, batch_size=32, warmup=10),
        StrategyPredictor(hidden=32, epochs=30, learning_rate=0.02, dropout=0.1),
        budget=100,
        keep=keep,
    ).fit(known.log.take(np.arange(400)))
    test = known.log.take(np.arange(400, 600))
    assert model.accuracy(test).mean() > 0.6
    rare = np.mean(known.student_group[known.log.students[model.rows_]] == 1)
    assert rare > 0.25  # of a group of one fifth
    assert len(model.predict(test)) == 200 and model.predict_proba(test).shape[0] == 200
    stranger = make_tutoring_log(10, students=500, rng=0).log
    with pytest.raises(BadInput, match="student code outside the 40"):
        model.predict(stranger)


def test_strategy_model_refuses() -> None:
    log = TutoringLog.from_rows(ROWS)
    with pytest.raises(BadInput, match="not been fitted"):
        StrategyModel().predict(log)
    with pytest.raises(BadInput, match="no interactions with knowledge"):
        StrategyModel().fit(log.take([2]))
    with pytest.raises(BadInput, match="keep"):
        StrategyModel(keep=0).fit(log)
