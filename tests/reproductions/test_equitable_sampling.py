"""The reproduction of equitable sampling at smoke scale."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.equitable_sampling import exhaustive, identical, r_squared, reproduce, unequal
from polyculture.reproductions.finding import Finding


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "equitable-sampling" and finding.plot is not None
    assert {"mean R^2, adaptive", "worst R^2, equal", "samples of D, adaptive"} <= set(finding.values)
    assert sum(finding.values[f"samples of {g}, adaptive"].mean for g in "ABCD") == pytest.approx(1200)
    assert finding.to_dict()["holds"] == finding.holds


def test_what_is_robust(finding: Finding) -> None:
    for check, held in finding.checks.items():
        assert held, check
    assert finding.values["samples of D, adaptive"].mean > finding.values["samples of A, adaptive"].mean + 100


def test_greedy_is_optimal_on_concave_curves() -> None:
    greedy, best = exhaustive()
    assert greedy == pytest.approx(best, abs=1e-12)


def test_populations_are_what_the_docstring_says() -> None:
    rng = np.random.default_rng(0)
    same, four = identical(rng), unequal(rng)
    assert np.ptp(same.effects, axis=0).max() == 0 and set(same.noise) == {0.1}
    assert len({tuple(row) for row in four.effects}) == 4
    x, y = four.sample(0, 3000)
    assert r_squared((x, y), four.sample(0, 3000)) > 0.97
    x, y = four.sample(3, 3000)
    assert r_squared((x, y), four.sample(3, 3000)) < 0.3
