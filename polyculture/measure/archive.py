"""Quality and diversity at once: how much of a grid is filled, and how well.

Coverage and QD-score of Pugh et al., "Quality Diversity: A New Frontier for Evolutionary Computation" (2016), on a
pyribs ``GridArchive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput
from polyculture.space.kernels import as_matrix


def grid_archive(
    measures: Any,
    quality: Any,
    *,
    cells: int | Sequence[int] = 10,
    ranges: Sequence[tuple[float, float]] | None = None,
    offset: float = 0.0,
) -> dict[str, float]:
    """Keep the best candidate of each cell of a grid over the measures.

    Args:
        measures: (n, m) descriptors, one candidate a row.
        quality: (n,) quality of each, higher is better.
        cells: cells along each dimension, one number or one each.
        ranges: lowest and highest value of each dimension; what lies outside falls into the outermost cells.
            None takes the range of the data; state it to compare the coverage of two data sets.
        offset: subtracted from each quality in the QD-score, so that filling a cell can't lower it when
            qualities are negative.

    Returns:
        ``coverage`` (filled over all cells), ``qd_score`` (sum over filled cells of best quality - offset),
        ``num_elites`` (filled cells) and ``obj_max`` (best quality).

    Raises:
        BadInput: there is no row, lengths or dimensions differ, or a value is NaN or infinite.
    """
    points = as_matrix(measures, "measures").astype(np.float64, copy=False)
    values = np.asarray(quality, dtype=np.float64)
    n, m = points.shape
    if not n or not m:
        raise BadInput("grid_archive needs at least one candidate with at least one measure; measures is empty")
    if values.shape != (n,) or not np.isfinite(values).all():
        raise BadInput(f"quality should be {n} finite numbers, one for each row of measures")
    dims = [int(cells)] * m if isinstance(cells, (int, np.integer)) else [int(c) for c in cells]
    bounds = _range_of(points) if ranges is None else [(float(low), float(high)) for low, high in ranges]
    if len(dims) != m or len(bounds) != m:
        raise BadInput(f"there are {m} measures, but {len(dims)} numbers of cells and {len(bounds)} ranges")
    if min(dims) < 1 or any(not low < high for low, high in bounds):
        raise BadInput("each dimension needs at least one cell and a range whose low end is below its high end")
    from ribs.archives import GridArchive

    archive = GridArchive(solution_dim=1, dims=dims, ranges=bounds, qd_score_offset=offset, dtype=np.float64)
    archive.add(np.zeros((n, 1)), values, points)
    stats = archive.stats
    return {
        "coverage": float(stats.coverage),
        "qd_score": float(stats.qd_score),
        "num_elites": int(stats.num_elites),
        "obj_max": float(stats.obj_max),
    }


def _range_of(points: np.ndarray) -> list[tuple[float, float]]:
    low, high = points.min(axis=0), points.max(axis=0)
    flat = low == high
    return list(zip((low - 0.5 * flat).tolist(), (high + 0.5 * flat).tolist(), strict=True))
