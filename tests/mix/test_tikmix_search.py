"""TiKMiX-M: the design around an anchor and the narrowing search."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.mix.tikmix_search import TiKMiXM, mixtures_around, search_step, within_bounds

ANCHOR = np.array([0.4, 0.3, 0.2, 0.1])


def test_designs_stay_within_bounds() -> None:
    drawn = mixtures_around(ANCHOR, 300, np.random.default_rng(0))
    assert drawn.shape == (300, 4)
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    assert (drawn >= 0.5 * ANCHOR - 1e-9).all() and (drawn <= 2 * ANCHOR + 1e-9).all()
    assert drawn.std(axis=0).min() > 0.02
    np.testing.assert_array_equal(drawn[:50], TiKMiXM.design(ANCHOR, 300, rng=0)[:50])
    assert mixtures_around([1.0], 3, np.random.default_rng(0)).tolist() == [[1], [1], [1]]


def test_bounds_that_leave_no_room() -> None:
    with pytest.raises(BadInput, match="low < 1 < high"):
        mixtures_around(ANCHOR, 3, np.random.default_rng(0), low=1.2)
    many = np.full(200, 1 / 200)
    with pytest.raises(BadInput, match="widen the bounds"):
        mixtures_around(many, 500, np.random.default_rng(0), low=0.1, high=1.05, max_draws=2000)


def test_filter_and_step_by_hand() -> None:
    normalised, kept = within_bounds([[2, 2], [9, 1], [1, 3]], [0.5, 0.5])
    assert normalised.tolist() == [[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]] and kept.tolist() == [0, 2]
    assert within_bounds([[0, 0]], [0.5, 0.5])[1].size == 0 and within_bounds([], [0.5, 0.5])[1].size == 0
    best, centre = search_step([[1, 0], [0, 1], [0.5, 0.5]], [1, 2, 2], 2)
    assert best.tolist() == [1, 2] and centre.tolist() == [0.25, 0.75]
    assert search_step([[1, 0]], [3], 10)[0].tolist() == [0]


def test_the_search_finds_an_interaction() -> None:
    def measure(w: np.ndarray) -> float:
        return float(w[0] * w[3] - 0.1 * w[1])  # no sum of the groups' own effects

    mixer = TiKMiXM(trees=200, learning_rate=0.05, rounds=8, draws=300, folds=3)
    mixer.measure_and_fit(ANCHOR, measure, 200, groups=["a", "b", "c", "d"])
    assert measure(mixer.weights_) > measure(ANCHOR) + 0.02
    assert mixer.spearman_ > 0.7 and mixer.anchor == pytest.approx(ANCHOR)
    assert len(mixer.trace_) == 8 and mixer.trace_[-1]["concentration"] == pytest.approx(1000)
    assert mixer.propose(5).weights[0] == pytest.approx(mixer.weights_)


def test_an_anchor_of_another_length_is_refused() -> None:
    with pytest.raises(BadInput, match="the anchor has 2 weights, the runs have 4 groups"):
        TiKMiXM(anchor=(0.5, 0.5)).fit(TiKMiXM.design(ANCHOR, 8, rng=0), np.arange(8))
