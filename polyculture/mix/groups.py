"""Groups of data: their names, and weights on the simplex."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from polyculture.errors import BadInput

SUM_TOLERANCE = 1e-6


def on_simplex(weights: Any, place: str = "weights") -> np.ndarray:
    """Mixture weights checked: finite, not negative, and each row's sum 1.

    Rows with another sum are divided by it, with a warning: shares are often given rounded or in percent.

    Args:
        weights: (m,) or (n, m).
        place: what they are, for messages.

    Returns:
        float64 array of the same shape whose rows sum to 1.

    Raises:
        BadInput: a weight is NaN, infinite or negative, or a row's weights are all 0.
    """
    held = np.array(weights, dtype=np.float64)
    if held.ndim not in (1, 2) or held.shape[-1] == 0:
        raise BadInput(f"{place}: mixtures should be (m,) or (n, m) with at least one group, not {held.shape}")
    rows = np.atleast_2d(held)
    for bad, what in ((~np.isfinite(rows), "NaN or infinite"), (rows < 0, "negative")):
        if bad.any():
            raise BadInput(f"{place}: a weight is {what} in row {_shown(bad.any(axis=1))}; weights are shares, 0 to 1")
    sums = rows.sum(axis=1)
    if (sums <= 0).any():
        raise BadInput(f"{place}: every weight is 0 in row {_shown(sums <= 0)}; at least one group needs a share")
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        warnings.warn(
            f"{place}: the weights sum to {sums[off][0]:.4g} instead of 1 in row {_shown(off)}; divided by their sum",
            stacklevel=3,
        )
        rows = np.where(off[:, None], rows / sums[:, None], rows)
    return rows.reshape(held.shape)


def _shown(mask: Any) -> str:
    at = np.flatnonzero(mask) + 1
    return ", ".join(map(str, at[:5])) + (f" ({len(at)} rows)" if len(at) > 5 else "")


def group_names(m: int) -> tuple[str, ...]:
    """Names for m groups that have none; they sort in the order of the columns."""
    width = len(str(max(m - 1, 0)))
    return tuple(f"group{i:0{width}d}" for i in range(m))


def check_names(groups: Sequence[str], what: str = "group") -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        BadInput: there are none, or one is there twice.
    """
    names = tuple(str(g) for g in groups)
    if not names:
        raise BadInput(f"there are no {what}s")
    twice = sorted({g for g in names if names.count(g) > 1})
    if twice:
        raise BadInput(f"{what} '{twice[0]}' is there twice; names should differ")
    return names
