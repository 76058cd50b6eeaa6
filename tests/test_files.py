from __future__ import annotations

import errno
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, RunLocked
from polyculture.files import atomic, content_hash, locked, plain, write_json


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with atomic(path) as file:
        file.write("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as file:
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_full_disk_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match=r"can't write .*x\.json: No space left on device; choose another folder"):
        write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(BadInput, match="can't write"):
        write_json(tmp_path / "a" / "x.json", {})


def test_json_has_no_numpy_and_no_nan(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json", {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": np.inf, "e": tmp_path}
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": 0.5,
        "b": [0, 1],
        "c": None,
        "d": "inf",
        "e": str(tmp_path),
    }
    assert plain(-np.inf) == "-inf"


def test_a_hash_knows_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    one = content_hash(tmp_path)
    assert one == content_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_hash(tmp_path) != one


def _hold(folder: str, ready: object, go: object) -> None:
    with locked(Path(folder)):
        ready.set()  # type: ignore[attr-defined]
        go.wait(10)  # type: ignore[attr-defined]


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    holder.start()
    assert ready.wait(20)
    try:
        with pytest.raises(RunLocked, match=f"in use by process {holder.pid}"), locked(tmp_path):
            pass
    finally:
        go.set()
        holder.join()
    with locked(tmp_path):
        pass
