"""The reproduction of kMQ at smoke scale: its structure, and what holds on any seed."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.kmq import biased_world, noisy_world, reproduce


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "kmq" and finding.plot is not None
    assert {"A: kMQ", "B: top-q", "B: junk share, iterative"} <= set(finding.values)
    assert all(0 <= value.mean <= 1 for value in finding.values.values())
    assert finding.holds == all(finding.checks.values())
    assert finding.to_dict()["holds"] == finding.holds


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    for check in ("A: kMQ > kM-random", "A: random > k-center", "B: diversity first beats top-q by 0.3"):
        assert finding.checks[check], check


def test_pools_are_what_the_docstring_says() -> None:
    noisy, biased = noisy_world(np.random.default_rng(0)), biased_world(np.random.default_rng(0))
    assert 0.1 < noisy.junk.mean() < 0.14 and 0.3 < biased.junk.mean() < 0.4
    assert noisy.pool.q[~noisy.bad].mean() - noisy.pool.q[noisy.bad].mean() == pytest.approx(0.45, abs=0.03)
    assert noisy_world(np.random.default_rng(0), noise=0, garbage=0, known=False).bad.sum() == 0
