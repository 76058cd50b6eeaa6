"""The smoke-scale reproduction of top-h."""

from __future__ import annotations

from polyculture.reproductions.top_h import reproduce


def test_the_claim_holds_and_fails_under_its_control() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "top-h" and finding.scale == "smoke"
    assert any(name.startswith("control") for name in finding.checks)
    assert finding.values and finding.control_values and finding.plot is not None
    assert finding.holds, [name for name, held in finding.checks.items() if not held]
