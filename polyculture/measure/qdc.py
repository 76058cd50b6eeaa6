"""Quality, diversity and complexity of a data set in one report, with the trade-off between the first two.

"Surveying the Effects of Quality, Diversity, and Complexity in Synthetic Data From Large Language Models" (2024):
quality goes with generalisation in distribution, diversity with generalisation out of it, complexity with both, and the
first two trade off. Diversity alone rewards noise, so the report never gives one without the other.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.measure import ngrams, spread
from polyculture.measure.qdc_table import TABLE, Axis, QDCData, Settings
from polyculture.measure.tokens import Tokenizer, as_texts
from polyculture.measure.undefined import UndefinedMeasureWarning

__all__ = ["QDCData", "QDCReport", "Settings", "TradeOff", "qdc_report"]


@dataclass(frozen=True)
class TradeOff:
    """Quality and diversity of the best ``fraction`` of the data, beside those of a random subset of the same size."""

    fraction: float
    n: int
    quality: float
    diversity: float
    random_quality: float
    random_diversity: float


@dataclass(frozen=True)
class QDCReport:
    """Every measure that could be taken, by axis; the unit of each; what was skipped and why; the trade-off curve."""

    quality: Mapping[str, float]
    diversity: Mapping[str, float]
    complexity: Mapping[str, float]
    units: Mapping[str, str]
    skipped: Mapping[str, str]
    curve: Sequence[TradeOff]
    curve_diversity: str
    n_empty_texts: int
    embedder: str | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        from polyculture.files import plain

        return plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        lines = []
        for axis in ("quality", "diversity", "complexity"):
            lines.append(axis)
            values = getattr(self, axis)
            lines += [f"  {name:24} {value:10.4g}  {self.units[name]}" for name, value in values.items()] or ["  -"]
        lines += [f"skipped {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def qdc_report(
    data: QDCData,
    *,
    settings: Settings | None = None,
    curve_diversity: Callable[[np.ndarray], float] | None = None,
) -> QDCReport:
    """Every measure of the survey's table that the data allow, and the trade-off curve.

    The curve sorts by quality, best first, keeps the best share f for each f of ``settings.fractions``, and gives mean
    quality and diversity of what is kept beside those of a random subset of the same size. It needs ``quality`` and
    ``X`` or ``texts``.

    Args:
        data: what is judged.
        settings: how; None takes the defaults.
        curve_diversity: row indices -> diversity of those rows; None takes the mean cosine distance of ``X``, or the
            n-gram diversity of ``texts``.

    Returns:
        Values by axis, units, what was skipped with its reason, and the curve.

    Raises:
        BadInput: nothing was given, or two fields of the samples differ in length.
    """
    settings = settings or Settings()
    n = _length(data)
    if n == 0:
        raise BadInput("qdc_report needs at least one sample")
    measured, n_empty = _without_empty_texts(data)
    values: dict[Axis, dict[str, float]] = {"quality": {}, "diversity": {}, "complexity": {}}
    units: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for measure in TABLE:
        absent = [name for name in measure.needs if getattr(measured, name) is None]
        if absent:
            skipped |= dict.fromkeys(measure.names, f"needs {', '.join(absent)}")
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            taken = measure.take(measured, settings)
        reasons = [str(w.message) for w in caught if issubclass(w.category, UndefinedMeasureWarning)]
        for name, value in zip(measure.names, taken if isinstance(taken, tuple) else (taken,), strict=True):
            if math.isnan(value):
                skipped[name] = reasons[0] if reasons else "it is not defined on these data"
            else:
                values[measure.axis][name] = float(value)
                units[name] = measure.unit
    curve, name, reason = _trade_off(data, settings, curve_diversity)
    if reason:
        skipped["trade_off"] = reason
    notes = [f"{n_empty} empty texts were left out of the measures of texts"] if n_empty else []
    return QDCReport(
        **values,
        units=units,
        skipped=skipped,
        curve=curve,
        curve_diversity=name,
        n_empty_texts=n_empty,
        embedder=data.embedder,
        notes=tuple(notes),
    )


def _trade_off(
    data: QDCData, settings: Settings, diversity: Callable[[np.ndarray], float] | None
) -> tuple[list[TradeOff], str, str]:
    """The curve, what its diversity is, and why there is none."""
    name = "given"
    if diversity is None and data.X is not None:
        X = np.asarray(data.X)
        name, diversity = "mean cosine distance", lambda rows: spread.mean_pairwise_distance(X[rows])
    elif diversity is None and data.texts is not None:
        name, diversity = "n-gram diversity", partial(_ngram_diversity_of, data.texts, settings.tokenize)
    if data.quality is None or diversity is None:
        return [], "", "needs quality" if data.quality is None else "needs X or texts"
    quality = np.asarray(data.quality, dtype=np.float64)
    order = np.argsort(-quality, kind="stable")
    rng = np.random.default_rng(settings.rng)
    curve = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMeasureWarning)
        for fraction in settings.fractions:
            if not 0 < fraction <= 1:
                raise BadInput(f"a fraction of the trade-off curve is in (0, 1], not {fraction}")
            kept = order[: max(1, math.ceil(fraction * len(order) - 1e-9))]
            drawn = rng.permutation(len(order))[: len(kept)]
            means = float(quality[kept].mean()), float(diversity(kept))
            curve.append(TradeOff(fraction, len(kept), *means, float(quality[drawn].mean()), float(diversity(drawn))))
    return curve, name, ""


def _ngram_diversity_of(texts: Sequence[str], tokenize: Tokenizer, rows: np.ndarray) -> float:
    return ngrams.ngram_diversity([texts[row] for row in rows], tokenize=tokenize)


def _length(data: QDCData) -> int:
    """Number of samples; fields that hold one entry a sample must agree."""
    aligned = ("texts", "X", "quality", "answers", "token_logprobs", "tags", "measures", "opponents")
    lengths = {name: len(getattr(data, name)) for name in aligned if getattr(data, name) is not None}
    others = ("levels", "solve_rates", "expressions", "n_drawn")
    if len(set(lengths.values())) > 1:
        raise BadInput("fields differ in length: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
    if lengths:
        return next(iter(lengths.values()))
    given = [np.size(getattr(data, name)) for name in others if getattr(data, name) is not None]
    if not given:
        raise BadInput("qdc_report was given nothing to measure; see the fields of QDCData")
    return max(given)


def _without_empty_texts(data: QDCData) -> tuple[QDCData, int]:
    if data.texts is None:
        return data, 0
    texts = as_texts(data.texts)
    full = [row for row, text in enumerate(texts) if text.strip()]
    if len(full) == len(texts):
        return data, 0
    opponents = None if data.opponents is None else [data.opponents[row] for row in full]
    held = [texts[row] for row in full] or None
    return dataclasses.replace(data, texts=held, opponents=opponents), len(texts) - len(full)
