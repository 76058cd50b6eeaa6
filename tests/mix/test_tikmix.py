"""TiKMiX-D against brute force, on tight and open constraints, and where no group helps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.benefits import Benefits
from polyculture.mix.candidates import mixture_grid
from polyculture.mix.tikmix import TiKMiX, objective, optimal_mixture


@pytest.mark.parametrize("seed", range(12))
def test_no_feasible_mixture_of_a_fine_grid_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    S, prior = rng.normal(0.5, 1, (n, m)), rng.dirichlet(np.ones(m))
    terms: dict[str, Any] = {"alpha": 1.0, "beta": 1.0, "gamma": [1.0, 0.0, 5.0][seed % 3]}
    found = optimal_mixture(S, prior, **terms)
    assert found.weights.sum() == pytest.approx(1) and found.weights.min() >= 0
    assert (S @ found.weights >= S @ prior - 1e-6 * np.abs(S).max()).all()
    grid = np.vstack([mixture_grid(m, 24), 0.98 * found.weights + 0.02 * mixture_grid(m, 12)])
    allowed = grid[(grid @ S.T >= S @ prior).all(axis=1)]
    best = min((objective(S, w, **terms).value for w in allowed), default=np.inf)
    assert found.objective.value <= best + 1e-7


@pytest.mark.parametrize(
    "S",
    [
        [[1, 1, 1], [1, 0, 2], [1, 0, 1]],  # a task that all groups help alike
        [[1, 2, 0.5], [1, 2, 0.5], [2, 4, 1]],  # tasks that ask for the same
        [[1, 2, 0], [0.5, 0, 1]],  # what helps one harms the other
    ],
)
def test_bounds_that_repeat_each_other(S: list[list[float]]) -> None:
    prior, grid = np.full(3, 1 / 3), mixture_grid(3, 60)
    for alpha in (0.0, 1.0, 3.0):
        found = optimal_mixture(S, prior, alpha=alpha, beta=2.0, gamma=0.1)
        assert found.solved and found.gap < 1e-6 and found.residual < 1e-7
        allowed = grid[(grid @ np.transpose(S) >= np.dot(S, prior) - 1e-12).all(axis=1)]
        best = min(objective(S, w, alpha=alpha, beta=2.0, gamma=0.1).value for w in allowed)
        assert found.objective.value <= best + 1e-7


def test_one_task_is_a_softmax_of_benefits() -> None:
    S = np.array([[0.5, 1.0, 0.75]])
    found = optimal_mixture(S, [1.0, 0.0, 0.0], gamma=0.5, eps=0.0)
    assert found.weights == pytest.approx(np.exp(2 * S[0]) / np.exp(2 * S[0]).sum(), abs=1e-6)
    with pytest.raises(BadInput, match="not convex"):
        optimal_mixture(S, [1.0, 0.0, 0.0], gamma=-1.0)


def test_objective_by_hand() -> None:
    held = objective([[2.0, 0.0], [0.0, 4.0]], [0.5, 0.5], eps=0.0)
    assert held.normalised.tolist() == [0.5, 0.5] and held.spread == 0 and held.total == 1
    assert held.entropy == pytest.approx(np.log(2)) and held.value == pytest.approx(-1 - np.log(2))
    assert objective([[1.0, 0.0]], [1, 0], eps=0.0).entropy == 0  # 0 ln 0 is 0


def test_only_the_prior_is_feasible_unless_there_is_slack() -> None:
    S = np.array([[1.0, -1.0], [-1.0, 1.0]])
    with pytest.warns(UserWarning, match="only the prior"):
        mixer = TiKMiX().fit(S, prior=[0.3, 0.7])
    assert mixer.weights_.tolist() == [0.3, 0.7] and mixer.report_["region"] == "prior only"
    assert mixer.report_["residual"] == 0
    loose = TiKMiX(slack=0.2).fit(S, prior=[0.3, 0.7])
    assert loose.weights_ == pytest.approx([0.4, 0.6], abs=1e-5)  # towards even, as far as the slack goes
    assert loose.report_["region"] == "open"


def test_without_entropy_the_answer_is_a_corner_and_with_much_it_is_even() -> None:
    S = np.array([[1.0, 0.5, 0.1]])
    assert TiKMiX(gamma=0).fit(S).weights_ == pytest.approx([1, 0, 0], abs=1e-6)
    even = TiKMiX(gamma=1000).fit(S).weights_
    assert even == pytest.approx([1 / 3] * 3, abs=1e-2) and even[0] > even[1] > even[2]


def test_tasks_that_no_group_helps() -> None:
    S = Benefits.of([[1.0, 0.5], [-1.0, -3.0]], tasks=["qa", "hopeless"])
    with pytest.warns(UserWarning, match="no group helps hopeless: divided"):
        mixer = TiKMiX().fit(S)
    assert mixer.weights_[0] > 0.5 and mixer.tasks_ == ("qa", "hopeless")
    with pytest.warns(UserWarning, match="no group helps hopeless: left out"):
        assert TiKMiX(unhelped="drop").fit(S).tasks_ == ("qa",)
    with pytest.warns(UserWarning), pytest.raises(BadInput, match="no group helps any task"):
        TiKMiX(unhelped="drop").fit([[-1.0, -2.0]])
    with pytest.warns(UserWarning):
        assert TiKMiX().fit([[0.0, 0.0]]).weights_ == pytest.approx([0.5, 0.5])


def test_a_helpful_group_gains_and_a_harmful_one_loses() -> None:
    mixer = TiKMiX().fit([[2.0, 0.5, -3.0], [1.0, 1.5, -2.0]])
    assert mixer.weights_[2] < 1 / 3 < mixer.weights_[0]
    reversed_sign = TiKMiX().fit(-np.array([[2.0, 0.5, -3.0], [1.0, 1.5, -2.0]]))
    assert reversed_sign.weights_[2] > 1 / 3


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="prior has 3 weights, the benefits 2 groups"):
        TiKMiX().fit([[1.0, 2.0]], prior=[0.2, 0.3, 0.5])
    with pytest.raises(BadInput, match="negative"):
        TiKMiX().fit([[1.0, 2.0]], prior=[1.5, -0.5])
    with pytest.warns(UserWarning, match="instead of 1"):
        TiKMiX().fit([[1.0, 2.0]], prior=[50, 50])


def test_duplicated_groups_share_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        w = TiKMiX().fit([[1.0, 1.0, 0.2], [0.5, 0.5, 0.6]]).weights_
    assert w[0] == pytest.approx(w[1], abs=1e-5)
