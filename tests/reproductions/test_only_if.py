"""The reproduction of Only-IF at smoke scale: its structure, and that it can be had again."""

from __future__ import annotations

import pytest

from polyculture.reproductions.finding import Finding
from polyculture.reproductions.only_if import reproduce


@pytest.fixture(scope="module")
def finding() -> Finding:
    return reproduce(scale="smoke", seed=0)


def test_more_rules_carry_to_unseen_ones(finding: Finding) -> None:
    # How far 48 rules carry after so few steps depends on the seed and the machine; that they carry does not.
    assert finding.slug == "only-if" and finding.plot is not None
    few, many, _ = finding.values.values()
    assert few.mean < 0.05 and many.mean > few.mean + 0.1
    assert all(value.mean > 0.9 for value in finding.control_values.values())


def test_what_is_told(finding: Finding) -> None:
    few, many = "unseen rules, 4 trained on", "unseen rules, 48 trained on"
    assert set(finding.values) == {few, many, "unseen rules, 48 less 4"}
    assert set(finding.control_values) == {"(a) seen rules, 4 trained on", "(a) seen rules, 48 trained on"}
    assert all(0 <= value.mean <= 1 for value in finding.values.values())
    seen, unseen, *controls = finding.plot.curves if finding.plot else []
    assert list(seen.x) == list(unseen.x) == [4, 48] and not controls
