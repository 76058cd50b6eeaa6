"""The reproduction of DaMo at smoke scale: its structure, and what holds on the released runs."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.damo import Surface, dealt, released_table, reproduce
from polyculture.reproductions.finding import Finding


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_the_claim_holds(finding: Finding) -> None:
    assert finding.slug == "damo" and finding.plot is not None
    assert finding.holds, {name: value for name, value in finding.checks.items() if not value}


def test_the_released_table() -> None:
    runs = released_table()
    assert len(runs) == 200 and runs.n_mixtures == 50 and len(runs.groups) == 12 and len(runs.scores) == 10
    moved = dealt(runs, np.random.default_rng(0))
    assert sorted(moved.values.ravel()) == sorted(runs.values.ravel()) and (moved.values != runs.values).any()


def test_the_last_set_harms() -> None:
    gains = []
    for seed in range(5):
        surface = Surface(np.random.default_rng(seed))
        gains.append(surface.overall(np.array([1 / 3, 1 / 3, 1 / 3, 0])) - surface.overall(np.array([0, 0, 0, 1.0])))
    assert min(gains) > 0
