"""Entropic particle filtering (2025, arXiv:2510.05825): annealing rescues a search from early over-confidence.

Simulated: a particle is good with probability 0.3, fixed at its first step and inherited. Ten steps, progress u = t /
10. The process reward's logit is mu + 1.5 N(0, 1), with mu = 0.3 + 3u for good particles; for bad ones +2 while u <=
0.25 (over-confident) and -2 after. A run succeeds if the particle it selects is good.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from polyculture.decode.particles import particle_filter
from polyculture.reproductions.finding import Curve, Finding, Interval, Plot, Scale

STEPS, GOOD = 10, 0.3
METHODS: dict[str, dict[str, Any]] = {
    "particle filter": {"resampling": "multinomial"},
    "systematic": {"resampling": "systematic"},
    "entropic": {"resampling": "systematic", "annealing": "ess"},
}


class World:
    """Proposes steps that carry a hidden bit, and scores prefixes with a process reward that is wrong early on."""

    def __init__(self, rng: np.random.Generator, trap: float | None) -> None:
        self.rng, self.trap = rng, trap

    def propose(self, prefixes: Sequence[tuple[bool, ...]], t: int) -> list[tuple[bool, bool]]:
        """The hidden bit: drawn at the first step, kept after."""
        if t == 1:
            return [(bool(good), False) for good in self.rng.random(len(prefixes)) < GOOD]
        return [(prefix[0], t == STEPS) for prefix in prefixes]

    def score(self, prefixes: Sequence[tuple[bool, ...]]) -> np.ndarray:
        """The process reward; without a trap it is calibrated from the start."""
        u = len(prefixes[0]) / STEPS
        good = np.array([prefix[0] for prefix in prefixes])
        wrong = -0.3 - 3 * u if self.trap is None else (2.0 if u <= self.trap else -2.0)
        logit = np.where(good, 0.3 + 3 * u, wrong) + 1.5 * self.rng.standard_normal(len(prefixes))
        return np.asarray(1 / (1 + np.exp(-logit)))


def success(
    n: int, runs: int, seed: Sequence[int], trap: float | None = 0.25, **how: Any
) -> tuple[float, float, list[int]]:
    """Share of runs that select a good particle, mean number of first particles that survive, and each run's choice."""
    won, survivors, chosen = [], [], []
    for run in range(runs):
        world = World(np.random.default_rng([*seed, run, 0]), trap)
        rng = np.random.default_rng([*seed, run, 1])
        end = particle_filter(world.propose, world.score, n, max_steps=STEPS, rng=rng, **how)
        won.append(end.particles[end.chosen][0])
        survivors.append(len(set(end.origins)))
        chosen.append(end.chosen)
    return float(np.mean(won)), float(np.mean(survivors)), chosen


def reproduce(*, scale: Scale, seed: int) -> Finding:
    """Success of plain, systematic and entropic particle filtering, trapped and not."""
    began = time.perf_counter()
    seeds, runs = (2, 40) if scale == "smoke" else (5, 200)
    sizes = (8, 32)
    got = {
        (m, n): [success(n, runs, [seed, s, n], **how) for s in range(seeds)]
        for m, how in METHODS.items()
        for n in sizes
    }
    mean = {key: float(np.mean([r[0] for r in found])) for key, found in got.items()}
    calm = {m: [success(32, runs, [seed, s, 32], None, **how)[0] for s in range(seeds)] for m, how in METHODS.items()}
    never = success(32, runs, [seed, 0, 32], resampling="systematic", annealing="ess", early_phase=0.0)
    traps = (0.25, 0.4, 0.6)
    rescue = {
        m: [
            float(np.mean([success(32, runs, [seed, s, 7], trap, **METHODS[m])[0] for s in range(seeds - 1)]))
            for trap in traps
        ]
        for m in ("systematic", "entropic")
    }
    tolerance = 0.03 if scale == "full" else 0.05
    gap = abs(float(np.mean(calm["entropic"])) - float(np.mean(calm["systematic"])))
    checks = {
        "entropic beats systematic by more than .2 with 32 particles": mean["entropic", 32] - mean["systematic", 32]
        > 0.2,
        "entropic beats systematic by more than .1 with 8 particles": mean["entropic", 8] - mean["systematic", 8] > 0.1,
        f"control, calibrated reward: the two differ by less than {tolerance:g}": gap < tolerance,
        "control, early_phase = 0: the very choices of the systematic filter": never[2] == got["systematic", 32][0][2],
        "the longer the reward is over-confident, the smaller the rescue": rescue["entropic"][0]
        > rescue["entropic"][1]
        > rescue["entropic"][2],
    }
    return Finding(
        slug="entropic-particle-filter",
        claim="Flattening the resampling weights while the particles collapse early keeps a search from committing to "
        "a branch that an over-confident process reward favours.",
        metric="share of runs whose selected particle is good",
        values={f"{m}, N={n}": Interval.of([r[0] for r in found]) for (m, n), found in got.items()}
        | {f"{m}, N=32, surviving ancestors": Interval.of([r[1] for r in got[m, 32]]) for m in METHODS},
        control="The process reward is calibrated from the start: there is nothing to be rescued from.",
        control_values={f"{m}, N=32, calibrated": Interval.of(calm[m]) for m in METHODS},
        checks=checks,
        scale=scale,
        seed=seed,
        seconds=time.perf_counter() - began,
        plot=Plot(
            "How long the reward is over-confident, and who survives it (32 particles)",
            "over-confident until this share of the run",
            "success",
            [Curve(m, list(traps), values) for m, values in rescue.items()],
        ),
        notes=("Simulated particles and reward; no language model.",),
    )
