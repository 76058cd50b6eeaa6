"""Measure a pool: every measure that what it holds allows, each with an interval where one can be had.

A measure says what it needs by the names of its arguments without a default, so that adding one to the table is all
it takes for it to be used here.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polyculture.errors import BadInput, MissingExtra
from polyculture.measure.estimate import Estimate
from polyculture.measure.jackknife import GROUPS, interval, random_groups, vendi_left_out
from polyculture.methods import build, inputs, table
from polyculture.pool import Pool
from polyculture.progress import Progress, silent

EVERY = 10**12
"""No limit on rows."""

DEFAULT: Mapping[str, tuple[int, int]] = {
    "vendi": (EVERY, EVERY),
    "vendi-orders": (EVERY, EVERY),
    "intdiv": (EVERY, 100_000),
    "mean-nn-distance": (20_000, 0),
    "frontier": (EVERY, 0),
    "mean-reward": (EVERY, EVERY),
    "reward-quantile": (EVERY, 0),
    "ngram-vendi": (1_000, 0),
    "distinct": (200_000, 1_000),
    "ngram-diversity": (200_000, 1_000),
    "self-repetition": (200_000, 1_000),
    "mattr": (200_000, 5_000),
    "compression-ratio": (200_000, 1_000),
    "self-bleu": (2_000, 0),
    "rouge-l-homogenization": (2_000, 0),
    "group-balance": (EVERY, 100_000),
    "length": (EVERY, 10_000),
    "tag-entropy": (EVERY, 10_000),
    "effective-tags": (EVERY, 10_000),
    "perplexity": (EVERY, 10_000),
}
"""The measures taken where none are named: rows up to which each is taken, rows up to which it gets an interval.

Together they take seconds at 10 000 rows and minutes at a million. Intervals are for smooth measures: the nearest
neighbour, a rank, or the frontier's order change by jumps when rows are left out, which a jackknife gets wrong.
"""

SMOOTH_BUT_SLOW: Mapping[str, int] = {
    "intdiv-kernel": 5_000,
    "vendi-kernel": 500,
    "mean-pairwise-distance": 100_000,
    "remote-clique": 100_000,
    "distinct-n": 2_000,
    "ead": 1_000,
    "lexical-diversity": 5_000,
    "mtld": 5_000,
    "ngram-cosine-diversity": 1_000,
    "mean-tags": 10_000,
}
"""Measures outside the default set that get an interval, with the rows up to which."""

REMEDIES = {
    "X": "embeddings; give --embedder",
    "texts": "texts; name their column with --text",
    "quality": "quality; give --quality",
    "groups": "groups; give --groups",
}


@dataclass(frozen=True)
class Value:
    """One number: the value, and the ends of its 95 % interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Measurement:
    """What a pool measures.

    Args:
        values: by measure, or by measure.part where a measure gives several numbers.
        skipped: the measures that were not taken, with the reason.
        notes: what the measures warned of, by measure.
        n: rows of the pool.
        source: of the pool.
        embedder: what made its embeddings.
    """

    values: Mapping[str, Value]
    skipped: Mapping[str, str]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    n: int = 0
    source: str = ""
    embedder: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The measurement as JSON-able values."""
        from polyculture.files import plain

        return plain(dataclasses.asdict(self))


def measure_pool(
    pool: Pool,
    names: Sequence[str] | None = None,
    *,
    hyper: Mapping[str, Mapping[str, Any]] = {},
    extra: Mapping[str, Any] = {},
    intervals: bool = True,
    rng: np.random.Generator | int | None = 0,
    progress: Progress = silent,
) -> Measurement:
    """Take measures of a pool.

    Args:
        pool: what to measure; a measure whose inputs it lacks is skipped, with the reason.
        names: of measures; None takes the default set, less what is quadratic in the rows where they are many.
        hyper: options by measure: ``{"vendi": {"q": 2}}``.
        extra: inputs that a pool does not hold, by name: K, tags, logits, token_logprobs, outputs, measures.
        intervals: give smooth measures a 95 % interval, by leaving out each of 20 random groups of rows.
        rng: of the groups, and of measures that draw: a Generator, or a seed.
        progress: called before each measure with its name.

    Raises:
        BadInput: the pool is empty.
        UnknownMethod: no measure, or no option, of that name.
    """
    if len(pool) == 0:
        raise BadInput(f"{pool.source}: the pool is empty; there is nothing to measure")
    known = table("measure")
    chosen = [name for name in DEFAULT if name in known] if names is None else list(dict.fromkeys(names))
    for name in [*chosen, *hyper]:
        known.target(name)
    seed = int(np.random.default_rng(rng).integers(2**63)) if not isinstance(rng, int) else rng
    held = _held(pool, extra)
    values: dict[str, Value] = {}
    skipped: dict[str, str] = {}
    notes: dict[str, Sequence[str]] = {}
    for done, name in enumerate(chosen):
        progress(name, done, len(chosen))
        needed = inputs(known[name])
        absent = [need for need in needed if need not in held]
        if absent:
            skipped[name] = f"the pool has no {', '.join(REMEDIES.get(need, need) for need in absent)}"
            continue
        if names is None and len(pool) > DEFAULT[name][0]:
            skipped[name] = (
                f"not among the defaults above {DEFAULT[name][0]} rows, where it is slow; name it to take it"
            )
            continue
        arguments = {need: held[need] for need in needed}
        measure = build("measure", name, **hyper.get(name, {}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = _numbers(name, _call(measure, arguments, seed, progress))
                if intervals:
                    found = _with_intervals(name, found, measure, arguments, seed)
            except (BadInput, MissingExtra) as error:
                skipped[name] = str(error)
                continue
        said = tuple(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))
        undefined = [key for key, value in found.items() if np.isnan(value.value)]
        for key in undefined:
            skipped[key] = "; ".join(said) or "it is not defined for this pool"
        values |= {key: value for key, value in found.items() if key not in undefined}
        if said:
            notes[name] = said
    progress("measured", len(chosen), len(chosen))
    return Measurement(values, skipped, notes, len(pool), pool.source, pool.embedder)


def _held(pool: Pool, extra: Mapping[str, Any]) -> dict[str, Any]:
    texts = None if pool.texts is None else pool.texts.to_list()
    fields = {"X": pool.embeddings, "texts": texts, "quality": pool.quality, "groups": pool.groups}
    return {name: value for name, value in {**fields, **extra}.items() if value is not None}


def _call(measure: Callable[..., Any], arguments: Mapping[str, Any], seed: int, progress: Progress) -> Any:
    taken = inspect.signature(measure).parameters
    more = {name: value for name, value in (("rng", seed), ("progress", progress)) if name in taken}
    # What a call sets by hand comes first.
    given = getattr(measure, "keywords", {})
    return measure(**arguments, **{name: value for name, value in more.items() if name not in given})


def _numbers(name: str, result: Any) -> dict[str, Value]:
    """A measure's answer as named values; arrays and words in it are left out."""
    if isinstance(result, Estimate):
        return {name: Value(result.value, result.low, result.high)}
    if isinstance(result, (int, float, np.number)):
        return {name: Value(float(result))}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = {part.name: getattr(result, part.name) for part in dataclasses.fields(result)}
    numbers = {
        key: float(value)
        for key, value in result.items()
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    }
    return {f"{name}.{key}": Value(value) for key, value in numbers.items()}


def _with_intervals(
    name: str,
    found: dict[str, Value],
    measure: Callable[..., Any],
    arguments: Mapping[str, Any],
    seed: int,
) -> dict[str, Value]:
    limit = DEFAULT[name][1] if name in DEFAULT else SMOOTH_BUT_SLOW.get(name, 0)
    n = len(next(iter(arguments.values())))
    if n > limit or n < 3 or any(len(value) != n for value in arguments.values()):
        return found
    groups = random_groups(n, GROUPS, np.random.default_rng(seed))
    left_out: Sequence[Mapping[str, float]] | None
    if name in ("vendi", "vendi-orders"):
        left_out = vendi_left_out(name, arguments["X"], groups, getattr(measure, "keywords", {}))
        if left_out is None:
            return found
    else:
        left_out = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, for the whole pool
            for group in range(groups.max() + 1):
                rest = {key: _rows(key, value, np.flatnonzero(groups != group)) for key, value in arguments.items()}
                left_out.append({k: v.value for k, v in _numbers(name, _call(measure, rest, seed, silent)).items()})
    ends = {key: interval(value.value, [part[key] for part in left_out]) for key, value in found.items()}
    return {
        key: Value(value.value, *ends[key]) if _is_smooth(key) and np.isfinite(ends[key]).all() else value
        for key, value in found.items()
    }


def _is_smooth(key: str) -> bool:
    """Ranks, counts and extremes jump when rows are left out."""
    part = key.partition(".")[2]
    return part not in ("0", "0.0", "inf", "min", "max", "median", "types", "tokens")


def _rows(name: str, value: Any, rows: np.ndarray) -> Any:
    if name == "K":
        return np.asarray(value)[np.ix_(rows, rows)]
    return value[rows] if isinstance(value, np.ndarray) else [value[i] for i in rows]
