from polyculture.reproductions.qdc_survey import reproduce


def test_quality_and_diversity_trade_off_at_a_fixed_size():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "qdc-survey" and len(finding.checks) == 4
    assert finding.values["out, noise 0.0, domains 7"].n == 2
    assert finding.control_values and finding.plot is not None
    assert finding.holds, [name for name, held in finding.checks.items() if not held]
