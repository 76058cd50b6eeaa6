"""Pulling a policy to a target distribution that is known up to a constant, by an f-divergence of choice.

Aligning Language Models with Preferences through f-divergence Minimization (2023, arXiv:2302.08215). The target is
p = P / Z (see :mod:`polyculture.align.sampled.targets`), the divergence D_f(pi || p) = E_p[f(pi / p)], and its gradient

    grad D_f = E_pi[ f'(pi(x) / p(x)) grad log pi(x) ]                                              (Theorem 1)

so that -f' is the reward of a policy gradient. With t = pi / p, and the constants of the authors' code:

    name         divergence   f(t)                                    f'(t)
    forward_kl   KL(p || pi)  -log t                                  -1/t
    reverse_kl   KL(pi || p)  t log t                                 log t + 1
    tv           TV(p, pi)    |1 - t| / 2                             sign(log t) / 2
    js           2 JS(p, pi)  t log(2t / (t+1)) + log(2 / (t+1))      log 2 - log(1 + 1/t)
    chi2_p_pi    chi2(p||pi)  (1 - t)^2 / t                           1 - t^-2
    chi2_pi_p    chi2(pi||p)  (t - 1)^2                               2 (t - 1)

Importance ratios and Z are taken as they are: the paper clips neither. (The authors' toolkit, disco, has since had a
``max_z``, off by default, that shrinks the largest weights until Z is no larger, which moves the target.)

forward_kl is (KL-)distributional policy gradient; reverse_kl towards P = a exp(r / beta) is reinforcement learning with
a KL penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32
from polyculture.align.objectives.f_divergences import FORWARD_KL, JENSEN_SHANNON, REVERSE_KL
from polyculture.errors import BadInput, unknown

Divergence = Literal["forward_kl", "reverse_kl", "tv", "js", "chi2_p_pi", "chi2_pi_p"]

GENERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "forward_kl": FORWARD_KL.generator,
    "reverse_kl": REVERSE_KL.generator,
    "tv": lambda a: (1 - a.exp()).abs() / 2,
    "js": JENSEN_SHANNON.generator,
    "chi2_p_pi": lambda a: (1 - a.exp()) ** 2 * (-a).exp(),
    "chi2_pi_p": lambda a: (a.exp() - 1) ** 2,
}
"""f(t), of a = log t. That of js is twice the Jensen-Shannon divergence."""

DERIVATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "forward_kl": lambda a: FORWARD_KL.score(a) + FORWARD_KL.constant,
    "reverse_kl": lambda a: REVERSE_KL.score(a) + REVERSE_KL.constant,
    "tv": lambda a: torch.sign(a) / 2,
    "js": lambda a: JENSEN_SHANNON.score(a) + JENSEN_SHANNON.constant,
    "chi2_p_pi": lambda a: 1 - torch.exp(-2 * a),
    "chi2_pi_p": lambda a: 2 * (torch.exp(a) - 1),
}
"""f'(t), of a = log t."""

UNBOUNDED = ("reverse_kl", "chi2_pi_p")
"""Divergences that are infinite where the policy can sample what the target forbids."""


def pseudo_reward(
    policy_samples: Tensor, target_samples: Tensor, log_z: Tensor | float, *, divergence: Divergence = "js"
) -> Tensor:
    """R = -f'(t), log t = log pi - (log P - log Z), in float64, detached.

    A target of -inf is t = infinity: R is 0, -log 2, -1/2 and -1 for forward_kl, js, tv and chi2_p_pi, and -inf for
    reverse_kl and chi2_pi_p. Where Z is 0 as well nothing is known of p, and R is NaN.

    Args:
        policy_samples: (B,) log pi of each sample.
        target_samples: (B,) log P of each sample, -inf allowed.
        log_z: log of the target's sum, a number or one a sample.
        divergence: which f.

    Raises:
        UnknownMethod: there is no such divergence.
        BadInput: log P is NaN or +inf, or log pi is not finite.
    """
    if divergence not in DERIVATIVES:
        raise unknown("divergence", divergence, DERIVATIVES)
    policy, target = policy_samples.detach().double(), target_samples.detach().double()
    if not bool(torch.isfinite(policy).all()):
        raise BadInput("log-probabilities of sampled completions should be finite; the policy gave NaN or infinity")
    if bool((target.isnan() | (target == math.inf)).any()):
        raise BadInput("the target's log should be a number or -inf, not NaN or inf: is a reward NaN or infinite?")
    return -DERIVATIVES[divergence](policy - (target - log_z))


def f_dpg_loss(
    policy_samples: Tensor,
    proposal_samples: Tensor,
    target_samples: Tensor,
    log_z: Tensor,
    baseline: Tensor,
    *,
    divergence: Divergence = "js",
    zeros: Literal["refuse", "keep"] = "refuse",
) -> Tensor:
    """f-DPG: -(pi / q) A log pi, A = R - baseline, with R the :func:`pseudo_reward`; a policy gradient on D_f(pi || p).

    pi / q and A carry no gradient. pi / q is the ratio of whole sequences, 1 where q is the policy itself. A sample of
    a prompt whose Z is 0 so far has loss 0. Source: f-DPG (2023), Theorem 1 and Algorithm 1.

    Args:
        policy_samples: (B,) the policy's log-probability of each sample, summed over its tokens; has the gradient.
        proposal_samples: (B,) that under the policy q which sampled it.
        target_samples: (B,) log P, the unnormalised target; -inf where P = 0.
        log_z: (B,) log of the running estimate of the sum of P over completions of the sample's prompt.
        baseline: (B,) running mean of the pseudo-rewards before these samples; 0 at first.
        divergence: forward_kl, reverse_kl, tv, js, chi2_p_pi or chi2_pi_p.
        zeros: where P = 0, under reverse_kl and chi2_pi_p: "refuse", or "keep" the infinite loss that it is.

    Raises:
        UnknownMethod: there is no such divergence.
        BadInput: P is 0 somewhere and the divergence infinite there, log P is NaN or +inf, log pi or log q is not
            finite.
    """
    if not bool(torch.isfinite(proposal_samples).all()):
        raise BadInput("log-probabilities under the proposal should be finite: it sampled these completions")
    reward = pseudo_reward(policy_samples, target_samples, log_z.double(), divergence=divergence)
    known = log_z > -math.inf
    if divergence in UNBOUNDED and zeros == "refuse" and bool((known & (target_samples == -math.inf)).any()):
        raise BadInput(
            f"{divergence} is infinite where the target is 0 and the policy samples it; smooth the target (eps of a "
            "constraint), or choose forward_kl, js or tv"
        )
    ratio = torch.exp(policy_samples.detach().double() - proposal_samples.detach().double())
    weight = torch.where(known, ratio * (reward - baseline.double()), 0.0)  # before the product: no gradient is NaN
    policy = at_least_float32(policy_samples)
    return -weight.to(policy.dtype) * policy


def divergence_estimates(
    policy_samples: Tensor, proposal_samples: Tensor, target_samples: Tensor, log_z: Tensor | float
) -> dict[str, float]:
    """How far the policy is from the target, in nats and in [0, 1], from samples of a proposal q, w = P / q:

    kl_p_pi = mean[-log Z + (w/Z)(log P - log pi)], kl_pi_p = mean[(pi/q)(log pi - log p)],
    tv = mean[|pi/q - p/q| / 2], js = (KL(p || m) + KL(pi || m)) / 2 with m = (p + pi) / 2.

    With ess, the effective number of samples of w, (sum w)^2 / sum w^2, and largest_weight, the largest w/Z: where that
    is of the order of the number of samples, no estimate can be trusted. Source: f-DPG (2023), appendix.

    Args:
        policy_samples: (B,) log pi of each sample.
        proposal_samples: (B,) log q.
        target_samples: (B,) log P, -inf where it is 0.
        log_z: log Z, a number or one a sample; samples whose Z is 0 so far are left out.

    Returns:
        NaN for each where no sample has a Z above 0.
    """
    policy, proposal, target = (x.detach().double() for x in (policy_samples, proposal_samples, target_samples))
    z = torch.as_tensor(log_z, dtype=torch.float64, device=policy.device).expand_as(policy)
    known = z > -math.inf
    names = ("kl_p_pi", "kl_pi_p", "tv", "js", "ess", "largest_weight")
    if not bool(known.any()):
        return dict.fromkeys(names, math.nan)
    policy, proposal, target, z = policy[known], proposal[known], target[known], z[known]
    log_p = target - z
    p, pi = torch.exp(log_p - proposal), torch.exp(policy - proposal)
    mixture = torch.logaddexp(log_p, policy) - math.log(2)
    js = (_times(p, log_p - mixture) + pi * (policy - mixture)).mean() / 2
    total = p.sum()
    values = (
        (_times(p, target - policy) - z).mean(),
        (pi * (policy - log_p)).mean(),
        (pi - p).abs().mean() / 2,
        js,
        total**2 / (p**2).sum() if total > 0 else total,
        p.max(),
    )
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _times(weight: Tensor, log: Tensor) -> Tensor:
    """A weight times a log, 0 where the weight is: 0 log 0 = 0."""
    return torch.where(weight > 0, weight * log, 0.0)
