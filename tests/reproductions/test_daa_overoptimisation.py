import pytest

from polyculture.reproductions.daa_overoptimisation import STRONG, World, align, reproduce


def test_wins_turn_down_past_the_peak_and_the_entropy_tells():
    finding = reproduce(scale="smoke", seed=0)
    assert finding.slug == "daa-overoptimisation" and len(finding.checks) == 5
    assert finding.control_values and finding.plot is not None
    assert finding.holds, [name for name, held in finding.checks.items() if not held]


def test_the_monitor_sees_every_evaluation(monkeypatch):
    monkeypatch.setattr("polyculture.reproductions.daa_overoptimisation.STEPS", 50)
    world = World(0)
    run = align(world, STRONG)
    assert [row["step"] for row in run.monitor.table()] == [0, 50]
    assert run.margins[0] == pytest.approx(0, abs=1e-5) and run.margins[1] > 0
    assert not any(p.requires_grad for p in world.reference.parameters())
