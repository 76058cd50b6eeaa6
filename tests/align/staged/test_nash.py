from __future__ import annotations

import numpy as np
import pytest

from polyculture.align.staged.nash import exploitability, preference_matrix, soft_policy_iteration
from polyculture.errors import BadInput

CYCLE = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])


def test_the_uniform_policy_is_the_equilibrium_of_rock_paper_scissors():
    assert exploitability(CYCLE, [1 / 3] * 3) == pytest.approx(0.0)
    assert exploitability(CYCLE, [1, 0, 0]) == 0.5


def test_the_average_settles_where_the_policies_circle():
    found = soft_policy_iteration(CYCLE, 0.3, 400, start=[0.6, 0.3, 0.1])
    assert exploitability(CYCLE, found.average) < 0.05 < exploitability(CYCLE, found.policies[-1])


def test_every_policy_beats_the_one_before_by_what_it_moved():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((5, 5))
    found = soft_policy_iteration(1 / (1 + np.exp(A.T - A)), 0.5, 20)
    after, before = found.policies[1:], found.policies[:-1]
    moved = (after * np.log(after / before)).sum(axis=1)
    assert (found.win_rates >= 0.5 + 0.5 * moved - 1e-12).all()
    assert found.policies.sum(axis=1) == pytest.approx(1)


def test_a_reward_is_followed_to_its_best_response():
    P = 1 / (1 + np.exp(-np.subtract.outer([0.0, 2.0, 1.0], [0.0, 2.0, 1.0])))
    assert soft_policy_iteration(P, 0.1, 100).policies[-1] == pytest.approx([0, 1, 0], abs=1e-6)
    assert soft_policy_iteration(P, 0.1, 5, start=[1, 0, 0]).policies[-1].tolist() == [1, 0, 0]


def test_win_rates_that_do_not_add_up_are_evened_out_with_a_warning():
    biased = CYCLE.copy()
    biased[0, 1] = 0.8  # shown first it wins less often
    with pytest.warns(UserWarning, match=r"up to 0\.2 away"):
        even = preference_matrix(biased)
    assert even[0, 1] == pytest.approx(0.9) and even + even.T == pytest.approx(1)
    assert preference_matrix(CYCLE).tolist() == CYCLE.tolist()


def test_rounded_win_rates_are_taken_as_they_are():
    rounded = [[0.5, 0.123457], [0.8765434, 0.5]]
    assert preference_matrix(rounded).tolist() == rounded


def test_bad_input():
    for wrong, what in (([[0.5, 1]], "shape"), ([], "shape"), ([[1.5]], "probabilities"), ([[np.nan]], "probabilit")):
        with pytest.raises(BadInput, match=what):
            preference_matrix(wrong)
    for policy in ([0.5, 0.5], [0.5, 0.6, 0.1], [1.5, -0.5, 0.0]):
        with pytest.raises(BadInput, match="3 probabilities"):
            exploitability(CYCLE, policy)
    with pytest.raises(BadInput, match="eta"):
        soft_policy_iteration(CYCLE, 0.0, 1)
    with pytest.raises(BadInput, match="iterations"):
        soft_policy_iteration(CYCLE, 1.0, 0)
