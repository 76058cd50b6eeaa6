"""Groups: how many of the pool's domains, topics or sources a set of rows holds, and how evenly."""

from __future__ import annotations

import numpy as np

from polyculture.errors import BadInput


def group_balance(groups: np.ndarray) -> dict[str, float]:
    """How many groups there are, and the effective number: as many as there are if all are even, 1 if one holds all.

    The effective number is the Hill number of order 1, exp(-sum p ln p) of the shares p (Hill 1973, Diversity and
    Evenness).

    >>> group_balance(np.array([0, 0, 1, 1]))
    {'present': 2.0, 'effective': 2.0, 'smallest_share': 0.5}

    Args:
        groups: (n,) int group codes.

    Returns:
        ``present``, the number of groups with a row; ``effective``, between 1 and ``present``; ``smallest_share``, the
        share of rows in the smallest group present.

    Raises:
        BadInput: there are no rows.
    """
    if len(groups) == 0:
        raise BadInput("group balance needs at least one row")
    shares = np.unique(np.asarray(groups), return_counts=True)[1] / len(groups)
    return {
        "present": float(len(shares)),
        "effective": float(np.exp(-(shares * np.log(shares)).sum())),
        "smallest_share": float(shares.min()),
    }
