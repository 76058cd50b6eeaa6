"""f-divergences between a policy and its reference: generator, derivative, inverse, and the exact optimum they lead to.

"Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints" (2024). With
u = pi / ref and a = ln u, D_f(pi || ref) = E_ref[f(u)]. Everything is a function of a, in float64 or float32:

==============  ==========================================  ================================
name            f(u)                                        f'(u), additive constant dropped
==============  ==========================================  ================================
``reverse_kl``  u ln u                                      a
``forward_kl``  -ln u                                       -exp(-a)
``js``          u ln u - (u + 1) ln((u + 1) / 2)            ln 2 - ln(1 + exp(-a))
``alpha``       (u^(1-alpha) - (1-alpha) u - alpha)         -exp(-alpha a) / alpha
                / (alpha (alpha - 1))
==============  ==========================================  ================================

``js`` is twice the usual Jensen-Shannon divergence. ``alpha`` tends to the reverse KL as alpha goes to 0 and to the
forward KL as it goes to 1.

:func:`polyculture.align.objectives.f_dpo.f_dpo_loss` trains under them; :func:`optimal_policy` is what it should find,
:func:`divergence_value` how far that is from the reference, and :func:`penalised_rewards` what PPO, the paper's
baseline, would be given under the same penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from polyculture.align.objectives.bounds import at_least_float32, positive
from polyculture.errors import BadInput, unknown

AlphaConvention = Literal["paper", "trl"]
NAMES = ("reverse_kl", "forward_kl", "js", "alpha")
LOG_2 = math.log(2.0)

_TV = "its derivative is a step, which has no inverse: the reward can't be told from the ratio"
_CHI = "0 is in the domain of its derivative: the optimum may give an answer no probability, and the reward is lost"
REFUSED = {"tv": _TV, "total_variation": _TV, "chi2": _CHI, "chi_square": _CHI, "chi_squared": _CHI}


@dataclass(frozen=True)
class Divergence:
    """One f-divergence, as functions of the log-ratio a = ln(pi / ref).

    Args:
        name: one of NAMES.
        generator: f(u).
        score: f'(u) without its additive constant.
        constant: what ``score`` leaves out: f'(u) = score + constant.
        log_inverse: ln u of z, the score less its supremum; z < 0 but for the reverse KL, whose score has none.
        supremum: of the score; infinite for the reverse KL.
        reversed_generator: u^-1 f(u), whose mean over the policy's own samples is D_f.
        rate: how fast the exponent of the score grows as a falls: the score is taken of exp(-rate a); 0 if no
            exponential is taken.
    """

    name: str
    generator: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor]
    constant: float
    log_inverse: Callable[[Tensor], Tensor]
    supremum: float
    reversed_generator: Callable[[Tensor], Tensor]
    rate: float = 0.0


def f_divergence(name: str, *, alpha: float = 0.5, alpha_convention: AlphaConvention = "paper") -> Divergence:
    """The f-divergence of that name.

    Args:
        name: "reverse_kl", "forward_kl", "js" or "alpha".
        alpha: of the alpha divergence; no other looks at it.
        alpha_convention: "paper" (alpha near 0 is the reverse KL, near 1 the forward KL), or "trl", whose coefficient
            is 1 - alpha.

    Raises:
        BadInput: alpha is outside (0, 1), or the divergence is one that no reward can be read off (TV, chi-square).
        UnknownMethod: there is no such divergence or convention.
    """
    if name.lower().replace("-", "_") in REFUSED:
        reason = REFUSED[name.lower().replace("-", "_")]
        raise BadInput(f"the divergence '{name}' can't be used: {reason}; choose one of {', '.join(NAMES)}")
    if name not in NAMES:
        raise unknown("divergence", name, NAMES)
    if name == "alpha":
        return _alpha(_in_paper(alpha, alpha_convention))
    return {"reverse_kl": REVERSE_KL, "forward_kl": FORWARD_KL, "js": JENSEN_SHANNON}[name]


REVERSE_KL = Divergence(
    "reverse_kl",
    generator=lambda a: a.exp() * a,
    score=lambda a: a,
    constant=1.0,
    log_inverse=lambda z: z,
    supremum=math.inf,
    reversed_generator=lambda a: a,
)
FORWARD_KL = Divergence(
    "forward_kl",
    generator=lambda a: -a,
    score=lambda a: -torch.exp(-a),
    constant=0.0,
    log_inverse=lambda z: -torch.log(-z),
    supremum=0.0,
    reversed_generator=lambda a: -a * torch.exp(-a),
    rate=1.0,
)
JENSEN_SHANNON = Divergence(
    "js",
    generator=lambda a: a.exp() * (LOG_2 - softplus(-a)) + LOG_2 - softplus(a),
    score=lambda a: LOG_2 - softplus(-a),
    constant=0.0,
    log_inverse=lambda z: z - torch.log(-torch.expm1(z)),
    supremum=LOG_2,
    reversed_generator=lambda a: LOG_2 - softplus(-a) + torch.exp(-a) * (LOG_2 - softplus(a)),
)


def _alpha(alpha: float) -> Divergence:
    scale = alpha * (alpha - 1)
    return Divergence(
        "alpha",
        generator=lambda a: (torch.exp((1 - alpha) * a) - (1 - alpha) * a.exp() - alpha) / scale,
        score=lambda a: -torch.exp(-alpha * a) / alpha,
        constant=1 / alpha,
        log_inverse=lambda z: -torch.log(-alpha * z) / alpha,
        supremum=0.0,
        reversed_generator=lambda a: (torch.exp(-alpha * a) - alpha * torch.exp(-a) + alpha - 1) / scale,
        rate=alpha,
    )


def optimal_policy(
    ref: Any,
    rewards: Any,
    *,
    divergence: str = "reverse_kl",
    beta: float = 0.1,
    alpha: float = 0.5,
    alpha_convention: AlphaConvention = "paper",
) -> Tensor:
    """The policy that maximises E_pi[r] - beta D_f(pi || ref) over finitely many answers, (..., K) float64.

    pi = ref (f')^-1((r - lambda) / beta), where lambda, found by bisection, makes it sum to 1.

    Args:
        ref: (..., K) the reference's probabilities; an answer that has none gets none.
        rewards: (..., K) their rewards.
        divergence: see :func:`f_divergence`.
        beta: strength of the pull to the reference.
        alpha: see :func:`f_divergence`.
        alpha_convention: see :func:`f_divergence`.

    Raises:
        BadInput: shapes differ, ref does not sum to 1 or is negative, a reward is not finite, or beta is not positive.
        UnknownMethod: there is no such divergence.
    """
    positive("beta", beta, "the optimum")
    chosen = f_divergence(divergence, alpha=alpha, alpha_convention=alpha_convention)
    p, r = (torch.as_tensor(x, dtype=torch.float64) for x in (ref, rewards))
    if p.shape != r.shape or p.dim() == 0 or p.shape[-1] == 0:
        raise BadInput(f"ref and rewards should both be (..., K); they are {tuple(p.shape)} and {tuple(r.shape)}")
    if not bool(torch.isfinite(r).all()):
        raise BadInput("a reward is NaN or infinite")
    if not bool((p >= 0).all()) or not torch.allclose(p.sum(dim=-1), torch.ones((), dtype=p.dtype), atol=1e-6):
        raise BadInput("ref should be probabilities: none negative, summing to 1")
    kept = p > 0
    below = r - torch.where(kept, r, -torch.inf).amax(dim=-1, keepdim=True)
    below = torch.where(kept, below, 0.0)
    if chosen.supremum == math.inf:
        return torch.softmax(torch.where(kept, p.log() + below / beta, -torch.inf), dim=-1)

    def policy(log_gap: Tensor) -> Tensor:
        # lambda lies exp(log_gap) above where the best answer's score would reach its supremum.
        return torch.where(kept, p * chosen.log_inverse((below - log_gap.exp()) / beta).exp(), 0.0)

    low = torch.full_like(r[..., :1], math.log(beta) - 80.0)
    high = torch.full_like(low, math.log(beta) + 80.0)
    for _ in range(64):
        middle = (low + high) / 2
        heavy = policy(middle).sum(dim=-1, keepdim=True) > 1
        low, high = torch.where(heavy, middle, low), torch.where(heavy, high, middle)
    found = policy((low + high) / 2)
    return found / found.sum(dim=-1, keepdim=True)


def divergence_value(policy: Any, ref: Any, *, divergence: str = "reverse_kl", alpha: float = 0.5) -> Tensor:
    """D_f(pi || ref) = sum_y ref(y) f(pi(y) / ref(y)) over finitely many answers, in nats; twice the usual for ``js``.

    Args:
        policy: (..., K) probabilities, positive where the reference's are.
        ref: (..., K) probabilities; answers without any are left out.
        divergence: see :func:`f_divergence`.
        alpha: see :func:`f_divergence`.
    """
    chosen = f_divergence(divergence, alpha=alpha)
    q, p = (torch.as_tensor(x, dtype=torch.float64) for x in (policy, ref))
    terms = p * chosen.generator(torch.where(p > 0, q.log() - p.log(), 0.0))
    return torch.where(p > 0, terms, 0.0).sum(dim=-1)


def penalised_rewards(
    policy_logps: Tensor,
    ref_logps: Tensor,
    mask: Tensor,
    scores: Tensor,
    *,
    divergence: str = "reverse_kl",
    beta: float = 0.1,
    alpha: float = 0.5,
    alpha_convention: AlphaConvention = "paper",
) -> Tensor:
    """Rewards a token of PPO with an f-penalty, the paper's baseline: (B, T), 0 where the mask is.

    A token's reward is -beta f~(ref / pi), f~(x) = x f(1/x), whose mean over the policy's samples is the divergence;
    the last token of a completion also gets the score of the whole. No gradient flows.

    Args:
        policy_logps: (B, T) log-probabilities of the tokens under the policy that sampled them.
        ref_logps: (B, T) under the reference.
        mask: (B, T) True, or 1, at the tokens of completions; each row has one.
        scores: (B,) reward of each completion.
        divergence: see :func:`f_divergence`.
        beta: weight of the penalty.
        alpha: see :func:`f_divergence`.
        alpha_convention: see :func:`f_divergence`.

    Raises:
        BadInput: shapes differ, a completion has no token, a log-probability inside is not finite, beta <= 0.
        UnknownMethod: there is no such divergence.
    """
    positive("beta", beta, "the f-penalty")
    chosen = f_divergence(divergence, alpha=alpha, alpha_convention=alpha_convention)
    inside = mask.bool()
    if policy_logps.shape != ref_logps.shape or policy_logps.shape != mask.shape or scores.shape != mask.shape[:1]:
        raise BadInput(
            "policy_logps, ref_logps and mask should be (B, T) and scores (B,); they are "
            + ", ".join(str(tuple(x.shape)) for x in (policy_logps, ref_logps, mask, scores))
        )
    if not bool(inside.any(dim=1).all()):
        raise BadInput("a completion has no token; drop those rows")
    ratio = torch.where(inside, at_least_float32(policy_logps.detach()) - at_least_float32(ref_logps.detach()), 0.0)
    if not bool(torch.isfinite(ratio).all()):
        raise BadInput("a token's log-probability is NaN or infinite, so its penalty is not defined")
    rewards = torch.where(inside, -beta * chosen.reversed_generator(ratio), 0.0)
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(inside, positions, -1).argmax(dim=1, keepdim=True)
    return rewards.scatter_add(1, last, scores.detach().to(rewards.dtype)[:, None])


def _in_paper(alpha: float, convention: AlphaConvention) -> float:
    if convention not in ("paper", "trl"):
        raise unknown("alpha_convention", convention, ("paper", "trl"))
    ours = alpha if convention == "paper" else 1 - alpha
    if not 0 < ours < 1:
        ends = ("reverse_kl", "forward_kl") if convention == "paper" else ("forward_kl", "reverse_kl")
        raise BadInput(f"alpha should lie between 0 ({ends[0]}) and 1 ({ends[1]}), both excluded, not {alpha}")
    return ours
