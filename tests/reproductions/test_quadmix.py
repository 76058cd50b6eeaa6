from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.quadmix import DOCUMENTS, QUOTA, mixed, reproduce, world


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "quadmix" and finding.plot is not None
    assert {"QuaDMix", "RegMix", "random", "top by noise", "correlation"} <= set(finding.values)
    assert finding.holds == all(finding.checks.values())
    assert finding.values["correlation"].mean > 0.5


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    assert finding.checks["RegMix beats random"]
    assert finding.checks["QuaDMix beats every score by 0.03"]


def test_the_world_is_what_the_docstring_says() -> None:
    held = world(np.random.default_rng(0))
    assert held.target.sum() == pytest.approx(1) and (held.counts.sum(axis=(1, 2)) == 59).all()
    np.testing.assert_allclose(np.bincount(held.domain) / DOCUMENTS, [0.1, 0.1, 0.4, 0.4], atol=0.02)
    rows = mixed(held.half(True), np.array([0.7, 0.1, 0.1, 0.1]), np.random.default_rng(0))
    assert len(rows) == pytest.approx(QUOTA, abs=30)
    shares = np.bincount(held.half(True).domain[rows], minlength=4) / len(rows)
    assert shares[0] == pytest.approx(0.7, abs=0.06)
