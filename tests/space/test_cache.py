"""The vector cache: what is put comes back, several processes may use it, and a bad one is done without."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from polyculture.space.cache import CacheWarning, VectorCache, cache_folder, default_cache, keys_of


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    keys = keys_of([f"text {i}" for i in range(2500)], "model")
    X = np.random.default_rng(0).standard_normal((2500, 8)).astype(np.float32)
    with VectorCache(tmp_path / "deep" / "folder") as cache:
        cache.put(keys[:2000], X[:2000])
    with VectorCache(tmp_path / "deep" / "folder") as cache:
        found = cache.get(keys)
        assert len(found) == len(cache) == 2000
        np.testing.assert_array_equal(np.stack([found[k] for k in keys[:2000]]), X[:2000])


def test_keys_depend_on_text_and_model() -> None:
    a, b = keys_of(["x", "y"], "model")
    assert len(a) == 16 and a != b
    assert keys_of(["x"], "other") != [a] and keys_of(["x"], "model") == [a]
    assert keys_of(["\ud800"], "model")  # a lone surrogate has a key too


def test_damaged_entries_count_as_absent(tmp_path: Path) -> None:
    key, other, third = keys_of(["a", "b", "c"], "m")
    with VectorCache(tmp_path) as cache:
        cache.put([key], np.ones((1, 3)))
        cache.put([third], np.full((1, 3), np.nan))
        assert cache.path is not None
        with sqlite3.connect(cache.path) as database:
            database.execute("INSERT INTO vectors VALUES (?, ?)", (other, b"12345"))
        assert list(cache.get([key, other, third])) == [key]


def _write(folder: str, start: int) -> None:
    with VectorCache(Path(folder)) as cache:
        for i in range(start, start + 30):
            cache.put(keys_of([str(i)], "m"), np.full((1, 4), i))


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(tmp_path), 20 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with VectorCache(tmp_path) as cache:
        assert len(cache) == 70


def test_a_cache_that_cannot_be_opened_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(CacheWarning, match="can't be opened.*going on without it"):
        cache = VectorCache(tmp_path / "file" / "cache")
    cache.put([b"k" * 16], np.ones((1, 2)))
    assert cache.get([b"k" * 16]) == {} and len(cache) == 0


def test_a_corrupt_file_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.warns(CacheWarning, match=r"vectors\.sqlite can't be .*Delete it if it is damaged"):
        cache = VectorCache(tmp_path)
        assert cache.get([b"k" * 16]) == {}


def test_a_table_of_another_shape_is_done_without(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "vectors.sqlite") as database:
        database.execute("CREATE TABLE vectors (something INTEGER)")
    cache = VectorCache(tmp_path)
    with pytest.warns(CacheWarning, match="can't be read"):
        assert cache.get([b"k" * 16]) == {}


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POLYCULTURE_CACHE", str(tmp_path))
    assert default_cache() == tmp_path == cache_folder("default")
    monkeypatch.delenv("POLYCULTURE_CACHE")
    assert default_cache() == Path.home() / ".cache" / "polyculture"
    assert cache_folder(None) is None and cache_folder("here") == Path("here")
