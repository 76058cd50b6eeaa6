"""The demonstration data: what is promised of it is true of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from polyculture.datasets import SHARES, make_instructions, write_instructions
from polyculture.errors import BadInput
from polyculture.space.embed import embed_texts
from polyculture.space.neighbors import nearest_neighbors


def test_same_seed_same_records() -> None:
    assert make_instructions(300, seed=4) == make_instructions(300, seed=4)
    assert make_instructions(300, seed=4) != make_instructions(300, seed=5)
    assert make_instructions(0) == []
    with pytest.raises(BadInput, match="n should be 0 or more"):
        make_instructions(-1)


def test_kinds_topics_and_quality() -> None:
    records = make_instructions()
    assert len(records) == 2000 and len({r["id"] for r in records}) == 2000
    kinds = Counter(r["kind"] for r in records)
    for kind, share in SHARES.items():
        assert kinds[kind] / 2000 == pytest.approx(share, abs=0.04)
    topics = Counter(r["topic"] for r in records)
    assert len(topics) == 24 and len({r["domain"] for r in records}) == 6
    assert topics.most_common(1)[0][1] > 10 * min(topics.values())
    low = {"good": 0.6, "plain": 0.25, "duplicate": 0.0, "junk": 0.0}
    high = {"good": 1.0, "plain": 0.55, "duplicate": 1.0, "junk": 0.1}
    assert all(low[r["kind"]] <= r["quality"] <= high[r["kind"]] for r in records)
    fresh = [r["prompt"] for r in records if r["kind"] in ("good", "plain")]
    assert len(set(fresh)) == len(fresh)
    assert not any("{" in p or "}" in p for p in fresh)


def test_duplicates_name_their_original() -> None:
    records = make_instructions()
    by_id = {r["id"]: r for r in records}
    for r in records:
        assert (r["duplicate_of"] is not None) == (r["kind"] == "duplicate")
        if r["kind"] == "duplicate":
            original = by_id[r["duplicate_of"]]
            assert original["kind"] in ("good", "plain") and original["id"] < r["id"]
            assert r["topic"] == original["topic"] and r["prompt"] != original["prompt"]
            assert r["quality"] < original["quality"]


def test_topics_are_apart_and_duplicates_near() -> None:
    records = [r for r in make_instructions(1000) if r["kind"] != "junk"]
    X = embed_texts([f"{r['prompt']}\n{r['response']}" for r in records], "tfidf", cache=None)
    _, near = nearest_neighbors(X, 5)
    topics = np.array([r["topic"] for r in records])
    assert (topics[near] == topics[:, None]).mean() > 0.9
    place = {r["id"]: i for i, r in enumerate(records)}
    pairs = [(i, place[r["duplicate_of"]]) for i, r in enumerate(records) if r["duplicate_of"]]
    assert np.mean([np.dot(X[i], X[j]) for i, j in pairs]) > 0.9


def test_written_as_json_lines(tmp_path: Path) -> None:
    write_instructions(tmp_path / "demo.jsonl", 50, seed=1)
    lines = (tmp_path / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == make_instructions(50, seed=1)
