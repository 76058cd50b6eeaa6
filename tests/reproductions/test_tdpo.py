from polyculture.reproductions.tdpo import reproduce


def test_tdpo2_diverges_less_than_dpo_and_alpha_zero_is_dpo():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "tdpo" and len(finding.checks) == 7
    assert finding.plot is not None and len(finding.plot.curves) == 3
    assert finding.control_values["largest difference of DPO's and alpha = 0's tables"].mean == 0
    # Whether the entropy is higher is not asserted: its interval touches 0.
    wrong = [name for name, held in finding.checks.items() if not held and "entropy" not in name]
    assert not wrong
