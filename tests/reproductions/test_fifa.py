from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.fifa import PAIRS, reproduce, world
from polyculture.reproductions.finding import Finding


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "fifa" and finding.plot is not None
    assert {"FiFA", "margin", "random", "all pairs", "junk: FiFA"} <= set(finding.values)
    assert all(0 <= value.mean <= 1 for value in finding.values.values())
    assert finding.holds == all(finding.checks.values())


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    for name, held in finding.checks.items():
        if not name.startswith("control"):
            assert held, name


def test_the_world_is_what_the_docstring_says() -> None:
    held = world(np.random.default_rng(0))
    assert 0.13 < held.junk.mean() < 0.17
    assert held.ratings[held.junk].mean() < 3 < 7 < held.ratings[~held.junk].mean()
    true = np.einsum("ni,ij,nj->n", held.better - held.worse, held.reward, held.prompts)
    assert np.mean(true[~held.junk] > 0) > 0.75 and np.mean(true[held.junk] > 0) == pytest.approx(0.5, abs=0.06)
    assert len(held.pool) == PAIRS and not world(np.random.default_rng(0), junk=0.0).junk.any()
