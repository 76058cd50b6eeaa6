from __future__ import annotations

import numpy as np
import pytest

from polyculture.errors import BadInput
from polyculture.measure.frontier import frontier, hypervolume
from polyculture.measure.vendi import vendi_score

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 5))
QUALITY = rng.uniform(size=50)


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_each_point_is_the_mean_quality_and_score_of_the_first_k(kernel: str) -> None:
    found = frontier(X, QUALITY, budgets=(50, 3, 10), kernel=kernel, gamma=0.2 if kernel == "rbf" else None)
    best = np.argsort(-QUALITY)
    assert found.budgets.tolist() == [3, 10, 50]
    for k, quality, diversity in zip(found.budgets, found.quality, found.diversity, strict=True):
        assert quality == pytest.approx(QUALITY[best[:k]].mean())
        options = {"gamma": 0.2} if kernel == "rbf" else {}
        assert diversity == pytest.approx(vendi_score(X[best[:k]], kernel=kernel, **options))
    assert np.all(np.diff(found.quality) <= 0)


def test_default_budgets_run_from_one_to_all() -> None:
    found = frontier(X, QUALITY)
    assert found.budgets[0] == 1 and found.budgets[-1] == 50
    assert found.diversity[0] == pytest.approx(1)
    assert found.hypervolume > 0
    assert found.reference == (QUALITY.min(), 1.0)


def test_an_order_of_choice_is_followed() -> None:
    best = np.argsort(-QUALITY)
    assert frontier(X, QUALITY, order=best).hypervolume == pytest.approx(frontier(X, QUALITY).hypervolume)
    worst_first = frontier(X, QUALITY, order=best[::-1])
    assert worst_first.hypervolume < frontier(X, QUALITY).hypervolume
    assert frontier(X, QUALITY, order=[4, 2]).budgets.tolist() == [1, 2]


def test_diversity_among_the_best_adds_hypervolume() -> None:
    axes = np.eye(4)
    quality = np.array([1.0, 0.99, 0.98, 0.97, 0.1, 0.09, 0.08, 0.07])
    varied = frontier(np.concatenate([axes, axes[[0] * 4]]), quality)
    monotone = frontier(np.concatenate([axes[[0] * 4], axes]), quality)
    assert varied.hypervolume > 2 * monotone.hypervolume


def test_hypervolume_by_hand() -> None:
    assert hypervolume([3, 2, 1], [1, 2, 3], (0, 0)) == pytest.approx(6)
    assert hypervolume([3, 2, 1], [1, 2, 3], (1, 1)) == pytest.approx(1)
    assert hypervolume([2, 1], [2, 1], (0, 0)) == pytest.approx(4)
    assert hypervolume([1], [5], (1, 0)) == 0
    assert hypervolume([2, 2], [1, 3], (0, 0)) == pytest.approx(6)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="no items"):
        frontier(np.zeros((0, 2)), [])
    with pytest.raises(BadInput, match="finite"):
        frontier(X, np.full(50, np.nan))
    with pytest.raises(BadInput, match="without repeats"):
        frontier(X, QUALITY, order=[1, 1])
    with pytest.raises(BadInput, match="row numbers"):
        frontier(X, QUALITY, order=[0.5])
    with pytest.raises(BadInput, match="budgets"):
        frontier(X, QUALITY, budgets=[51])
    with pytest.raises(BadInput, match="order q"):
        frontier(X, QUALITY, q=-1)
