"""DaMo and its siblings: what they learn, what they refuse, how they validate, carry over and rest in a file."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.base import Mixer, decode, encode, load
from polyculture.mix.damo import DaMo, apply_network, fit_network
from polyculture.mix.linear import LinearMixer
from polyculture.mix.mixing_laws import MixingLaws, fit_law
from polyculture.mix.regmix import RegMix
from polyculture.mix.regression import affine_calibration, mixture_folds, r_squared, rank_mixtures
from polyculture.mix.runs import Runs
from polyculture.mix.simple import BestRun, Proportional, RandomMixture, Uniform
from polyculture.pool import Pool


def damo(**more: Any) -> DaMo:
    return DaMo(**{"max_iter": 300, "folds": 3, "batch": 8} | more)


def surface(P: np.ndarray) -> np.ndarray:
    """Best at (1/2, 1/2, 0) for the first score, at (1, 0, 0) for the second, both out of 10."""
    return np.column_stack([10 - 20 * ((P - [0.5, 0.5, 0]) ** 2).sum(axis=1), 10 * P[:, 0]])


def runs(n: int = 40, m: int = 3, seed: int = 0) -> Runs:
    P = np.random.default_rng(seed).dirichlet(np.ones(m), n)
    return Runs.from_arrays(P, surface(P))


def test_damo_finds_the_best_mixture_and_knows_how_well() -> None:
    mixer = damo(task_weights=(1.0, 0.0)).fit(runs())
    assert np.abs(mixer.weights_ - [0.5, 0.5, 0]).max() <= 0.126
    assert mixer.r2_overall_ > 0.8 and mixer.spearman_ > 0.8
    assert mixer.expected_ == pytest.approx(10, abs=1)
    best = mixer.propose(5)
    assert len(best) == 5 and len(np.unique(best.weights, axis=0)) == 5
    np.testing.assert_allclose(best.predicted, mixer.predict(best.weights))
    assert damo(task_weights=(0.0, 1.0)).fit(runs()).weights_.tolist() == [1, 0, 0]


def test_losses_are_minimised() -> None:
    held = runs()
    losses = Runs.from_arrays(held.weights, -held.values, scores=["loss:a", "loss:b"])
    a, b = LinearMixer(folds=0).fit(held), LinearMixer(folds=0).fit(losses)
    np.testing.assert_array_equal(a.weights_, b.weights_)
    assert b.expected_ == pytest.approx(a.expected_)
    assert b.propose(1).predicted[0] == pytest.approx(-a.propose(1).predicted[0])


def test_checkpoints_teach_and_the_best_can_be_searched() -> None:
    P = np.repeat(np.random.default_rng(0).dirichlet(np.ones(2), 30), 4, axis=0)
    t = np.tile([0.25, 0.5, 0.75, 1.0], 30)
    score = -((P[:, 0] * t - 0.5) ** 2) - (P[:, 1] * t - 0.25) ** 2  # best: (2/3, 1/3) stopped at 3/4
    held = Runs.from_arrays(P, score, progress=t)
    mixer = damo(search_steps=True, folds=0, batch=6, max_iter=600).fit(held)
    assert mixer.best_progress_ == 0.75 and mixer.weights_ == pytest.approx([2 / 3, 1 / 3])
    assert mixer.propose(2).rows()[0]["progress"] == 0.75
    assert damo(folds=0).fit(held).best_progress_ == 1


def test_validation_keeps_a_mixture_on_one_side() -> None:
    mixture = np.repeat(np.arange(7), 3)
    seen = []
    for train, test in mixture_folds(mixture, 3, 0):
        assert not set(mixture[train]) & set(mixture[test])
        seen += test.tolist()
    assert sorted(seen) == list(range(21))
    noise = np.random.default_rng(1)
    P = np.repeat(noise.dirichlet(np.ones(4), 15), 4, axis=0)
    scores = np.repeat(noise.normal(size=15), 4)  # nothing to learn but which mixture it is
    mixer = damo(folds=5).fit(Runs.from_arrays(P, scores))
    assert mixer.r2_ < 0.2


def test_fewer_runs_than_groups_is_said() -> None:
    with pytest.warns(UserWarning, match="3 different mixtures for 4 groups: fewer runs than"):
        LinearMixer(folds=0, batch=4).fit(np.eye(4)[:, [0, 1, 2, 3]][:3] * 0.5 + 0.125, [1, 2, 3])


def test_a_group_without_a_share_gets_none() -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(2), 12)
    held = Runs.from_arrays(np.column_stack([P[:, 0], np.zeros(12), P[:, 1]]), P[:, 0], groups=["a", "never", "b"])
    for mixer in (LinearMixer(folds=0), damo(folds=0), RegMix(folds=0, trees=20, n_candidates=500)):
        with pytest.warns(UserWarning, match="never had no share in any run"):
            mixer.fit(held)
        assert mixer.weights_[1] == 0 and mixer.propose(3).weights[:, 1].max() == 0


def test_refusals() -> None:
    P = runs(6).weights
    with pytest.raises(BadInput, match="every run has the same mixture"):
        damo().fit(np.tile(P[:1], (5, 1)), [1, 2, 3, 4, 5])
    with pytest.raises(BadInput, match="no score changes from run to run"):
        damo().fit(P, np.ones(6))
    with pytest.raises(BadInput, match="NaN or infinite in row 2"):
        damo().fit(P, [1, np.nan, 1, 2, 3, 4])
    with pytest.raises(BadInput, match="negative"):
        damo().fit(-P, np.arange(6))
    with pytest.raises(BadInput, match="task_weights should be 1 numbers"):
        damo(task_weights=(1.0, 2.0)).fit(P, np.arange(6))
    with pytest.raises(BadInput, match="together with their scores"):
        damo().fit(P)
    with pytest.warns(UserWarning, match="score1 is the same in every run"):
        LinearMixer(folds=0).fit(P, np.column_stack([np.arange(6), np.ones(6)]))


def test_threshold() -> None:
    mixer = LinearMixer(folds=0, threshold=7.0).fit(runs())
    assert (mixer.propose(500).overall > 7).all()
    with pytest.raises(BadInput, match="no mixture is expected above 99"):
        LinearMixer(folds=0, threshold=99).fit(runs()).propose(3)


def test_a_grid_too_large_to_list_is_sampled_and_climbed() -> None:
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(12), 60)
    mixer = MixingLaws(folds=0, batch=16, n_candidates=500, starts=1)
    mixer.fit(P, 5 * P @ np.arange(12.0))
    assert mixer.weights_.tolist() == [0.0] * 11 + [1.0]


def test_mixing_laws_recover_their_own_law() -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    t = np.array([0.5, -1.0, 0.2])
    law = fit_law(P, 2 + np.exp(P @ t))
    assert law[0] == pytest.approx(2, abs=1e-3) and law[2:] == pytest.approx(t, abs=1e-3)
    fallen = fit_law(P, 2 - np.exp(P @ t))
    assert fallen[1] == -1 and fallen[0] == pytest.approx(2, abs=1e-3)
    mixer = MixingLaws(batch=4, folds=3).fit(Runs.from_arrays(P, 2 + np.exp(P @ t), scores=["loss"]))
    assert mixer.weights_.tolist() == [0, 1, 0] and mixer.r2_ > 0.999


def test_regmix_averages_its_best() -> None:
    mixer = RegMix(trees=200, learning_rate=0.05, n_candidates=4000, folds=3, task_weights=(1.0, 0.0)).fit(runs(150))
    assert mixer.weights_ == pytest.approx([0.5, 0.5, 0], abs=0.15) and mixer.spearman_ > 0.7
    stopped = RegMix(n_candidates=500, folds=0).fit(runs(150))
    assert "tree" in stopped.model_["trees"][0]


def test_calibration_to_another_model() -> None:
    base = damo(folds=0).fit(runs())
    few = runs(20, seed=3)
    other = Runs.from_arrays(few.weights, few.values @ [[0.5, 0], [1, 2]] + [3, -1])
    mixer = damo(folds=0).fit(runs()).calibrate(other)
    assert np.abs(mixer.predict(few.weights) - other.values).mean() < 0.5
    np.testing.assert_allclose(base.predict(few.weights), damo(folds=0).fit(runs()).predict(few.weights))
    shifted = damo(folds=0).fit(runs()).calibrate(few.weights[:2], few.values[:2] + 7)
    np.testing.assert_allclose(shifted.calibration_["W"], np.eye(2))
    assert shifted.calibration_["bias"] == pytest.approx([7, 7], abs=1)
    with pytest.raises(BadInput, match="calibration runs have groups"):
        base.calibrate(Runs.from_arrays(few.weights, few.values, groups=["x", "y", "z"]))
    with pytest.raises(BadInput, match="2 runs can't map 2 scores to others"):
        base.calibrate(Runs.from_arrays(few.weights[:2], few.values[:2], scores=["p", "q"]))


def test_calibration_without_rank_is_of_minimum_norm() -> None:
    f = np.column_stack([np.arange(5.0), 2 * np.arange(5.0)])
    found = affine_calibration(f, (10 * np.arange(5.0) + 1)[:, None])
    np.testing.assert_allclose(found.fitted.ravel(), 10 * np.arange(5.0) + 1)
    np.testing.assert_allclose(found.W.ravel(), [2, 4])  # along (1, 2), the direction that f spans
    rng = np.random.default_rng(1)
    f, g = rng.normal(size=(3, 3)) * 10 + 50, rng.normal(size=(3, 2))  # centred, f has rank 2 but for rounding
    expected = np.linalg.pinv(f - f.mean(axis=0), rcond=1e-9) @ (g - g.mean(axis=0))
    np.testing.assert_allclose(affine_calibration(f, g).W, expected, atol=1e-9)
    with pytest.raises(BadInput, match="calibration needs"):
        affine_calibration(f, f[:2])


def test_ranking_and_r_squared() -> None:
    scores = [[1, 3], [4, 0], [2, 2], [5, 5]]
    order, means = rank_mixtures(scores, top=3)
    assert order.tolist() == [3, 0, 1] and means.tolist() == [5, 2, 2]
    assert rank_mixtures(scores, threshold=2)[0].tolist() == [3]
    assert rank_mixtures(scores, threshold=5)[0].tolist() == [] == rank_mixtures([])[0].tolist()
    assert rank_mixtures(scores, task_weights=[1, 0], top=2)[0].tolist() == [3, 1]
    y = np.array([[1.0, 5], [2, 5], [3, 5]])
    assert r_squared(y, y) == 1 and r_squared(y, np.tile(y.mean(axis=0), (3, 1))) == 0
    assert np.isnan(r_squared(np.ones((3, 1)), np.ones((3, 1))))
    flat, guess = np.array([[1.0, 0.0, 5.0], [1.0, 1.0, 5.0]]), np.array([[1.0, 0.0, 5.0], [1.0, 0.5, 6.0]])
    assert r_squared(flat, guess) == 0.5 and r_squared(flat, guess, constant="count") == (1 + 0.5 + 0) / 3


def test_the_network_is_scikit_learns() -> None:
    from sklearn.neural_network import MLPRegressor

    X, Y = runs().weights, runs().values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = MLPRegressor(hidden_layer_sizes=(7,), random_state=1, max_iter=50, tol=1e-6).fit(X, Y)
    ours = fit_network(X, Y, hidden=(7,), max_iter=50, standardise=False)
    np.testing.assert_allclose(apply_network(ours, X), peer.predict(X))


def test_files_of_mixers(tmp_path: Path) -> None:
    mixer = damo(folds=0).fit(runs())
    mixer.save(tmp_path / "m.json")
    assert isinstance(DaMo.load(tmp_path / "m.json"), DaMo)
    np.testing.assert_array_equal(load(tmp_path / "m.json").predict(runs().weights), mixer.predict(runs().weights))
    with pytest.raises(BadInput, match="holds a DaMo, not a RegMix"):
        RegMix.load(tmp_path / "m.json")
    with pytest.raises(BadInput, match="can't read"):
        load(tmp_path / "none.json")
    for text, message in (
        ("{", "is not JSON"),
        ("[]", "not a fitted mixer"),
        ('{"format": "x"}', "not a fitted mixer"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(BadInput, match=message):
            load(tmp_path / "bad.json")
    held = json.loads((tmp_path / "m.json").read_text())
    held["fitted"]["fit"] = 1
    (tmp_path / "bad.json").write_text(json.dumps(held))
    with pytest.raises(BadInput, match="'fit' is not something a mixer has learnt"):
        load(tmp_path / "bad.json")

    class Mine(Mixer):
        weights_ = np.ones(1)

    with pytest.raises(BadInput, match="not in the table of mix methods"):
        Mine().save(tmp_path / "mine.json")


def test_values_survive_json() -> None:
    value = {"a": np.array([[1.5, np.nan]]), "b": (1, "x", None), "c": [np.float32(2), True, float("-inf")], "d": {}}
    back = decode(json.loads(json.dumps(encode(value))))
    np.testing.assert_array_equal(back["a"], value["a"])
    assert back["b"] == (1, "x", None) and back["c"] == [2.0, True, float("-inf")] and back["d"] == {}
    assert decode(encode(np.empty((0, 3)))).shape == (0, 3)
    with pytest.raises(TypeError, match="can't be saved"):
        encode(object())


def test_simple_mixers(tmp_path: Path) -> None:
    pool = Pool.from_arrays(texts=["x"] * 4, groups=["a", "b", "b", "b"])
    assert Uniform().fit(pool).weights_.tolist() == [0.5, 0.5]
    assert Proportional().fit(pool).weights_.tolist() == [0.25, 0.75]
    assert Proportional(temperature=0).fit({"a": 1, "b": 0, "c": 9}).weights_.tolist() == [0.5, 0, 0.5]
    with pytest.raises(BadInput, match="need the groups' sizes"):
        Proportional().fit(["a", "b"])
    with pytest.raises(BadInput, match="every group is empty"):
        Proportional().fit({"a": 0})
    with pytest.raises(BadInput, match="negative"):
        Proportional().fit({"a": -1, "b": 2})
    with pytest.raises(BadInput, match="'a' is there twice"):
        Uniform().fit(["a", "a"])
    drawn = RandomMixture().fit(["a", "b", "c"]).propose(4000).weights
    assert drawn.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert np.mean(drawn[:, 0] < 0.5) == pytest.approx(0.75, abs=0.03)  # uniform on the simplex
    (tmp_path / "g.csv").write_text("group,size\na,1\nb,3\n")
    assert Proportional().fit(Proportional.read(tmp_path / "g.csv")).weights_.tolist() == [0.25, 0.75]
    (tmp_path / "r.csv").write_text("w:a,w:b,s\n1,0,2\n")
    assert Uniform.read(tmp_path / "r.csv") == ["a", "b"]


def test_the_best_run_is_of_last_checkpoints_and_means_over_repeats() -> None:
    P = [[1, 0], [1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1]]
    held = Runs.from_arrays(P, [9, 3, 4, 6, 1], progress=[0.5, 1, 1, 1, 1])
    mixer = BestRun().fit(held)
    assert mixer.weights_.tolist() == [0.5, 0.5] and mixer.expected_ == 5
    assert mixer.propose(9).weights.tolist() == [[0.5, 0.5], [1, 0], [0, 1]]
