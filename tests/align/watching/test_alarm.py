"""Whether the alarm tells a fall from noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from polyculture.align.watching.alarm import FallAlarm
from polyculture.errors import BadInput
from polyculture.measure.over_optimisation import Alarm, OverOptimisationMonitor

PROMPTS = 32


def by_prompt(means: list[float], noise: float = 0.0, seed: int = 0, shared: float = 0.0) -> np.ndarray:
    """(evaluations, prompts), whose means waver by ``noise`` of themselves from prompt to prompt, or all together."""
    rng = np.random.default_rng(seed)
    own = 1 + noise * math.sqrt(PROMPTS) * rng.normal(size=(len(means), PROMPTS))
    return np.array(means)[:, None] * own * (1 + shared * rng.normal(size=(len(means), 1)))


def watched(entropy: Any, mass: Any = None, **settings: Any) -> Alarm | None:
    alarm = FallAlarm(len(entropy), **settings)
    for i, row in enumerate(entropy):
        alarm.observe(10 * i, row, np.full(len(row), 0.5) if mass is None else mass[i])
    return alarm.alarm


RISES = [2.0, 2.1, 2.2, 2.3, 2.35, 2.4, 2.4]


def test_entropy_that_turns_down_is_a_reversal_and_the_step_before_the_fall_was_seen_is_named() -> None:
    found = watched(by_prompt([*RISES, 2.3, 2.2, 2.1], 0.004))
    assert found == Alarm("entropy reversal", 80, 60)
    assert watched(by_prompt([*RISES, 2.3, 2.2, 2.1], 0.004), window=1) == Alarm("entropy reversal", 70, 60)
    assert watched(by_prompt([*RISES, 2.3, 2.4, 2.3, 2.4], 0.002)) is None, "not twice in a row"


def test_entropy_that_never_rose_turns_nowhere() -> None:
    falls = [2.4 - 0.04 * i for i in range(11)]
    assert watched(by_prompt(falls, 0.004)) is None
    assert watched(by_prompt([2.39, *falls], 0.004)) is None, "the rise is noise"


def test_mass_that_shrinks_is_a_loss() -> None:
    level = by_prompt([2.0] * 10, 0.004, seed=1)
    assert watched(level, by_prompt([0.5] * 6 + [0.48, 0.46, 0.44, 0.42], 0.004)) == Alarm("mass loss", 70, 50)
    assert watched(level, by_prompt([0.5] * 6 + [0.497, 0.495, 0.494, 0.493])) is None, "by less than 2 %"


def test_half_the_entropy_is_a_collapse_at_once_and_the_first_alarm_stays() -> None:
    assert watched([[2.0], [1.1], [0.9], [0.1]]) == Alarm("entropy collapse", 20, 10), "one prompt has no known noise"


def test_the_same_fall_in_more_noise_is_none() -> None:
    means = [*RISES, 2.3, 2.2, 2.1]
    assert watched(by_prompt(means, 0.1)) is None
    assert watched(by_prompt(means, 0.001, shared=0.05)) is None


@pytest.mark.parametrize(
    ("noise", "most"), [({"noise": 0.02}, 0.05), ({"noise": 0.005}, 0.05), ({"noise": 0.002, "shared": 0.02}, 0.15)]
)
def test_noise_rarely_raises_it(noise: dict[str, float], most: float) -> None:
    runs = 150
    ours = theirs = 0
    for seed in range(runs):
        entropy = by_prompt([2.5] * 15, seed=seed, **noise)
        mass = by_prompt([0.5] * 15, seed=seed + runs, **noise)
        ours += watched(entropy, mass) is not None
        monitor = OverOptimisationMonitor()
        for step, (h, m) in enumerate(zip(entropy, mass, strict=True)):
            monitor.observe(step, entropy=h.mean(), mass=m.mean())
        theirs += monitor.alarm is not None
    assert ours <= most * runs
    if max(noise.values()) == 0.02:
        assert theirs > 0.2 * runs, "the noise is enough to deceive a count of falls"


def test_falls_are_found_in_noise() -> None:
    means = [2.5 * (1 + 0.025 * min(t, 4) - 0.04 * max(0, t - 4)) for t in range(11)]
    found = [watched(by_prompt(means, 0.005, seed)) for seed in range(40)]
    assert all(alarm is not None and alarm.reason == "entropy reversal" and alarm.step > 40 for alarm in found)


def test_bad_observations() -> None:
    alarm = FallAlarm(5)
    alarm.observe(10, [1.0, 2.0], [0.5, 0.5])
    with pytest.raises(BadInput, match="steps should rise"):
        alarm.observe(10, [1.0, 2.0], [0.5, 0.5])
    wrongs: list[Any] = [[1.0], [1.0, math.nan], [[1.0, 2.0]]]
    for wrong in wrongs:
        with pytest.raises(BadInput, match="step 20: give a finite number for each prompt"):
            alarm.observe(20, wrong, [0.5, 0.5])
    with pytest.raises(BadInput, match="window"):
        FallAlarm(5, window=0)
    with pytest.raises(BadInput, match="false_alarms"):
        FallAlarm(5, false_alarms=0)
