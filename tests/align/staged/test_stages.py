import json
import subprocess
import sys
import textwrap
import threading

import pytest

from polyculture.align.staged.stages import StagedRun, TrainedStage, model_identity, train_stages
from polyculture.errors import BadInput, RunLocked, UnknownMethod
from polyculture.files import locked

ROWS = [[{"prompt": "a", "n": 1}], [{"prompt": "b", "n": 2}, {"prompt": "c", "n": 3}], [{"prompt": "d", "n": 4}]]


class Adding:
    """A training whose model is a number: what it began with plus the sum of the rows."""

    def __init__(self, stop_in=None):
        self.calls, self.stop_in, self.checkpoints = [], stop_in, []

    def __call__(self, rows, model, reference, out):
        self.calls.append((len(rows), number(model), number(reference), out.name))
        self.checkpoints.append((out / "checkpoint-1").exists())
        (out / "checkpoint-1").mkdir(exist_ok=True)
        if len(self.calls) == self.stop_in:
            raise KeyboardInterrupt
        save(out, number(model) + sum(row["n"] for row in rows))
        return TrainedStage(out, {"loss": 1 / len(self.calls)})


def save(folder, value):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "model.safetensors").write_text(str(value))
    (folder / "config.json").write_text("{}")
    return folder


def number(folder):
    from pathlib import Path

    return int((Path(folder) / "model.safetensors").read_text())


@pytest.fixture
def base(tmp_path):
    return save(tmp_path / "base", 100)


def test_each_stage_begins_with_the_last_and_takes_it_as_reference(tmp_path, base):
    training, seen = Adding(), []
    run = train_stages(ROWS, training, tmp_path / "out", model=base, progress=lambda *said: seen.append(said))
    assert training.calls == [(1, 100, 100, "stage-1"), (2, 101, 101, "stage-2"), (1, 106, 106, "stage-3")]
    assert run.model == tmp_path / "out" / "stage-3" and number(run.model) == 110
    assert [stage.status for stage in run.stages] == ["done"] * 3 and [stage.rows for stage in run.stages] == [1, 2, 1]
    assert run.stages[1].reference == run.stages[1].began_with == str(tmp_path / "out" / "stage-1")
    assert run.stages[0].metrics == {"loss": 1.0} and run.stages[0].kl_to_base is None
    assert seen == [("stages", t, 3) for t in range(4)]
    summary = json.loads((tmp_path / "out" / "stages.json").read_text())
    assert summary["base"] == str(base) and [stage["number"] for stage in summary["stages"]] == [1, 2, 3]
    lines = (tmp_path / "out" / "stage-2" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS[1]


def test_the_reference_can_stay_the_base(tmp_path, base):
    training = Adding()
    train_stages(ROWS, training, tmp_path / "out", model=base, update_reference="never")
    assert [(model, reference) for _, model, reference, _ in training.calls] == [(100, 100), (101, 100), (106, 100)]


@pytest.mark.parametrize(("update", "against"), [("each_stage", [50, 101, 106]), ("never", [50, 50, 50])])
def test_the_first_reference_can_be_another_model(tmp_path, base, update, against):
    training = Adding()
    other = save(tmp_path / "other", 50)
    train_stages(ROWS, training, tmp_path / "out", model=base, reference=other, update_reference=update)
    assert [reference for *_, reference, _ in training.calls] == against


def test_finished_stages_are_kept(tmp_path, base):
    train_stages(ROWS, Adding(), tmp_path / "out", model=base, settings={"beta": 0.1})
    again = Adding()
    run = train_stages(ROWS, again, tmp_path / "out", model=base, settings={"beta": 0.1})
    assert not again.calls and [stage.status for stage in run.stages] == ["kept"] * 3 and number(run.model) == 110
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)
    assert [s.status for s in train_stages(ROWS, again, moved, model=base, settings={"beta": 0.1}).stages] == [
        "kept"
    ] * 3


@pytest.mark.parametrize(
    ("change", "trained"),
    [
        ({"settings": {"beta": 0.2}}, ["stage-1", "stage-2", "stage-3"]),
        ({"stages": [ROWS[0], ROWS[1], [{"prompt": "d", "n": 5}]]}, ["stage-3"]),
        ({"stages": [ROWS[0], [{"prompt": "b", "n": 9}], ROWS[2]]}, ["stage-2", "stage-3"]),
        # The same sum: stage 2 ends where it did, so stage 3 has nothing new.
        ({"stages": [ROWS[0], [{"prompt": "b", "n": 5}], ROWS[2]]}, ["stage-2"]),
        ({"update_reference": "never"}, ["stage-2", "stage-3"]),
        ({"stages": ROWS[:2]}, []),
    ],
)
def test_only_what_stands_on_a_change_is_trained_again(tmp_path, base, change, trained):
    train_stages(ROWS, Adding(), tmp_path / "out", model=base, settings={"beta": 0.1})
    again = Adding()
    how = {"stages": ROWS, "settings": {"beta": 0.1}, "model": base} | change
    train_stages(how.pop("stages"), again, tmp_path / "out", **how)
    assert [folder for *_, folder in again.calls] == trained and not any(again.checkpoints)


def test_another_base_trains_all_again(tmp_path, base):
    train_stages(ROWS, Adding(), tmp_path / "out", model=base)
    save(base, 200)
    again = Adding()
    assert number(train_stages(ROWS, again, tmp_path / "out", model=base).model) == 210 and len(again.calls) == 3


def test_a_stopped_stage_goes_on_from_its_checkpoint(tmp_path, base):
    stopped = Adding(stop_in=2)
    with pytest.raises(KeyboardInterrupt):
        train_stages(ROWS, stopped, tmp_path / "out", model=base)
    again = Adding()
    run = train_stages(ROWS, again, tmp_path / "out", model=base)
    assert [folder for *_, folder in again.calls] == ["stage-2", "stage-3"]
    assert again.checkpoints == [True, False] and [s.status for s in run.stages] == ["kept", "done", "done"]


def test_a_checkpoint_of_other_rows_is_not_gone_on_from(tmp_path, base):
    with pytest.raises(KeyboardInterrupt):
        train_stages(ROWS, Adding(stop_in=2), tmp_path / "out", model=base)
    again = Adding()
    train_stages([ROWS[0], ROWS[2]], again, tmp_path / "out", model=base)
    assert again.checkpoints == [False]


def test_rows_can_be_made_with_the_model_of_the_stage_before(tmp_path, base):
    asked = []

    def make(t, model):
        asked.append((t, number(model)))
        return [{"n": number(model) * t}]

    run = train_stages(make, Adding(), tmp_path / "out", model=base, iterations=3)
    assert asked == [(1, 100), (2, 200), (3, 600)] and number(run.model) == 2400
    train_stages(make, Adding(), tmp_path / "out", model=base, iterations=3)
    assert len(asked) == 3, "what was made is kept"


def test_made_rows_outlive_a_stop(tmp_path, base):
    asked = []

    def make(t, model):
        asked.append(t)
        return [{"n": len(asked)}]

    with pytest.raises(KeyboardInterrupt):
        train_stages(make, Adding(stop_in=2), tmp_path / "out", model=base, iterations=2)
    run = train_stages(make, Adding(), tmp_path / "out", model=base, iterations=2)
    assert asked == [1, 2] and number(run.model) == 103


def test_making_that_fails_leaves_the_earlier_stage_as_it_was(tmp_path, base):
    train_stages(ROWS, Adding(), tmp_path / "out", model=base)

    def broken(t, model):
        raise RuntimeError("no judge")

    with pytest.raises(RuntimeError, match="no judge"):
        train_stages(broken, Adding(), tmp_path / "out", model=base, iterations=1)
    assert number(tmp_path / "out" / "stage-1") == 101


def test_the_distance_to_the_original_base_is_kept_with_each_stage(tmp_path, base):
    measured = []

    def distance(model):
        measured.append(number(model))
        return number(model) - 100.0

    train_stages(ROWS, Adding(), tmp_path / "out", model=base)
    run = train_stages(ROWS, Adding(), tmp_path / "out", model=base, kl_to_base=distance)
    assert [stage.kl_to_base for stage in run.stages] == [1.0, 6.0, 10.0]
    train_stages(ROWS, Adding(), tmp_path / "out", model=base, kl_to_base=distance)
    assert measured == [101, 106, 110]


def test_a_hub_id_is_its_own_identity_and_a_folder_its_content(tmp_path, base):
    assert model_identity("org/name") == "org/name"
    first = model_identity(str(base))
    (base / "notes.md").write_text("read me")
    (base / "checkpoint-3").mkdir()
    assert model_identity(str(base)) == first
    (base / "config.json").write_text("{ }")
    assert model_identity(str(base)) != first


def test_what_can_not_be_trained_is_said(tmp_path, base):
    out = tmp_path / "out"
    with pytest.raises(BadInput, match="there are no stages"):
        train_stages([], Adding(), out, model=base)
    with pytest.raises(BadInput, match="how many iterations"):
        train_stages(lambda t, model: [], Adding(), out, model=base)
    with pytest.raises(BadInput, match="stage 2 has no rows"):
        train_stages([ROWS[0], []], Adding(), out, model=base)
    with pytest.raises(UnknownMethod, match="did you mean 'never'"):
        train_stages(ROWS, Adding(), out, model=base, update_reference="nevr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty: there is no model in it"):
        train_stages(ROWS, Adding(), out, model=tmp_path / "empty")
    with pytest.raises(BadInput, match="should be saved in its folder"):
        train_stages(ROWS, lambda rows, m, r, o: TrainedStage(base), tmp_path / "other", model=base)
    with locked(out):
        with pytest.raises(RunLocked):
            train_stages(ROWS, Adding(), out, model=base)
        assert number(train_stages(ROWS, Adding(), out, model=base, lock=False).model) == 110


def test_a_missing_or_damaged_stage_is_named(tmp_path, base):
    import shutil

    out = tmp_path / "out"
    train_stages(ROWS[:2], Adding(), out, model=base)
    (out / "stage-2" / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match=r"stage-2/manifest.json: is damaged .* remove"):
        train_stages(ROWS[:2], Adding(), out, model=base)
    shutil.rmtree(out / "stage-2")
    (out / "stage-1").rename(tmp_path / "away")
    (out / "stage-1").mkdir()
    shutil.copy(tmp_path / "away" / "manifest.json", out / "stage-1")
    with pytest.raises(BadInput, match="stage-1: the model is gone or was changed"):
        train_stages(ROWS[:2], Adding(), out, model=base)


def test_several_processes_train_together_and_one_writes(tmp_path, base):
    barrier, asked, runs = threading.Barrier(2), [], {}

    def make(t, model):
        asked.append(threading.current_thread().name)
        return [{"n": t}]

    def training(main):
        def train_one(rows, model, reference, out):
            if main:
                save(out, number(model) + rows[0]["n"])
            return TrainedStage(out)

        return train_one

    def work(main):
        runs[main] = train_stages(
            make, training(main), tmp_path / "out", model=base, iterations=2, main=main, wait=lambda: barrier.wait(10)
        )

    threads = [threading.Thread(target=work, args=(main,), name=str(main)) for main in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == ["True", "True"] and isinstance(runs[False], StagedRun)
    assert number(runs[True].model) == 103 and runs[True].stages == runs[False].stages


def test_a_killed_process_loses_only_the_stage_in_flight(tmp_path, base):
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from polyculture.align.staged.stages import TrainedStage, train_stages

        def train_one(rows, model, reference, out):
            if out.name == "stage-2":
                (out / "checkpoint-1").mkdir()
                os.kill(os.getpid(), signal.SIGKILL)
            (out / "model.safetensors").write_text("7")
            return TrainedStage(out)

        train_stages({ROWS!r}, train_one, {str(tmp_path / "out")!r}, model={str(base)!r})
    """)
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    again = Adding()
    run = train_stages(ROWS, again, tmp_path / "out", model=base)
    assert again.checkpoints == [True, False] and number(run.model) == 7 + 5 + 4
