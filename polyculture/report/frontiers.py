"""What the lines of a report show: how variety is spread, and what it costs in quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from polyculture.measure.frontier import hypervolume
from polyculture.measure.spectrum import feature_eigenvalues
from polyculture.measure.vendi import vendi_of_eigenvalues
from polyculture.pool import Pool
from polyculture.report.content import FrontierCurve, Spectrum

EIGENVALUES = 300
SMALLEST = 1e-5
"""Shares below it are not drawn: they are nothing to see, and stretch a logarithmic axis."""


def spectrum(X: np.ndarray, name: str) -> Spectrum:
    """The eigenvalues of the rows' cosine kernel divided by n, largest first, and their effective number."""
    values = np.sort(np.maximum(feature_eigenvalues(X), 0))[::-1]
    effective = vendi_of_eigenvalues(values)
    return Spectrum(name, values[values > SMALLEST][:EIGENVALUES].tolist(), effective)


def frontiers(pool: Pool, selections: Mapping[str, np.ndarray], *, steps: int = 9) -> dict[str, Any]:
    """Mean quality and Vendi score of each selection's first rows, at growing sizes, with the hypervolume of the curve.

    Returns:
        ``frontiers``, ``frontier_note`` and ``diversity_name``, fields of the report; nothing if there is no quality.
    """
    if pool.quality is None:
        return {}
    raw: dict[str, list[tuple[int, float, float]]] = {}
    for name, rows in selections.items():
        if not len(rows):
            continue
        sizes = np.unique(np.geomspace(min(len(rows), max(2, len(rows) // 50)), len(rows), steps).round().astype(int))
        raw[name] = [
            (int(k), float(pool.quality[rows[:k]].mean()), vendi_of_eigenvalues(feature_eigenvalues(pool.X[rows[:k]])))
            for k in sizes
        ]
    if not raw:
        return {}
    everything = vendi_of_eigenvalues(feature_eigenvalues(pool.X))
    raw = {"whole pool": [(len(pool), float(pool.quality.mean()), everything)], **raw}
    points = np.array([(q, v) for curve in raw.values() for _, q, v in curve])
    low, high = points.min(axis=0), points.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    curves = []
    for name, curve in raw.items():
        scaled = (np.array([pair[1:] for pair in curve]) - low) / width
        area = hypervolume(scaled[:, 0], scaled[:, 1], (0.0, 0.0))
        k, quality, diversity = (list(column) for column in zip(*curve, strict=True))
        curves.append(FrontierCurve(name, k, quality, diversity, area))
    note = (
        "Each line follows one selection from its first rows to all of them: more rows bring variety and, after the "
        "best are taken, cost quality. Lines further up and to the right are better. Hypervolume is the share of the "
        "box around all points that lies below and to the left of a line, from 0 to 1."
        " Of a choice drawn several times, the first is shown."
    )
    return {"frontiers": curves, "frontier_note": note, "diversity_name": "Vendi score"}
