"""The reproduction of MVec at smoke scale."""

from __future__ import annotations

import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.mvec import reproduce


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "mvec" and finding.plot is not None
    assert {"mean, even", "worst, random", "gap, even", "spread, random"} <= set(finding.values)
    assert finding.to_dict()["holds"] == finding.holds


def test_what_is_robust(finding: Finding) -> None:
    for check, held in finding.checks.items():
        assert held, check
