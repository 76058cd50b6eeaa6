"""Particle filtering over reasoning steps, with entropic annealing, and beam search for comparison.

Mitigating Premature Exploitation in Particle-based Monte Carlo for Inference-Time Scaling (2025, arXiv:2510.05825).
Particles are partial solutions: tuples of steps, whatever a step is. Tuples can't be changed, so copies share nothing
that one of them could alter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from polyculture.errors import BadInput

Prefix = tuple[Any, ...]
Propose = Callable[[Sequence[Prefix], int], Sequence[tuple[Any, bool]]]
"""``propose(prefixes, t)`` gives each prefix its next step and whether it ends there."""
ProcessReward = Callable[[Sequence[Prefix]], Any]
"""``score(prefixes)`` judges partial solutions, each in [0, 1]."""
Resampling = Literal["systematic", "multinomial", "none"]
Annealing = Literal["ess", "entropy", "base"]

_TINY = 1e-7


def prm_log_weights(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Log-weights of particles, logit(score), so that the softmax weighs them by their odds s / (1 - s).

    Args:
        scores: (n,) process rewards in [0, 1], clipped to [1e-7, 1 - 1e-7]; NaN counts as 0.5, with a warning.

    Raises:
        BadInput: a score is outside [0, 1].
    """
    held = np.array(scores, dtype=np.float64)
    unknown = np.isnan(held)
    if unknown.any():
        warnings.warn(f"{int(unknown.sum())} process rewards are NaN and count as 0.5", stacklevel=2)
        held[unknown] = 0.5
    if ((held < 0) | (held > 1)).any():
        raise BadInput("a process reward is outside [0, 1]; give probabilities, e.g. through a sigmoid")
    held = np.clip(held, _TINY, 1 - _TINY)
    return np.asarray(np.log(held / (1 - held)))


def tempered_probabilities(log_weights: Sequence[float] | np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(log_weights / temperature), (n,); equal where all log-weights are -inf.

    Raises:
        BadInput: the temperature is not above 0.
    """
    if not temperature > 0:
        raise BadInput(f"temperature should be above 0, not {temperature}")
    held = np.asarray(log_weights, dtype=np.float64)
    top = held.max(initial=-np.inf)
    raised = (held == top).astype(np.float64) if np.isinf(top) else np.exp((held - top) / temperature)
    return np.asarray(raised / max(raised.sum(), _TINY))


def effective_sample_size(probabilities: Sequence[float] | np.ndarray) -> float:
    """ESS = 1 / sum p_i^2, from 1 (one particle holds all) to n; p is clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _TINY, 1 - _TINY)
    return float(1 / np.sum(p**2))


def normalised_entropy(probabilities: Sequence[float] | np.ndarray) -> float:
    """H = -sum p ln p / ln n, from 0 to 1; p is clipped to [1e-7, 1 - 1e-7]. About 0 for one particle."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _TINY, 1 - _TINY)
    entropy = float(-np.sum(p * np.log(p)))
    return entropy / float(np.log(len(p))) if len(p) > 1 else entropy


def annealing_temperature(
    probabilities: Sequence[float] | np.ndarray,
    step: int,
    max_steps: int,
    *,
    method: Annealing = "ess",
    ess_threshold: float = 0.5,
    early_phase: float = 0.5,
) -> float:
    """The temperature before resampling: above 1 while the particles are collapsing and the run is still early.

    With progress u = t / T it is 1 unless ESS / n < ess_threshold and u < early_phase; then "ess" gives
    max(1, (n / ESS)(1 - u)), "entropy" max(1, 1 / (H + (1 - H) u)), "base" max(1, 2 - u).

    Args:
        probabilities: (n,) untempered weights.
        step: t, counted from 1 after propagation.
        max_steps: T, the most steps a run may take (not the steps it took).
        method: which formula.
        ess_threshold: share of effective particles below which the set counts as collapsing.
        early_phase: share of the run that counts as early.

    Raises:
        BadInput: no formula of that name.
    """
    n = len(probabilities)
    if n <= 1:
        return 1.0
    ratio, progress = effective_sample_size(probabilities) / n, step / max_steps
    if not (ratio < ess_threshold and progress < early_phase):
        return 1.0
    if method == "ess":
        return max(1.0, (1 - progress) / ratio)
    if method == "entropy":
        entropy = normalised_entropy(probabilities)
        return max(1.0, 1 / (entropy + (1 - entropy) * progress))
    if method == "base":
        return max(1.0, 2 - progress)
    raise BadInput(f"annealing should be 'ess', 'entropy' or 'base', not '{method}'")


def systematic_resampling(probabilities: Sequence[float] | np.ndarray, u: float, n: int | None = None) -> np.ndarray:
    """Ancestors at the positions (i + u) / n of the cumulative weights.

    A particle of weight w is kept at least floor(n w) times.

    Args:
        probabilities: (m,) weights summing to 1.
        u: one uniform draw in [0, 1).
        n: how many ancestors; m by default.

    Returns:
        (n,) int64 indices, ascending: the first whose cumulative weight exceeds the position.
    """
    cumulative = np.cumsum(np.asarray(probabilities, dtype=np.float64))
    cumulative[-1] = max(cumulative[-1], 1.0)  # rounding must not push a position past the last particle
    count = len(cumulative) if n is None else n
    return np.searchsorted(cumulative, (np.arange(count) + u) / count, side="right").astype(np.int64)


def multinomial_resampling(
    probabilities: Sequence[float] | np.ndarray, rng: np.random.Generator, n: int | None = None
) -> np.ndarray:
    """Independent ancestors, (n,) int64; unlike systematic resampling this may lose a particle of any weight."""
    p = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(rng.choice(len(p), size=len(p) if n is None else n, p=p / p.sum()), dtype=np.int64)


@dataclass(frozen=True)
class StepLog:
    """What happened at one step: before resampling how many particles counted, at which temperature, who survived."""

    t: int
    ess: float
    entropy: float
    temperature: float
    ancestors: tuple[int, ...]
    unique: int
    scored: int


@dataclass(frozen=True)
class ParticleRun:
    """The particles at the end, their untempered log-weights, which was chosen, and a log of the steps.

    ``origins`` says which of the first step's particles each one descends from.
    """

    particles: tuple[Prefix, ...]
    log_weights: np.ndarray
    chosen: int
    stopped: tuple[bool, ...]
    origins: tuple[int, ...]
    log: tuple[StepLog, ...]


@dataclass
class _Particle:
    steps: Prefix = ()
    log_weight: float = 0.0
    stopped: bool = False
    origin: int = 0
    trial: tuple[Any, bool, float] | None = field(default=None)  # look-ahead: next step, ends there, its log-weight

    def copy(self) -> _Particle:
        return _Particle(self.steps, self.log_weight, self.stopped, self.origin, self.trial)


def particle_filter(
    propose: Propose,
    score: ProcessReward,
    n: int,
    *,
    max_steps: int,
    rng: np.random.Generator | int | None = None,
    resampling: Resampling = "systematic",
    annealing: Annealing | None = None,
    ess_threshold: float = 0.5,
    early_phase: float = 0.5,
    look_ahead: bool = False,
    selection: Literal["argmax", "sample"] = "argmax",
) -> ParticleRun:
    """Extend n particles step by step; after each step resample them by their process reward.

    The log-weight of a particle is that of its whole prefix: it replaces the one before, it is not added to it.
    Finished particles keep theirs and still take part in resampling.

    Args:
        propose: ``propose(prefixes, t) -> [(step, ends there), ...]``.
        score: ``score(prefixes) -> (m,)`` process rewards in [0, 1].
        n: number of particles.
        max_steps: T, the most steps.
        rng: for resampling and for the choice of a sampled particle.
        resampling: "systematic", "multinomial", or "none" (sequential importance sampling).
        annealing: None is plain particle filtering; "ess" is the paper's entropic annealing.
        ess_threshold: see :func:`annealing_temperature`.
        early_phase: see :func:`annealing_temperature`.
        look_ahead: before resampling, draw each particle's next step and add its log-weight to the particle's; the step
            is then taken, so that no call is wasted. The paper's own formula is not known: this is our reading, in the
            manner of the auxiliary particle filter. A finished particle leads to itself.
        selection: "argmax" of the untempered weights, ties to the first, or "sample" from them.

    Raises:
        BadInput: n or max_steps is below 1, a reward is outside [0, 1], or there are not as many as prefixes.
    """
    if n < 1 or max_steps < 1:
        raise BadInput(f"n = {n} particles and max_steps = {max_steps} should be at least 1")
    generator = np.random.default_rng(rng)
    particles = [_Particle(origin=i) for i in range(n)]
    log: list[StepLog] = []
    for t in range(1, max_steps + 1):
        scored = _advance(particles, propose, score, t)
        guide = np.array([p.log_weight for p in particles])
        if look_ahead and t < max_steps:
            scored += _look_ahead(particles, propose, score, t + 1)
            guide = guide + np.array([p.trial[2] if p.trial else p.log_weight for p in particles])
        weights = tempered_probabilities(guide)
        temperature = 1.0
        if annealing is not None:
            temperature = annealing_temperature(
                weights, t, max_steps, method=annealing, ess_threshold=ess_threshold, early_phase=early_phase
            )
        ancestors = np.arange(n)
        if n > 1 and resampling == "systematic":
            ancestors = systematic_resampling(tempered_probabilities(guide, temperature), float(generator.random()))
        elif n > 1 and resampling == "multinomial":
            ancestors = multinomial_resampling(tempered_probabilities(guide, temperature), generator)
        particles = [particles[a].copy() for a in ancestors]
        log.append(
            StepLog(
                t,
                effective_sample_size(weights),
                normalised_entropy(weights),
                temperature,
                tuple(int(a) for a in ancestors),
                len(set(ancestors.tolist())),
                scored,
            )
        )
        if all(p.stopped for p in particles):
            break
    final = np.array([p.log_weight for p in particles])
    chosen = int(np.argmax(final))
    if selection == "sample":
        chosen = int(generator.choice(n, p=tempered_probabilities(final)))
    return ParticleRun(
        tuple(p.steps for p in particles),
        final,
        chosen,
        tuple(p.stopped for p in particles),
        tuple(p.origin for p in particles),
        tuple(log),
    )


def _advance(particles: list[_Particle], propose: Propose, score: ProcessReward, t: int) -> int:
    """Every unfinished particle takes a step (the one it looked ahead to, if it did); returns how many were scored."""
    fresh = []
    for particle in particles:
        if particle.trial is not None:
            step, stopped, log_weight = particle.trial
            particle.steps, particle.stopped, particle.log_weight = (*particle.steps, step), stopped, log_weight
            particle.trial = None
        elif not particle.stopped:
            fresh.append(particle)
    for particle, (step, stopped, log_weight) in zip(fresh, _try(fresh, propose, score, t), strict=True):
        particle.steps, particle.stopped, particle.log_weight = (*particle.steps, step), stopped, log_weight
    return len(fresh)


def _look_ahead(particles: list[_Particle], propose: Propose, score: ProcessReward, t: int) -> int:
    running = [p for p in particles if not p.stopped]
    for particle, trial in zip(running, _try(running, propose, score, t), strict=True):
        particle.trial = trial
    return len(running)


def _try(
    particles: Sequence[_Particle], propose: Propose, score: ProcessReward, t: int
) -> list[tuple[Any, bool, float]]:
    if not particles:
        return []
    proposed = list(propose([p.steps for p in particles], t))
    if len(proposed) != len(particles):
        raise BadInput(f"{len(particles)} prefixes but {len(proposed)} proposed steps")
    scores = np.asarray(score([(*p.steps, step) for p, (step, _) in zip(particles, proposed, strict=True)]))
    if scores.shape != (len(particles),):
        raise BadInput(f"the process reward gave an array of shape {scores.shape} for {len(particles)} prefixes")
    log_weights = prm_log_weights(scores)
    return [(step, bool(stopped), float(w)) for (step, stopped), w in zip(proposed, log_weights, strict=True)]


def beam_search(propose: Propose, score: ProcessReward, n: int, *, width: int = 4, max_steps: int) -> ParticleRun:
    """Keep the n / width best scored prefixes after each step and extend each into ``width`` children.

    Args:
        propose: as in :func:`particle_filter`.
        score: as in :func:`particle_filter`.
        n: number of prefixes extended at each step.
        width: children of each kept prefix; where it does not divide n the best get one more.
        max_steps: the most steps.

    Raises:
        BadInput: n, width or max_steps is below 1, or a reward is outside [0, 1].
    """
    if n < 1 or max_steps < 1 or width < 1:
        raise BadInput(f"n = {n}, width = {width} and max_steps = {max_steps} should be at least 1")
    beams = max(1, n // width)
    particles = [_Particle(origin=i) for i in range(n)]
    log: list[StepLog] = []
    for t in range(1, max_steps + 1):
        scored = _advance(particles, propose, score, t)
        held = np.array([p.log_weight for p in particles])
        weights = tempered_probabilities(held)
        last = t == max_steps or all(p.stopped for p in particles)
        kept = np.argsort(-held, kind="stable")[:beams]
        ancestors = np.arange(n) if last else np.sort(kept[np.arange(n) % beams], kind="stable")
        particles = [particles[a].copy() for a in ancestors]
        unique = len(set(ancestors.tolist()))
        spread = effective_sample_size(weights), normalised_entropy(weights)
        log.append(StepLog(t, *spread, 1.0, tuple(int(a) for a in ancestors), unique, scored))
        if last:
            break
    final = np.array([p.log_weight for p in particles])
    return ParticleRun(
        tuple(p.steps for p in particles),
        final,
        int(np.argmax(final)),
        tuple(p.stopped for p in particles),
        tuple(p.origin for p in particles),
        tuple(log),
    )
