from polyculture.reproductions.dpo_survey import FEW, reproduce, table


def test_four_objectives_side_by_side():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "dpo-survey" and len(finding.checks) == 9
    assert [row["objective"] for row in table(finding)] == list(FEW)
    assert all(len(row) == 6 for row in table(finding))
    assert set(finding.control_values) == {f"{name}, reward gain from coin flips" for name in FEW}
