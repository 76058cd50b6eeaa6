"""The reproduction of directed weight adjustment at smoke scale."""

from polyculture.reproductions.dwa_distillation import reproduce


def test_smoke() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "dwa-distillation" and finding.plot is not None
    assert {"rho 0.25: diversity", "noise: accuracy", "real images: accuracy"} <= set(finding.values)
    assert finding.holds == all(finding.checks.values())
    for check in finding.checks:
        if check.startswith("control") or check == "diversity grows with rho":
            assert finding.checks[check], check
