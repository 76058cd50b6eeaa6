"""Scorers: what turns a pool into one quality a row, higher is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from polyculture.engine.base import Engine
from polyculture.engine.local import LocalEngine
from polyculture.errors import BadInput, unknown
from polyculture.functions import PREFIX, named_function
from polyculture.methods import build, table
from polyculture.pool import Pool
from polyculture.progress import Progress, silent
from polyculture.space.cache import VectorCache, cache_folder, keys_of

BLOCK = 512
"""Rows of a block when a scorer looks at each row alone."""


@runtime_checkable
class Scorer(Protocol):
    """Scores a pool.

    Two attributes may be added. ``per_text = True`` says that a row's score depends on its text alone: then blocks of
    rows are scored in parallel and progress is told; where it depends on other columns, ``row_texts(pool)`` gives one
    string a row that says all it depends on. ``identity``, a string that tells apart two scorers of one name
    (the hash of a model and its settings), lets the scores of such a scorer be cached.
    """

    @property
    def name(self) -> str:
        """What reports call it."""

    def score(self, pool: Pool) -> np.ndarray:
        """One float64 a row, (n,), finite, higher is better."""


@dataclass(frozen=True)
class LengthQuality:
    """The number of characters of the text: the baseline that every quality score should beat.

    Args:
        most: longer texts score no more than this; None sets no limit.
    """

    most: int | None = None

    @property
    def name(self) -> str:
        """What reports call it."""
        return "length"

    def score(self, pool: Pool) -> np.ndarray:
        """Characters of each text, (n,) float64."""
        pool.need("texts")
        assert pool.texts is not None
        lengths = pool.texts.lengths().astype(np.float64)
        return lengths if self.most is None else np.minimum(lengths, self.most)


@dataclass(frozen=True)
class FunctionQuality:
    """A function from a list of texts to a number for each; it is handed the whole pool.

    Args:
        function: texts -> (n,) numbers.
        name: what reports call it.
    """

    function: Callable[[list[str]], Any]
    name: str = "function"

    def score(self, pool: Pool) -> np.ndarray:
        """What the function gives, (n,) float64."""
        pool.need("texts")
        assert pool.texts is not None
        return np.asarray(self.function(pool.texts.to_list()), dtype=np.float64)


def make_scorer(spec: str | Scorer | Callable[[list[str]], Any], **options: Any) -> Scorer:
    """A scorer by name.

    Args:
        spec: a name of the quality methods ("heuristic", "length", ...), or "python:module:function" of a list of
            texts. A callable is wrapped; a scorer is given back.
        options: hyper-parameters of the named scorer.

    Raises:
        UnknownMethod: no scorer, or no option, of that name.
        BadInput: the function can't be imported.
    """
    if not isinstance(spec, str):
        if isinstance(spec, Scorer):
            return spec
        if callable(spec):
            return FunctionQuality(spec, getattr(spec, "__name__", "function"))
        raise BadInput(f"a scorer should be a name, a Scorer or a function, not {type(spec).__name__}")
    if spec.startswith(PREFIX):
        return FunctionQuality(named_function(spec), spec)
    if spec not in table("quality"):
        raise unknown("scorer", spec, (*table("quality"), "python:module:function"))
    scorer: Scorer = build("quality", spec, **options)
    return scorer


def score_pool(
    pool: Pool,
    spec: str | Scorer | Callable[[list[str]], Any] = "heuristic",
    *,
    engine: Engine | None = None,
    cache: Path | str | Literal["default"] | None = "default",
    progress: Progress = silent,
) -> Pool:
    """The pool with a quality for each row.

    Args:
        pool: with what the scorer needs, texts as a rule.
        spec: a name, a scorer or a function, see :func:`make_scorer`.
        engine: where a scorer that looks at each row alone runs; None runs it in this process.
        cache: folder of the cache for scorers that can be cached; "default" is ``$POLYCULTURE_CACHE`` or
            ``~/.cache/polyculture``, None keeps nothing.
        progress: told how many rows are done.

    Raises:
        BadInput: the pool lacks a field, or the scorer gave another number of scores, NaN or infinity.
    """
    scorer = make_scorer(spec)
    what = f"scoring ({scorer.name})"
    if len(pool) and getattr(scorer, "per_text", False):
        texts = scorer.row_texts(pool) if hasattr(scorer, "row_texts") else _texts(pool)
        identity = getattr(scorer, "identity", None)
        with VectorCache(cache_folder(cache) if identity is not None else None) as held:
            scores = _by_text(
                pool, texts, scorer, f"{scorer.name}\n{identity}", held, engine or LocalEngine(), progress, what
            )
    else:
        progress(what, 0, len(pool))
        scores = _checked(scorer.score(pool), pool, scorer)
        progress(what, len(pool), len(pool))
    return pool.with_(quality=scores)


def _texts(pool: Pool) -> Iterable[str]:
    pool.need("texts")
    assert pool.texts is not None
    return pool.texts


def _by_text(
    pool: Pool,
    texts: Iterable[str],
    scorer: Scorer,
    identity: str,
    held: VectorCache,
    engine: Engine,
    progress: Progress,
    what: str,
) -> np.ndarray:
    keys = keys_of(texts, identity)
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    # The cache holds float32; a score is a float64 kept as its two halves.
    found = {key: _whole(parts) for key, parts in held.get(list(first)).items() if len(parts) == 2}
    missing = [key for key in first if key not in found]
    blocks = [missing[start : start + BLOCK] for start in range(0, len(missing), BLOCK)]
    parts = (pool.take([first[key] for key in block]) for block in blocks)
    done = len(first) - len(missing)
    progress(what, done, len(first))
    for block, scores in zip(blocks, engine.map(_Worker(scorer), parts), strict=True):
        held.put(block, _halves(scores))
        found.update(zip(block, scores.tolist(), strict=True))
        done += len(block)
        progress(what, done, len(first))
    return np.fromiter((found[key] for key in keys), dtype=np.float64, count=len(keys))


class _Worker:
    """Makes a scoring function where it is called."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self) -> Callable[[Pool], np.ndarray]:
        return lambda pool: _checked(self._scorer.score(pool), pool, self._scorer)


def _halves(scores: np.ndarray) -> np.ndarray:
    high = scores.astype(np.float32)
    return np.stack([high, (scores - high).astype(np.float32)], axis=1)


def _whole(halves: np.ndarray) -> float:
    return float(halves.astype(np.float64).sum())


def _checked(scores: Any, pool: Pool, scorer: Scorer) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(pool),):
        raise BadInput(f"scorer '{scorer.name}' gave an array of shape {scores.shape} for {len(pool)} rows")
    if not np.isfinite(scores).all():
        raise BadInput(f"scorer '{scorer.name}' gave NaN or infinity for row {np.argmin(np.isfinite(scores)) + 1}")
    return scores
