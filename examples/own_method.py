"""A selector of your own: every other row. As an entry point it becomes ``polyculture select --method every-other``.

In your package's pyproject.toml::

    [project.entry-points."polyculture.methods"]
    "select.every-other" = "your_package.module:EveryOther"
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polyculture.pool import Pool
from polyculture.select.base import Selector


@dataclass(eq=False)
class EveryOther(Selector):
    """Rows at equal steps through the pool, in the order they came.

    Args:
        start: the first row.
    """

    start: int = 0

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        return (self.start + np.arange(k) * len(pool) // k) % len(pool)


if __name__ == "__main__":
    pool = Pool.from_arrays(np.eye(10))
    print(EveryOther(start=1).select(pool, 5, rng=0).tolist())
