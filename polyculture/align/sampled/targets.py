"""What a policy is drawn to: distributions P over completions, known up to a constant, built on a frozen base model a.

f-DPG (2023, arXiv:2302.08215), section 3, after GDC (2021, arXiv:2012.11635). Every target has

    log_target(prompts, completions, base_logps) -> (n,) float64, log P

- :class:`Constraint`: what is true of every completion, P = a b.
- :class:`Moments`: what is true on average, P = a exp(lambda . phi), lambda fitted so that E_p[phi] = mu.
- :class:`RewardTilt`: as reinforcement learning with a KL penalty has it, P = a exp(r / beta).

Functions of your own take the list of prompts and the list of completions, and give one value a completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from polyculture.align.objectives.bounds import positive
from polyculture.align.watching.measures import make_reward
from polyculture.errors import BadInput
from polyculture.functions import PREFIX, named_function

OfCompletions = Callable[[Sequence[str], Sequence[str]], Any]
"""A function of prompts and completions, one value (or row of values) a completion."""

FORMS = (
    "constraint:python:module:function",
    "reward:python:module:function",
    "reward:QUALITY (a name of polyculture methods --stage quality)",
    "moments:python:module:function=0.5,0.2 (the moments wanted, one a feature)",
)


class Target(Protocol):
    """A target distribution, known up to a constant."""

    def log_target(self, prompts: Sequence[str], completions: Sequence[str], base_logps: ArrayLike) -> np.ndarray:
        """(n,) float64 log P of each completion after its prompt, -inf where P is 0.

        Args:
            prompts: one a completion.
            completions: texts.
            base_logps: (n,) log a, the base model's log-probability of each completion.
        """

    def told(self, tilt: np.ndarray) -> dict[str, float]:
        """What to log of samples, by name.

        Args:
            tilt: (n,) log P - log a of each.
        """


@dataclass(frozen=True)
class Constraint:
    """P = a b: what the base model would say if it always met the constraint.

    Args:
        holds: whether the constraint holds of each completion.
        eps: P = a eps where it does not, so that no divergence is infinite; 0 forbids it outright.

    Raises:
        BadInput: eps is outside [0, 1).
    """

    holds: OfCompletions
    eps: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eps < 1:
            raise BadInput(f"eps of a constraint should lie in [0, 1), not {self.eps}")

    def log_target(self, prompts: Sequence[str], completions: Sequence[str], base_logps: ArrayLike) -> np.ndarray:
        """See :meth:`Target.log_target`: where the constraint holds log a, where not log a + log eps.

        Raises:
            BadInput: the constraint gives something else than True or False.
        """
        held = _values(self.holds, prompts, completions, "the constraint")
        if not bool(np.isin(held, (0.0, 1.0)).all()):
            raise BadInput("a constraint should give True or False (1 or 0) of each completion")
        with np.errstate(divide="ignore"):
            return _logs(base_logps, len(held)) + np.log(np.where(held == 1, 1.0, self.eps))

    def told(self, tilt: np.ndarray) -> dict[str, float]:
        """The share of samples of which the constraint holds.

        Args:
            tilt: (n,) log P - log a of each.
        """
        return {"constraint": float(np.mean(tilt > (np.log(self.eps) / 2 if self.eps else -np.inf)))}


@dataclass(frozen=True)
class RewardTilt:
    """P = a exp(r / beta): the optimum of reward minus beta KL(pi || a).

    Args:
        reward: of each completion, higher is better.
        beta: how dear it is to leave the base model.

    Raises:
        BadInput: beta is not above 0.
    """

    reward: OfCompletions
    beta: float = 1.0

    def __post_init__(self) -> None:
        positive("beta", self.beta, "a reward target")

    def log_target(self, prompts: Sequence[str], completions: Sequence[str], base_logps: ArrayLike) -> np.ndarray:
        """The base model's log a, plus r / beta."""
        rewards = _values(self.reward, prompts, completions, "the reward")
        return _logs(base_logps, len(rewards)) + rewards / self.beta

    def told(self, tilt: np.ndarray) -> dict[str, float]:
        """The mean reward.

        Args:
            tilt: (n,) log P - log a of each.
        """
        return {"reward": float(np.mean(tilt) * self.beta)}


@dataclass(frozen=True)
class Moments:
    """P = a exp(lambda . phi): the distribution nearest to the base model whose features average to what is wanted.

    Args:
        features: phi, of each completion a number or a row of k numbers.
        wanted: mu, the k averages wanted.
        coefficients: lambda; None until :meth:`fit`.
    """

    features: OfCompletions
    wanted: tuple[float, ...]
    coefficients: tuple[float, ...] | None = None

    def fit(self, prompts: Sequence[str], completions: Sequence[str], **how: Any) -> tuple[Moments, MomentFit]:
        """The target with lambda fitted to samples of the base model, and how the fit went.

        Args:
            prompts: of each sample; the paper takes 512 samples.
            completions: sampled from the base model at temperature 1.
            how: options of :func:`fit_moments`.
        """
        fitted = fit_moments(self._rows(prompts, completions), self.wanted, **how)
        return replace(self, coefficients=tuple(fitted.coefficients.tolist())), fitted

    def log_target(self, prompts: Sequence[str], completions: Sequence[str], base_logps: ArrayLike) -> np.ndarray:
        """The base model's log a, plus lambda . phi.

        Raises:
            BadInput: lambda has not been fitted.
        """
        if self.coefficients is None:
            raise BadInput("fit the moments to samples of the base model first: target, fitted = target.fit(...)")
        rows = self._rows(prompts, completions)
        return _logs(base_logps, len(rows)) + rows @ np.asarray(self.coefficients)

    def told(self, tilt: np.ndarray) -> dict[str, float]:
        """The mean of lambda . phi.

        Args:
            tilt: (n,) log P - log a of each.
        """
        return {"tilt": float(np.mean(tilt))}

    def _rows(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        rows = _values(self.features, prompts, completions, "the features", columns=True)
        if rows.shape[1] != len(self.wanted):
            raise BadInput(
                f"there are {rows.shape[1]} features and {len(self.wanted)} moments wanted; give one for each"
            )
        return rows


@dataclass(frozen=True)
class MomentFit:
    """How fitting lambda went.

    Args:
        coefficients: (k,) lambda.
        moments: (k,) the self-normalised moments under it.
        error: the largest distance from what was wanted.
        iterations: steps taken.
        effective_samples: (sum w)^2 / sum w^2 of the importance weights; of few, the moments mean little.
    """

    coefficients: np.ndarray
    moments: np.ndarray
    error: float
    iterations: int
    effective_samples: float


def fit_moments(
    features: ArrayLike,
    wanted: ArrayLike,
    *,
    rate: float = 0.05,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
) -> MomentFit:
    """Find lambda such that samples weighted by exp(lambda . phi) have the moments wanted.

    Gradient steps lambda -= rate (moment - wanted), until the largest error is below the tolerance, or the iterations
    are used up. Source: GDC (2021), section 2, with the settings of f-DPG's code.

    Args:
        features: (n, k) phi of each of n samples of the base model.
        wanted: (k,) mu.
        rate: size of a step.
        tolerance: largest error that ends it.
        max_iterations: most steps.

    Raises:
        BadInput: shapes differ, a number is not finite, or a moment lies outside what the samples span.
    """
    phi, mu = np.asarray(features, dtype=np.float64), np.atleast_1d(np.asarray(wanted, dtype=np.float64))
    phi = phi[:, None] if phi.ndim == 1 else phi
    if phi.ndim != 2 or not len(phi) or phi.shape[1:] != mu.shape:
        raise BadInput(f"features should be (n, k) with k = {len(mu)} moments wanted; they have shape {phi.shape}")
    if not bool(np.isfinite(phi).all() and np.isfinite(mu).all()):
        raise BadInput("features and moments should be finite")
    outside = (mu < phi.min(axis=0)) | (mu > phi.max(axis=0))
    if bool(outside.any()):
        k = int(np.flatnonzero(outside)[0])
        raise BadInput(
            f"moment {k + 1} should be {mu[k]:g}, but that feature is from {phi[:, k].min():g} to {phi[:, k].max():g} "
            "in every sample; take more samples, or want less"
        )
    coefficients = np.zeros(len(mu))
    weights, moments = _weighted(phi, coefficients)
    steps = 0
    while np.abs(moments - mu).max() >= tolerance and steps < max_iterations:
        coefficients = coefficients - rate * (moments - mu)
        weights, moments = _weighted(phi, coefficients)
        steps += 1
    return MomentFit(coefficients, moments, float(np.abs(moments - mu).max()), steps, float(1 / (weights**2).sum()))


def make_target(spec: str | Target, *, beta: float = 1.0, eps: float = 0.0) -> Target:
    """A target from one line of text, as a command line gives it.

    Args:
        spec: one of FORMS, or a target.
        beta: of a reward target.
        eps: of a constraint.

    Raises:
        BadInput: it has none of the forms, or the function can't be imported.
        UnknownMethod: there is no such quality.
    """
    if not isinstance(spec, str):
        return spec
    form, _, what = spec.partition(":")
    if form == "constraint" and what.startswith(PREFIX):
        return Constraint(named_function(what), eps)
    if form == "reward" and what:
        reward = make_reward(what)
        if reward is not None:
            return RewardTilt(reward, beta)
    if form == "moments" and what.startswith(PREFIX):
        name, _, numbers = what.partition("=")
        try:
            wanted = tuple(float(number) for number in numbers.split(","))
        except ValueError:
            wanted = ()
        if wanted:
            return Moments(named_function(name), wanted)
    raise BadInput(f"the target '{spec}' should be one of: {'; '.join(FORMS)}")


def _values(
    function: OfCompletions, prompts: Sequence[str], completions: Sequence[str], what: str, *, columns: bool = False
) -> np.ndarray:
    values = np.asarray(function(list(prompts), list(completions)), dtype=np.float64)
    if columns and values.ndim == 1:
        values = values[:, None]
    if values.ndim != 1 + columns or len(values) != len(completions):
        raise BadInput(f"{what} gave shape {values.shape} of {len(completions)} completions; one value each is needed")
    if not bool(np.isfinite(values).all()):
        raise BadInput(f"{what} gave NaN or infinity of some completions")
    return values


def _logs(base_logps: ArrayLike, n: int) -> np.ndarray:
    logs = np.asarray(base_logps, dtype=np.float64)
    if logs.shape != (n,):
        raise BadInput(f"there are {n} completions and log-probabilities of shape {logs.shape}")
    return logs


def _weighted(phi: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logs = phi @ coefficients
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return weights, weights @ phi
