"""When a watch raises its alarm: falls of the top-k entropy and mass that noise does not explain.

The signs are those of "Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024), section 5:
the entropy of the likeliest next tokens turns down, or their mass shrinks. The rule, by which a fall is told from
noise, is this package's.

:class:`polyculture.measure.over_optimisation.OverOptimisationMonitor` counts evaluations that fall in a row, which
noise alone does often: of four numbers in any order, one order in 24 falls throughout. Here a fall has to be larger
than two kinds of noise explain. Evaluations have the same prompts and are compared prompt by prompt: what differs from
prompt to prompt is the noise of samples and prompts. What all prompts share, because the policy itself goes up and
down, shows in how far evaluations stray from the middle of their neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from polyculture.errors import BadInput
from polyculture.measure.over_optimisation import Alarm

FEWEST_BENDS = 4
"""Second differences of which a median says something: those of six evaluations."""


@dataclass
class FallAlarm:
    """Raises an alarm where the top-k entropy or mass has fallen, and noise does not explain it.

    A change between two evaluations is told from noise where it exceeds both

    - q standard errors of the mean over prompts of its differences, q from Student's t.
    - q times sqrt(2) s, q from the normal distribution, where s is how far one evaluation strays, all prompts together:
      the median size of the second differences of the means so far, over .6745 sqrt(6), which is the standard deviation
      of normal noise. A steady fall has none, and a median lets a few turns pass. Before the sixth evaluation s is not
      known, and nothing is told from noise.

    q is what noise passes with a chance of ``false_alarms`` divided by the run's number of comparisons: pairs of
    evaluations, for each of the two numbers (Bonferroni). So noise of samples and prompts raises the alarm in at most
    that share of runs, as far as means over prompts are normal, and however it hangs together from one evaluation to
    the next. For what all prompts share there is no such bound, because s is itself a guess from few numbers.

    Entropy reversal: the entropy has risen from its start to its highest value, and is below that, both told from
    noise, and by more than ``tolerance``. Mass loss: the mass is below its highest value, told from noise, and by more
    than ``tolerance`` of its start. Either has to hold at ``window`` evaluations in a row. Entropy collapse: the
    entropy is below ``collapse`` of its start, which is beyond the noise of any watch of use, and is an alarm at once.
    With one prompt only collapse can be.

    Args:
        planned: evaluations of the whole run.
        window: evaluations in a row at which a fall must be seen.
        tolerance: relative fall that counts.
        collapse: share of the starting entropy that counts as collapse.
        false_alarms: greatest share of runs in which noise of samples and prompts raises the alarm.

    Attributes:
        steps: of the evaluations so far.
        alarm: the first one; its ``stop_at`` is the last evaluation before the fall was seen.

    Raises:
        BadInput: a setting is out of its range.
    """

    planned: int
    window: int = 2
    tolerance: float = 0.02
    collapse: float = 0.5
    false_alarms: float = 0.05
    steps: list[int] = field(default_factory=list)
    alarm: Alarm | None = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadInput(f"window of the alarm should be at least 1, not {self.window}")
        if not 0 < self.false_alarms < 1:
            raise BadInput(f"false_alarms should be between 0 and 1, not {self.false_alarms}")
        self._entropy: list[np.ndarray] = []
        self._mass: list[np.ndarray] = []

    def observe(self, step: int, entropy: ArrayLike, mass: ArrayLike) -> Alarm | None:
        """Take in one evaluation and say whether the alarm is raised (once raised it stays as it was).

        Args:
            step: of training; later than the last one.
            entropy: top-k entropy by prompt, the same prompts in the same order at every evaluation.
            mass: top-k mass by prompt.

        Raises:
            BadInput: the step is not later than the last, a number is NaN, or there are not as many as before.
        """
        if self.steps and step <= self.steps[-1]:
            raise BadInput(f"step {step} comes after step {self.steps[-1]}; steps should rise")
        for values, held in ((entropy, self._entropy), (mass, self._mass)):
            row = np.asarray(values, dtype=np.float64)
            if row.ndim != 1 or not row.size or not np.isfinite(row).all() or (held and row.shape != held[0].shape):
                raise BadInput(f"step {step}: give a finite number for each prompt, of the same prompts at every step")
            held.append(row)
        self.steps.append(step)
        self.alarm = self.alarm or self._raised()
        return self.alarm

    def _raised(self) -> Alarm | None:
        if self._fell(self._entropy, of_start=False, risen=True):
            return Alarm("entropy reversal", self.steps[-1], self.steps[-1 - self.window])
        if self._fell(self._mass, of_start=True, risen=False):
            return Alarm("mass loss", self.steps[-1], self.steps[-1 - self.window])
        if len(self.steps) > 1 and self._entropy[-1].mean() < self.collapse * self._entropy[0].mean():
            return Alarm("entropy collapse", self.steps[-1], self.steps[-2])
        return None

    def _fell(self, held: list[np.ndarray], *, of_start: bool, risen: bool) -> bool:
        """Whether the last ones are below the highest before them, and that above the start where this is asked."""
        before, last = held[: -self.window], held[-self.window :]
        if not before:
            return False
        highest = max(before, key=np.mean)
        strays = self._strays(held)
        least = self.tolerance * float((held[0] if of_start else highest).mean())
        fell = all(self._exceeds(highest - now, max(strays, least)) for now in last)
        return fell and (not risen or self._exceeds(highest - held[0], strays))

    def _exceeds(self, differences: np.ndarray, least: float) -> bool:
        """Whether the mean of the prompts' differences is above that, and above their own noise."""
        from scipy.stats import t

        n = len(differences)
        if n < 2 or differences.mean() <= least:
            return False
        error = differences.std(ddof=1) / math.sqrt(n)
        return bool(differences.mean() > t.isf(self._chance, n - 1) * error)

    @property
    def _chance(self) -> float:
        """Of one comparison to be deceived: there are as many as pairs of evaluations, for entropy and for mass."""
        return self.false_alarms / max(1, self.planned * (self.planned - 1))

    def _strays(self, held: list[np.ndarray]) -> float:
        """How far two evaluations may be apart by what all prompts share."""
        from scipy.stats import norm

        bends = np.abs(np.diff([row.mean() for row in held], n=2))
        if bends.size < FEWEST_BENDS:
            return math.inf
        return float(norm.isf(self._chance)) * math.sqrt(2) * float(np.median(bends)) / (0.6745 * math.sqrt(6))
