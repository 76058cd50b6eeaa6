from __future__ import annotations

from polyculture.reproductions.vendi_orders import reproduce


def test_smoke() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "vendi-orders"
    assert finding.values and finding.control_values and finding.plot is not None
    assert finding.holds, [name for name, value in finding.checks.items() if not value]
    assert finding.to_dict()["holds"] is True
