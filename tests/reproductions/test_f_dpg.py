from __future__ import annotations

from polyculture.reproductions.f_dpg import reproduce


def test_smoke_holds_and_repeats() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "f-dpg"
    assert finding.holds, {check: held for check, held in finding.checks.items() if not held}
    assert finding.control_values and finding.plot is not None
    assert reproduce(scale="smoke", seed=0).values == finding.values
