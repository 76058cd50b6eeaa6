"""QDIT: coverage of the pool and quality of the chosen, traded off in one greedy objective.

Data Diversity Matters for Robust Instruction Tuning (2023), Equation 3;
as the baseline of Diversify and Conquer (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from polyculture.errors import BadInput
from polyculture.pool import Pool
from polyculture.select.base import Selector
from polyculture.select.coverage import lazy_greedy
from polyculture.select.facility_location import FacilityLocation


@dataclass(eq=False)
class QDIT(Selector):
    """Each step adds ``argmax_i (1 - alpha) sum_v max_{a in S + i} cos(v, a) + alpha q_i``; ties go to the first row.

    Coverage grows with the pool (it sums over its n rows), quality does not, so alpha has to be near 1 for quality to
    count on a large pool. Above 12 000 rows similarities are recomputed instead of held: exact, and slow.
    Source: QDIT (2023), Equation 3.

    Args:
        alpha: weight of quality, in [0, 1]; 0 is coverage alone, 1 quality alone.
    """

    alpha: float = 0.5
    needs: ClassVar[tuple[str, ...]] = ("embeddings", "quality")

    def _choose(self, pool: Pool, k: int, rng: np.random.Generator) -> np.ndarray:
        if not 0 <= self.alpha <= 1:
            raise BadInput(f"alpha should be in [0, 1], not {self.alpha}")
        if self.alpha == 1:
            return np.argsort(-pool.q, kind="stable")[:k]
        source = FacilityLocation(neighbors=0)._similarities(pool.X)
        # No cosine is below -1, so from that floor the coverage differs from the objective by a constant only.
        return lazy_greedy(source, k, modular=self.alpha * pool.q, scale=1 - self.alpha, floor=-1.0)[0]
