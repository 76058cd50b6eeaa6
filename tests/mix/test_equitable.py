"""Equitable sampling: planning on measured curves, in turns, from a file, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build
from polyculture.mix.base import load
from polyculture.mix.equitable import EquitableSampling, draw_rows, value_of
from polyculture.mix.equitable_allocation import greedy_allocation
from polyculture.mix.learning_curves import PowerLaw
from polyculture.mix.measured_curves import MeasuredCurves
from polyculture.pool import Pool

TRUTH = {"young": PowerLaw(0.95, 1.0, 1.0), "old": PowerLaw(0.9, 6.0, 1.0), "rare": PowerLaw(0.8, 12.0, 1.0)}


def points(name: str, sizes: tuple[int, ...] = (20, 40)) -> list[tuple[float, float]]:
    return [(n, TRUTH[name](n)) for n in sizes]


def measured(**options: dict) -> MeasuredCurves:
    return MeasuredCurves.of({name: points(name) for name in TRUTH}, **options)


def test_plan_is_greedy_on_the_true_curves() -> None:
    sampler = EquitableSampling(budget=300).fit(measured())
    true = greedy_allocation(list(TRUTH.values()), 420, start=40)
    assert list(sampler.allocation_.values()) == (true.counts - 40).tolist()
    assert sampler.utility_ == pytest.approx(true.utility)
    assert sampler.weights_.sum() == pytest.approx(1) and sampler.weights_.tolist() == pytest.approx(true.counts / 420)
    assert sampler.expected_["rare"] == pytest.approx(TRUTH["rare"](int(true.counts[2])))
    assert len(sampler.order_) == 300


def test_default_budget_is_what_was_spent() -> None:
    assert sum(EquitableSampling().fit(measured()).allocation_.values()) == 120
    assert EquitableSampling(budget=0).fit(measured()).allocation_ == {"young": 0, "old": 0, "rare": 0}


def test_weights_costs_and_caps_matter() -> None:
    plain = EquitableSampling(budget=200).fit(measured()).allocation_
    dear = EquitableSampling(budget=200).fit(measured(costs={"young": 1, "old": 1, "rare": 20})).allocation_
    assert dear["rare"] < plain["rare"]
    few = EquitableSampling(budget=200).fit(measured(caps={"rare": 50})).allocation_
    assert few["rare"] == 10 and sum(few.values()) == 200
    unloved = EquitableSampling(budget=200).fit(measured(weights={"young": 1, "old": 1, "rare": 0})).allocation_
    assert unloved["rare"] == 0


def test_a_loss_is_a_performance_upside_down() -> None:
    up = EquitableSampling(budget=100).fit(measured())
    losses = {name: [(n, 1 - v) for n, v in points(name)] for name in TRUTH}
    down = EquitableSampling(budget=100, higher_is_better=False).fit(MeasuredCurves.of(losses))
    assert up.allocation_ == down.allocation_
    assert down.expected_["old"] == pytest.approx(1 - up.expected_["old"])
    with pytest.raises(BadInput, match="not a loss"):
        EquitableSampling("weighted-log", higher_is_better=False).fit(MeasuredCurves.of(losses))


def test_groups_that_cannot_be_fitted() -> None:
    one_size = MeasuredCurves.of({"a": [(10, 0.5), (20, 0.6)], "b": [(10, 0.4)]})
    with pytest.raises(BadInput, match="group 'b' was measured at fewer than two sizes"):
        EquitableSampling().fit(one_size)
    lonely = MeasuredCurves.of({"a": [(10, 0.5), (20, 0.6)], "b": []}, caps={"b": 1}, collected={"b": 1})
    sampler = EquitableSampling(budget=5).fit(lonely)  # one member, collected: there is nothing to decide about it
    assert sampler.allocation_ == {"a": 5, "b": 0} and np.isnan(sampler.expected_["b"])
    everyone = MeasuredCurves.of({"b": []}, caps={"b": 1}, collected={"b": 1})
    assert EquitableSampling().fit(everyone).allocation_ == {"b": 0}
    constant = MeasuredCurves.of(
        {name: [(10, 0.5), (20, 0.5)] for name in "abc"}, collected={"a": 30, "b": 20, "c": 20}
    )
    assert EquitableSampling(budget=20).fit(constant).allocation_ == {"a": 0, "b": 10, "c": 10}


def test_turns() -> None:
    sampler = EquitableSampling(batch=10, pilot=20, exploration=0).begin(MeasuredCurves.of({"a": (), "b": ()}))
    assert sampler.weights_.tolist() == [0.5, 0.5]
    assert sampler.allocate(100) == {"a": 20, "b": 20}
    assert sampler.allocate(30) == {"a": 20, "b": 10}
    sampler.update({}, collected={"a": 20, "b": 20})
    assert sampler.allocate(100) == {"a": 10, "b": 10}  # no curves yet
    sampler.update({"a": [(10, 0.8), (16, 0.81)], "b": [(10, 0.2), (16, 0.5)]})
    assert sampler.allocate(10) == {"b": 10}
    assert sum(sampler.allocate(100).values()) == 100 and sampler.allocate(0) == {}
    assert sampler.allocate(100, batches=1) == {"b": 10}
    before = sampler.curves["b"]
    sampler.update({"b": [(20, 0.6)]}, collected={"b": 30})
    assert sampler.collected_.tolist() == [20, 30] and sampler.weights_.tolist() == [0.4, 0.6]
    assert sampler.curves["b"] != before
    sampler.update({"b": [(20, 0.6), (25, 0.6)]}, replace=True)
    assert len(sampler.points_["b"]) == 2


def test_exploration_is_seeded() -> None:
    sampler = EquitableSampling(exploration=0.5).begin(measured())
    assert sampler.allocate(50, rng=3) == sampler.allocate(50, rng=3) != sampler.allocate(50, rng=4)


def test_a_curve_lost_in_noise_gets_a_second_look() -> None:
    sampler = EquitableSampling(batch=10, pilot=20, exploration=0)
    sampler.begin(MeasuredCurves.of({"a": points("old"), "b": [(10, 0.5), (20, 0.5)]}, collected={"a": 40, "b": 20}))
    assert sampler.allocate(10) == {"b": 10}
    sampler.update({}, collected={"b": 40})
    assert sampler.allocate(10) == {"a": 10}


def test_run_spends_the_budget_where_it_gains() -> None:
    held = dict.fromkeys(TRUTH, 0)

    def collect(name: str, new: int) -> list[tuple[float, float]]:
        held[name] += new
        return points(name, (held[name] // 2, held[name]))

    seen: list[tuple[str, int, int]] = []
    sampler = EquitableSampling(batch=10, pilot=20, exploration=0)
    groups = MeasuredCurves.of(dict.fromkeys(TRUTH, ()), caps={"old": 50})
    sampler.run(collect, groups, 300, progress=lambda *what: seen.append(what))
    assert dict(zip(sampler.groups_, sampler.collected_.tolist(), strict=True)) == held
    assert sum(held.values()) == 300 and held["old"] == 50 and held["rare"] > held["young"]
    assert seen[-1] == ("collect", 300, 300)
    with pytest.raises(BadInput, match="a pilot of 20 costs 60, above the budget of 50"):
        EquitableSampling(pilot=20).run(collect, groups, 50)


def test_run_ends_where_groups_cannot_be_measured() -> None:
    sampler = EquitableSampling(pilot=5).run(lambda *_: [], MeasuredCurves.of({"a": (), "b": ()}, caps={"a": 1}), 20)
    assert sampler.collected_.tolist() == [1, 19]


def test_value() -> None:
    sampler = EquitableSampling(utility="min").fit(measured())
    assert value_of({"young": 0.9, "old": 0.4, "rare": 0.6}, sampler) == 0.4


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("group,n,value,cost,cap\na,10,0.5,2,\na,20,0.6,,30\nb,10,0.4,1,\nb,30,0.7,,\nc,,,3,0\n")
    curves = EquitableSampling.read(path)
    assert curves.groups == ("a", "b", "c") and curves.costs.tolist() == [2, 1, 3]
    assert curves.caps.tolist() == [30, np.inf, 0] and curves.collected.tolist() == [20, 30, 0]
    sampler = build("mix", "equitable-sampling", budget="40", utility="min").fit(curves)
    sampler.save(tmp_path / "sampler.json")
    again = load(tmp_path / "sampler.json")
    assert again.allocation_ == sampler.allocation_ and again.allocate(7, rng=0) == sampler.allocate(7, rng=0)
    assert again.propose(1).weights.tolist() == [sampler.weights_.tolist()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("group,n\na,1\n", "no column 'value'"),
        ("group,n,value\n", "no groups"),
        ("group,n,value\na,1,nan\n", "line 2: value is 'nan'"),
        ("group,n,value\na,1,high\n", "line 2: value is 'high'"),
        ("group,n,value\na,1,\n", "line 2: a point needs both"),
        ("group,n,value\n,1,0.5\n", "line 2: the group has no name"),
        ("group,n,value\na,0,0.5\n", "samples above 0"),
        ("group,n,value,cost\na,1,0.5,1\na,2,0.6,2\n", "line 3: the cost of 'a' was 1 and is 2"),
        ("group,n,value,cost\na,1,0.5,0\n", "cost of group 'a' is 0; it should be above 0"),
        ("group,n,value,cost\na,1,0.5,1\nb,1,0.5,\n", "group 'b' has no cost"),
        ("group,n,value,cap\na,1,0.5,-3\n", "cap of group 'a' is -3"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        EquitableSampling.read(path)


def test_bad_input() -> None:
    with pytest.raises(BadInput, match="not been fitted"):
        EquitableSampling().allocate(10)
    with pytest.raises(BadInput, match="no groups"):
        MeasuredCurves.of({})
    with pytest.raises(UnknownMethod, match="did you mean 'young'"):
        measured(caps={"yuong": 3})
    sampler = EquitableSampling().fit(measured())
    for budget in (-1, np.nan, np.inf):
        with pytest.raises(BadInput, match="budget should be"):
            sampler.allocate(budget)
    with pytest.raises(BadInput, match="budget should be"):
        EquitableSampling(budget=-5).fit(measured())
    with pytest.raises(UnknownMethod, match="did you mean 'rare'"):
        sampler.update({"rre": [(1, 0.5)]})
    with pytest.raises(BadInput, match="both should be finite"):
        sampler.update({"rare": [(10, np.nan)]})
    with pytest.raises(BadInput, match="can't have -1 samples"):
        sampler.update({}, collected={"rare": -1})
    with pytest.raises(UnknownMethod, match="utility"):
        EquitableSampling("sum").fit(measured())  # type: ignore[arg-type]


def test_rows_of_a_pool() -> None:
    pool = Pool.from_arrays(np.zeros((6, 1)), groups=["a", "b", "a", "a", "b", "c"], source="p.jsonl")
    rows = draw_rows(pool, {"a": 2, "c": 1, "gone": 0}, taken=[0], rng=0)
    assert set(rows[:2].tolist()) == {2, 3} and rows[2] == 5
    assert draw_rows(pool, {}).tolist() == []
    with pytest.raises(BadInput, match="no rows of group 'd'"):
        draw_rows(pool, {"d": 1})
    with pytest.raises(BadInput, match="has 2 rows of group 'a' left, the allocation asks for 3"):
        draw_rows(pool, {"a": 3}, taken=[0])
    with pytest.raises(BadInput, match="0 or more"):
        draw_rows(pool, {"a": -1})
    with pytest.raises(BadInput, match="needs groups"):
        draw_rows(pool.with_(groups=None), {"a": 1})
