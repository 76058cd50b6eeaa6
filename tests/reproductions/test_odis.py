"""The reproduction of ODiS at smoke scale: its structure, its worlds, and what holds on any seed."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.odis import BUDGET, choices, make_world, reproduce


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "odis" and finding.plot is not None
    assert {"ODiS", "top mean", "each rater, not rotated", "overlap of components"} <= set(finding.values)
    assert {"one attribute: ODiS", "pure noise: random"} <= set(finding.control_values)
    assert finding.holds == all(finding.checks.values()) == finding.to_dict()["holds"]


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    for check in (
        "ODiS beats the best averages by 0.03",
        "components overlap by less than 0.05",
        "raters overlap by more than 0.05",
    ):
        assert finding.checks[check], check


def test_worlds_and_choices() -> None:
    main, one = (make_world(np.random.default_rng(0), kind) for kind in ("main", "one attribute"))
    spectrum = np.linalg.eigvalsh(np.cov(main.scores.T))[::-1]
    assert (spectrum[:4] > 0.5).all() and (spectrum[4:] < 0.3).all()
    assert (np.linalg.eigvalsh(np.cov(one.scores.T))[::-1][1:] < 0.3).all()
    for name, rows in choices(main, np.random.default_rng(0)).items():
        assert len(np.unique(rows)) == BUDGET, name
