from __future__ import annotations

import math

import numpy as np
import pytest

from polyculture.align.sampled.targets import Constraint, Moments, RewardTilt, fit_moments, make_target
from polyculture.errors import BadInput, UnknownMethod

BASE = np.array([-1.0, -2.0, -3.0])
PROMPTS, TEXTS = ["p"] * 3, ["ab", "b", "aba"]


def has_a(prompts, completions):
    return ["a" in text for text in completions]


def length(prompts, completions):
    return [len(text) for text in completions]


def both(prompts, completions):
    return [[float("a" in text), len(text)] for text in completions]


def test_a_constraint_forbids_or_smooths():
    assert Constraint(has_a).log_target(PROMPTS, TEXTS, BASE).tolist() == [-1.0, -math.inf, -3.0]
    smooth = Constraint(has_a, eps=0.1).log_target(PROMPTS, TEXTS, BASE)
    assert smooth == pytest.approx([-1.0, -2.0 + math.log(0.1), -3.0])
    with pytest.raises(BadInput, match="True or False"):
        Constraint(length).log_target(PROMPTS, TEXTS, BASE)
    with pytest.raises(BadInput, match="eps"):
        Constraint(has_a, eps=1.0)


def test_a_reward_tilts():
    assert RewardTilt(length, beta=0.5).log_target(PROMPTS, TEXTS, BASE) == pytest.approx([3.0, 0.0, 3.0])
    with pytest.raises(BadInput, match="beta"):
        RewardTilt(length, beta=0.0)
    with pytest.raises(BadInput, match="NaN or infinity"):
        RewardTilt(lambda p, c: [math.nan] * len(c)).log_target(PROMPTS, TEXTS, BASE)
    with pytest.raises(BadInput, match="shape"):
        RewardTilt(lambda p, c: [1.0]).log_target(PROMPTS, TEXTS, BASE)
    with pytest.raises(BadInput, match="log-probabilities of shape"):
        RewardTilt(length).log_target(PROMPTS, TEXTS, BASE[:2])


def test_moments_of_one_binary_feature_have_a_closed_form():
    phi = np.array([1.0] * 20 + [0.0] * 80)
    fitted = fit_moments(phi, [0.5], rate=0.5)
    assert fitted.coefficients[0] == pytest.approx(math.log(4), abs=1e-3)
    assert fitted.moments[0] == pytest.approx(0.5, abs=1e-4) and fitted.error < 1e-5 and fitted.iterations < 1000
    assert fitted.effective_samples == pytest.approx(1 / (0.25 / 20 + 0.25 / 80), rel=1e-3)


def test_the_fit_stops_as_it_says():
    phi = np.array([1.0] * 20 + [0.0] * 80)
    assert fit_moments(phi, [0.2]).iterations == 0
    assert fit_moments(phi, [0.9], max_iterations=7).iterations == 7
    with pytest.raises(BadInput, match=r"moment 1 should be 1\.5, but that feature is from 0 to 1"):
        fit_moments(phi, [1.5])
    with pytest.raises(BadInput, match="have shape"):
        fit_moments(phi, [0.5, 0.5])
    with pytest.raises(BadInput, match="finite"):
        fit_moments([math.nan], [0.5])


def test_a_target_of_moments_is_fitted_first():
    target = Moments(both, (0.5, 2.0))
    with pytest.raises(BadInput, match=r"target\.fit"):
        target.log_target(PROMPTS, TEXTS, BASE)
    fitted, how = target.fit(PROMPTS, TEXTS, rate=0.5)
    assert fitted.coefficients == pytest.approx(how.coefficients)
    expected = BASE + np.asarray(both(PROMPTS, TEXTS)) @ how.coefficients
    assert fitted.log_target(PROMPTS, TEXTS, BASE) == pytest.approx(expected)
    with pytest.raises(BadInput, match="2 features and 1 moments"):
        Moments(both, (0.5,)).fit(PROMPTS, TEXTS)


def test_targets_by_name():
    here = "python:tests.align.sampled.test_targets"
    constraint = make_target(f"constraint:{here}:has_a", eps=0.2)
    assert isinstance(constraint, Constraint) and constraint.eps == 0.2
    tilt = make_target(f"reward:{here}:length", beta=2.0)
    assert tilt.log_target(PROMPTS, TEXTS, BASE) == pytest.approx([0.0, -1.5, -1.5])
    assert make_target("reward:length").log_target(PROMPTS, TEXTS, BASE) == pytest.approx([1.0, -1.0, 0.0])
    assert make_target(f"moments:{here}:both=0.5,2") == Moments(both, (0.5, 2.0))
    assert make_target(tilt) is tilt
    for wrong in ("constraint:has_a", "reward:", f"moments:{here}:both", f"moments:{here}:both=x", "nothing"):
        with pytest.raises(BadInput, match="should be one of"):
            make_target(wrong)
    with pytest.raises(UnknownMethod):
        make_target("reward:no-such-quality")
