"""The reproduction of D3 at smoke scale: its structure, its worlds, and what holds on any seed."""

from __future__ import annotations

import numpy as np
import pytest

from polyculture.reproductions.d3 import OPEN, ROWS, make_world, reproduce
from polyculture.reproductions.finding import Finding


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_structure(finding: Finding) -> None:
    assert finding.slug == "d3" and finding.plot is not None
    assert set(finding.values) == set(finding.control_values)
    assert all(0 <= value.mean <= 1 for value in finding.values.values())
    assert finding.holds == all(finding.checks.values()) == finding.to_dict()["holds"]


def test_what_is_robust_at_smoke_scale(finding: Finding) -> None:
    for check in (
        "D3 beats random by 0.3",
        "D3 beats loss in place of difficulty by 0.1",
        "control: D3 gains less than 0.02 on diversity alone",
    ):
        assert finding.checks[check], check


def test_worlds() -> None:
    world, easy = (make_world(np.random.default_rng(0), easy=easy) for easy in (False, True))
    right = (world.feature + world.shift[world.trigger]) % 8
    assert np.mean(world.trigger == 0) == pytest.approx(0.62, abs=0.03)
    closed = world.trigger < OPEN
    assert np.mean(world.answer[closed] != right[closed]) == pytest.approx(0.15, abs=0.02)
    assert (easy.trigger < OPEN).all() and (easy.dependability == 1).all()
    assert easy.accuracy(np.arange(ROWS)) == 1.0
