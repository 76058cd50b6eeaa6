from polyculture.reproductions.tdpo import reproduce


def test_the_controls_hold_and_the_divergences_point_the_right_way():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "tdpo" and len(finding.checks) == 7
    assert finding.plot is not None and len(finding.plot.curves) == 3
    assert finding.control_values["largest difference of DPO's and alpha = 0's tables"].mean == 0
    # Six seeds are too few for the intervals of TDPO2 against DPO to exclude 0; see the module on the entropy.
    against = {name: held for name, held in finding.checks.items() if name.startswith("TDPO2")}
    assert len(against) == 3 and all(held for name, held in finding.checks.items() if name not in against)
    assert all(finding.values[f"TDPO2 less DPO, divergence along {side}"].mean < 0 for side in ("chosen", "rejected"))
