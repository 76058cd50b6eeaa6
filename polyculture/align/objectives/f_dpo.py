"""f-DPO: direct preference optimisation that holds the policy to its reference by another divergence.

"Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints" (2024), arXiv
2309.16240. The policy that maximises E_pi[r] - beta D_f(pi || ref) has r(y) = beta f'(pi(y) / ref(y)) + lambda(x) if f'
can be inverted and is not defined at 0. The lambda of a prompt is the same for both answers to it, so Bradley-Terry
leaves

    -ln sigmoid(beta f'(u_w) - beta f'(u_l)),   u = pi / ref.

See :mod:`polyculture.align.objectives.f_divergences` for f', and for the exact optimum over finitely many answers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, positive
from polyculture.align.objectives.f_divergences import f_divergence
from polyculture.align.objectives.margins import log_ratios
from polyculture.align.traits import traits
from polyculture.errors import BadInput


def divergence_score(
    log_ratio: Tensor,
    divergence: str,
    *,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
) -> Tensor:
    """f'(u) of u = exp(log_ratio), without its additive constant, in float64 or float32.

    Args:
        log_ratio: ln(policy / reference) of whole answers, summed over tokens, of any shape.
        divergence: "reverse_kl", "forward_kl", "js" or "alpha".
        alpha: of the alpha divergence, in (0, 1).
        alpha_convention: "paper", or "trl", whose coefficient is 1 - alpha.
        max_exponent: largest exponent taken by forward_kl and alpha; beyond it the score is constant and its gradient
            0. None lets it grow until it overflows. :func:`beyond_exponent` counts what it touches.

    Raises:
        BadInput: the divergence has no such reward (TV, chi-square), alpha is outside (0, 1), or max_exponent is not
            positive.
        UnknownMethod: there is no such divergence.
    """
    chosen = f_divergence(divergence, alpha=alpha, alpha_convention=alpha_convention)
    a = at_least_float32(log_ratio)
    if max_exponent is not None:
        positive("max_exponent", max_exponent, "f-DPO")
        if chosen.rate:
            a = a.clamp(min=-max_exponent / chosen.rate)
    return chosen.score(a)


def beyond_exponent(
    log_ratio: Tensor,
    divergence: str,
    *,
    max_exponent: float,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
) -> Tensor:
    """Which entries ``max_exponent`` touches, a bool tensor: they push no gradient. Sum it to log their number.

    Args:
        log_ratio: as of :func:`divergence_score`.
        divergence: as of :func:`divergence_score`.
        max_exponent: as of :func:`divergence_score`.
        alpha: as of :func:`divergence_score`.
        alpha_convention: as of :func:`divergence_score`.
    """
    chosen = f_divergence(divergence, alpha=alpha, alpha_convention=alpha_convention)
    return -chosen.rate * at_least_float32(log_ratio) > positive("max_exponent", max_exponent, "f-DPO")


def f_dpo_rewards(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    divergence: str = "js",
    beta: float = 0.1,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The implicit rewards beta f'(u) of chosen and rejected, detached; comparable within a prompt only.

    Args:
        policy_chosen: as of :func:`f_dpo_loss`, like all the others.
        policy_rejected: as above.
        ref_chosen: as above.
        ref_rejected: as above.
        divergence: as above.
        beta: as above.
        alpha: as above.
        alpha_convention: as above.
        max_exponent: as above.
    """
    chosen, rejected = (
        divergence_score(
            a.detach(), divergence, alpha=alpha, alpha_convention=alpha_convention, max_exponent=max_exponent
        )
        for a in log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    )
    return beta * chosen, beta * rejected


def _metrics(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    divergence: str = "js",
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
    **_: float,
) -> dict[str, Tensor]:
    """``clamped/chosen`` and ``clamped/rejected``: 1 where ``max_exponent`` touches an answer; nothing without one."""
    if max_exponent is None:
        return {}
    ratios = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return {
        f"clamped/{side}": beyond_exponent(
            a, divergence, max_exponent=max_exponent, alpha=alpha, alpha_convention=alpha_convention
        ).float()
        for side, a in zip(("chosen", "rejected"), ratios, strict=True)
    }


@traits(rewards=f_dpo_rewards, metrics=_metrics)
def f_dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    divergence: str = "js",
    beta: float = 0.1,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
) -> Tensor:
    """Preference optimisation under an f-divergence: -ln sigmoid(beta f'(u_w) - beta f'(u_l)), (B,).

    ``reverse_kl`` is DPO. The gradient of a side is weighted by u f''(u): 1 for reverse_kl, exp(-a) for forward_kl,
    exp(-alpha a) for alpha and sigmoid(-a) for js, with a = ln u: the others push least where the policy already
    likes an answer more than the reference does.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        divergence: "reverse_kl", "forward_kl", "js" or "alpha".
        beta: strength of the pull to the reference; the paper tries .1, .3 and .9.
        alpha: of the alpha divergence, in (0, 1): near 0 it is reverse_kl, near 1 forward_kl.
        alpha_convention: "paper", or "trl", whose coefficient is 1 - alpha; they agree at .5 only.
        max_exponent: largest exponent that forward_kl and alpha take, such as 80; pairs beyond it push no gradient
            on that side, and their share is logged as ``clamped/chosen`` and ``clamped/rejected``. By default there is
            no limit, and an overflow is an error.

    Raises:
        BadInput: the divergence has no such reward (TV, chi-square); beta, alpha or max_exponent is out of range; the
            reference is NaN or infinite; or an exponential overflows.
        UnknownMethod: there is no such divergence.
    """
    positive("beta", beta, "f-DPO")
    ratios = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    scores = [
        divergence_score(a, divergence, alpha=alpha, alpha_convention=alpha_convention, max_exponent=max_exponent)
        for a in ratios
    ]
    overflowed = torch.isinf(scores[0]) | torch.isinf(scores[1])
    if divergence in ("forward_kl", "alpha") and bool(overflowed.any()):
        lowest = min(a.min().item() for a in ratios)
        raise BadInput(
            f"the {divergence} score of {int(overflowed.sum())} pairs overflows: a log-ratio to the reference is down "
            f"to {lowest:.4g}; give max_exponent (80), train in smaller steps, or use js"
        )
    return -logsigmoid(beta * (scores[0] - scores[1]))
