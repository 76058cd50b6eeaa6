from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyculture.errors import BadInput, UnknownMethod
from polyculture.studies import only_if
from polyculture.studies.only_if import LARGER, NARROW, Cell, Point, Study, share, sweep
from polyculture.studies.only_if_tasks import TASKS, USUAL, Restricted, Rewriting, Specialist, make_task
from polyculture.studies.sequence_models import Training

TINY = Training.of("encoder", width=8, heads=2, layers=1, steps=2, batch_size=8, device="cpu")
SMALL = Rewriting(alphabet=8, held_out=8, length=(5, 5))


def rules_of(examples: Any) -> set[tuple[str, str]]:
    return {(e.x, e.y) for e in examples}


@pytest.mark.parametrize("name", list(TASKS))
def test_tests_share_nothing_with_training(name: str) -> None:
    task = make_task(name, held_out=6)
    data = task.data(12, 240, 60, 3)
    assert len(data.train) == 240 and len(data.seen) == len(data.unseen) == 60
    keys = [{(e.s, e.x, e.y) for e in part} for part in (data.train, data.seen, data.unseen)]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert rules_of(data.seen) <= rules_of(data.train)
    if name == "specialist":
        assert len(rules_of(data.train)) == data.rules == 18 and rules_of(data.unseen) <= rules_of(data.train)
        assert max(len(e.s) for e in data.unseen) > max(len(e.s) for e in data.seen)
    else:
        assert len(rules_of(data.train)) == data.rules == 12 and not rules_of(data.unseen) & rules_of(data.train)
        assert len(rules_of(data.unseen)) == 6
    assert rules_of(task.data(5, 240, 60, 3).unseen) == rules_of(data.unseen)
    assert rules_of(task.data(5, 240, 60, 3).train) <= rules_of(data.train)
    assert task.data(12, 240, 60, 3).train == data.train != task.data(12, 240, 60, 4).train
    assert bool(data.no_op) == (name == "conditional") and all(e.no_op for e in data.no_op)


def test_a_domain_is_kept_apart() -> None:
    data = Rewriting().data(180, 360, 120, 0, narrow=True)
    trained, tested = {e.x for e in data.train}, {e.x for e in data.unseen}
    assert len(trained) == 12 and len(tested) == 4 and not trained & tested
    assert len(rules_of(data.unseen)) == 60
    with pytest.raises(BadInput, match="no domains"):
        Restricted().data(5, 50, 10, 0, narrow=True)


def test_a_peaked_skew_counts_the_rules_that_have_examples() -> None:
    data = Rewriting(skew=0.03).data(100, 200, 50, 0)
    assert data.rules == len(rules_of(data.train)) < 60


def test_restricted_rules_are_tested_at_low_strength() -> None:
    data = Restricted(family="repeat").data(10, 60, 30, 0)
    assert {len(e.x) for e in data.train} <= {6, 8} and {len(e.x) for e in data.unseen} <= {2, 4}


def test_a_specialist_without_other_rules() -> None:
    data = Specialist().data(0, 40, 8, 0)
    assert data.rules == 4 and len(data.train) == 40
    with pytest.raises(BadInput, match="test_depth above depth"):
        Specialist(test_depth=1).data(0, 40, 8, 0)


def test_tasks_by_name() -> None:
    assert make_task("conditional", alphabet=9, skew=None) == TASKS["conditional"](alphabet=9)  # type: ignore[call-arg]
    assert set(USUAL) == set(TASKS)
    with pytest.raises(UnknownMethod, match="did you mean 'algebra'"):
        make_task("algebr")
    with pytest.raises(BadInput, match="--no-op is no option of task algebra; it has --depth"):
        make_task("algebra", no_op=0.1)
    with pytest.raises(BadInput, match="at least 1 rules"):
        Rewriting().data(0, 10, 10, 0)
    with pytest.raises(BadInput, match="2 to 62"):
        Rewriting(alphabet=1).data(1, 10, 10, 0)
    with pytest.raises(BadInput, match="there are 240"):
        Rewriting().data(200, 300, 10, 0)


def test_a_sweep_with_its_controls() -> None:
    told = []
    found = sweep(
        SMALL, (12, 3), budget=30, seeds=(0, 1), training=TINY, test_size=10, progress=lambda *args: told.append(args)
    )
    assert [p.rules for p in found.points] == [3, 12]
    assert all([c.seed for c in p.cells] == [0, 1] for p in found.points)
    assert found.controls[LARGER].cells[0].budget == 120 and found.controls[LARGER].rules == 3
    assert found.controls[NARROW].rules == 12
    assert found.trained == 8 and found.kept == 0
    assert told[0] == ("model 1 of 8: 3 rules, seed 0", 0, 2)
    assert len({what for what, done, total in told if done == total}) == 8
    assert {curve.name for curve in found.plot.curves} == {
        "seen rules",
        "unseen rules",
        f"unseen, {NARROW}",
        f"unseen, {LARGER}",
    }


def test_a_control_that_can_t_be_had_is_told() -> None:
    found = sweep(SMALL, (46,), budget=46, seeds=(0,), training=TINY, test_size=8)
    assert NARROW not in found.controls and "there are 42" in found.notes[0]


def cell(rules: int, unseen: float, seed: int = 0) -> Cell:
    return Cell(rules, seed, 10, "", rules, 1.0, unseen, None, 0.1, 1.0)


def test_the_crossing_is_of_the_mean() -> None:
    points = (
        Point(3, (cell(3, 0.9), cell(3, 0.0, 1))),
        Point(9, (cell(9, 0.7), cell(9, 0.3, 1))),
        Point(20, (cell(20, 1.0), cell(20, 0.9, 1))),
    )
    assert Study(points, {}, 0.5, "", 0).crossing == 9
    assert Study(points, {}, 0.4, "", 0).crossing == 3
    assert Study(points, {}, 0.99, "", 0).crossing is None
    assert (share([0.9, 0.0]).low, share([0.9, 0.0]).high) == (0.0, 1.0)


def test_what_is_there_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    whole = only_if.run_cell

    def counted(task: Any, n: int, budget: int, seed: int, *more: Any, **also: Any) -> Cell:
        made.append((n, seed))
        if made == [(3, 0), (3, 1)]:
            raise KeyboardInterrupt
        return whole(task, n, budget, seed, *more, **also)

    monkeypatch.setattr(only_if, "run_cell", counted)
    common: dict[str, Any] = {"budget": 30, "training": TINY, "test_size": 10, "controls": False, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        sweep(SMALL, (3,), seeds=(0, 1), **common)
    first = sweep(SMALL, (3,), seeds=(0, 1), **common)
    assert made == [(3, 0), (3, 1), (3, 1)] and first.kept == 1
    more = sweep(SMALL, (3, 5), seeds=(0, 1), **common)
    assert made[3:] == [(5, 0), (5, 1)] and more.kept == 2 and more.points[0].cells == first.points[0].cells
    held = json.loads((tmp_path / "results.json").read_text())
    assert [p["rules"] for p in held["points"]] == [3, 5] and held["crossing"] is None
    with pytest.raises(BadInput, match="made with other alphabet, budget;"):
        sweep(Rewriting(alphabet=9, held_out=8, length=(5, 5)), (3,), **{**common, "budget": 40})


def test_a_broken_cell_is_trained_again(tmp_path: Path) -> None:
    common: dict[str, Any] = {"budget": 20, "training": TINY, "test_size": 8, "controls": False, "folder": tmp_path}
    sweep(SMALL, (3,), seeds=(0,), **common)
    [path] = (tmp_path / "cells").glob("*.json")
    path.write_text("{")
    assert sweep(SMALL, (3,), seeds=(0,), **common).trained == 1
    (tmp_path / "settings.json").write_text("no")
    with pytest.raises(BadInput, match="is not JSON"):
        sweep(SMALL, (3,), seeds=(0,), **common)


def test_sweeps_that_make_no_sense() -> None:
    for wrong in ({"rules": ()}, {"seeds": ()}, {"test_size": 0}, {"threshold": 0.0}):
        with pytest.raises(BadInput, match="a sweep needs"):
            sweep(SMALL, **{"rules": (3,), "training": TINY, **wrong})  # type: ignore[arg-type]


def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    common: dict[str, Any] = {"budget": 30, "training": TINY, "test_size": 10}
    one = sweep(SMALL, (3, 12), seeds=(0,), **common)
    sweep(SMALL, (3,), seeds=(0,), controls=False, folder=tmp_path, **common)
    two = sweep(
        SMALL, (3, 12), seeds=(0,), folder=tmp_path, processes=2, progress=lambda *args: told.append(args), **common
    )
    assert (two.trained, two.kept) == (3, 1) and told[0] == ("models", 1, 4) and told[-1] == ("models", 4, 4)
    assert one.to_dict() == two.to_dict()
    assert len(list((tmp_path / "cells").glob("*.json"))) == 4
    with pytest.raises(BadInput, match="0 processes"):
        sweep(SMALL, (3,), processes=0, training=TINY)
