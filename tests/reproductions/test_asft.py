from polyculture.reproductions.asft import reproduce


def test_asft_raises_the_chosen_and_lambda_zero_is_sft():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "asft" and len(finding.checks) == 8
    assert finding.plot is not None and len(finding.plot.curves) == 4
    assert finding.control_values["largest difference of SFT's and lambda = 0's tables"].mean == 0
    assert finding.holds, [name for name, held in finding.checks.items() if not held]
