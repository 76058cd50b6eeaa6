from __future__ import annotations

from polyculture.reproductions.div_se import reproduce


def test_smoke_finding() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "div-se"
    values = {name: interval.mean for name, interval in finding.values.items()}
    assert values["DIV-SE-5"] > values["SC-5"]
    assert values["gain of DIV-SE-5 over the mean approach"] > 0.1
    # The vote is about as good as the best approach; five seeds can't say which is better, but the controls hold.
    assert all(held for check, held in finding.checks.items() if check.startswith("control"))
    assert finding.holds == all(finding.checks.values())
