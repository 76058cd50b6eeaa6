"""The reproduction of vertical data minimization at smoke scale."""

import pytest

from polyculture.errors import BadInput
from polyculture.reproductions.vertical_minimization import adult, reproduce


def test_smoke() -> None:
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "vertical-minimization" and finding.plot is not None
    assert {"PAT 0.3: utility", "uniform 2: error"} <= set(finding.values) == set(finding.control_values)
    assert finding.holds == all(finding.checks.values())
    for check, came_out in finding.checks.items():
        assert came_out, check


def test_real_records_are_asked_for_plainly(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("POLYCULTURE_DATA", raising=False)
    with pytest.raises(BadInput, match=r"set POLYCULTURE_DATA to a folder with adult.csv"):
        adult()
    monkeypatch.setenv("POLYCULTURE_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=r"adult.csv is missing"):
        adult()
