"""Objectives without a reference: the policy's own likelihood, mostly a token's mean, is the reward.

With s the summed log-probability of a completion of n tokens and m = s / n; w chosen, l rejected; all inputs are (B,).
SimPO, AlphaPO, CPO and ORPO were checked against TRL 1.16, SimPO and ORPO against their authors' code too.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, positive, within
from polyculture.align.objectives.margins import logistic
from polyculture.align.objectives.odds import log_odds
from polyculture.align.traits import traits
from polyculture.errors import BadInput, unknown


def simpo_loss(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 0.5,
    gamma_over_beta: float | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """SimPO (Meng et al., 2024): -ln sigmoid(beta (m_w - m_l) - gamma).

    The defaults are those of the authors' code; the paper's runs have beta 2 to 2.5 and gamma .3 to 1.6.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        mean_rejected: (B,) the same of each rejected answer.
        beta: scale of the rewards.
        gamma: the margin that is asked for, in units of the reward, outside beta.
        gamma_over_beta: the same inside, as the authors' code takes it: -ln sigmoid(beta (m_w - m_l - ratio)); when
            given it takes the place of gamma.
        label_smoothing: share of labels taken as flipped, in [0, .5].

    Raises:
        BadInput: beta is not positive, or label_smoothing is outside [0, .5].
    """
    positive("beta", beta, "simpo")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "simpo")
    asked = gamma if gamma_over_beta is None else beta * gamma_over_beta
    return logistic(beta * (at_least_float32(mean_chosen) - at_least_float32(mean_rejected)) - asked, label_smoothing)


def alphapo_score(mean: Tensor, alpha: float) -> Tensor:
    """AlphaPO's reward (1 - p^-alpha) / alpha of p = exp(mean log-probability a token); ln p at alpha = 0.

    Args:
        mean: mean log-probabilities, of any shape.
        alpha: shape of the reward.
    """
    mean = at_least_float32(mean)
    return mean if alpha == 0 else -torch.expm1(-alpha * mean) / alpha


def _alphapo_rewards(
    mean_chosen: Tensor, mean_rejected: Tensor, *, alpha: float = 0.25, beta: float = 2.0, **_: float
) -> tuple[Tensor, Tensor]:
    return beta * alphapo_score(mean_chosen.detach(), alpha), beta * alphapo_score(mean_rejected.detach(), alpha)


@traits(rewards=_alphapo_rewards)
def alphapo_loss(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    alpha: float = 0.25,
    beta: float = 2.0,
    gamma: float = 0.5,
    label_smoothing: float = 0.0,
) -> Tensor:
    """AlphaPO (Gupta et al., 2025): SimPO with the reward (1 - p^-alpha) / alpha of p = exp(m).

    The form is TRL's, for the authors published no code. The default of alpha is the paper's for Mistral-Instruct
    (Table 3, as TRL's documentation has it, with beta 2.5 and gamma .1); beta and gamma are as for :func:`simpo_loss`.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        mean_rejected: (B,) the same of each rejected answer.
        alpha: shape of the reward; 0 is SimPO, above 0 unlikely answers weigh more, below 0 less.
        beta: scale of the rewards.
        gamma: the margin that is asked for, in units of the reward.
        label_smoothing: share of labels taken as flipped, in [0, .5].

    Raises:
        BadInput: beta is not positive, label_smoothing is outside [0, .5], or a reward overflows.
    """
    positive("beta", beta, "alphapo")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "alphapo")
    chosen, rejected = alphapo_score(mean_chosen, alpha), alphapo_score(mean_rejected, alpha)
    overflowed = torch.isinf(chosen) | torch.isinf(rejected)
    if bool(overflowed.any()):  # its gradient is NaN where the loss is not
        lowest = min(mean_chosen.min().item(), mean_rejected.min().item())
        raise BadInput(
            f"the alphapo reward of {int(overflowed.sum())} pairs overflows: a mean log-probability a token is down to "
            f"{lowest:.4g}; take a smaller alpha"
        )
    return logistic(beta * (chosen - rejected) - gamma, label_smoothing)


def cpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    mean_chosen: Tensor,
    *,
    beta: float = 0.1,
    nll_weight: float = 1.0,
    label_smoothing: float = 0.0,
    form: Literal["sigmoid", "hinge", "ipo"] = "sigmoid",
) -> Tensor:
    """Contrastive preference optimisation (Xu et al., 2024, eq. 3): -ln sigmoid(beta (s_w - s_l)) - weight m_w.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        beta: scale of the rewards.
        nll_weight: weight of the chosen answer's negative log-likelihood a token.
        label_smoothing: share of labels taken as flipped, in [0, .5]; of the form "sigmoid" only.
        form: "sigmoid", "hinge", max(0, 1 - beta (s_w - s_l)), or "ipo", (s_w - s_l - 1 / (2 beta))^2.

    Raises:
        BadInput: beta is not positive, or label_smoothing is outside [0, .5].
        UnknownMethod: there is no such form.
    """
    positive("beta", beta, "cpo")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "cpo")
    gap = at_least_float32(policy_chosen) - at_least_float32(policy_rejected)
    if form == "sigmoid":
        preference = logistic(beta * gap, label_smoothing)
    elif form == "hinge":
        preference = torch.relu(1 - beta * gap)
    elif form == "ipo":
        preference = (gap - 1 / (2 * beta)) ** 2
    else:
        raise unknown("form of cpo", form, ("sigmoid", "hinge", "ipo"))
    return preference - nll_weight * at_least_float32(mean_chosen)


def slic_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    mean_chosen: Tensor,
    *,
    beta: float = 1.0,
    delta: float = 1.0,
    nll_weight: float = 0.0,
) -> Tensor:
    """SLiC-HF (Zhao et al., 2023): max(0, delta - beta (s_w - s_l)) - weight m_w.

    The paper's formula has no beta (1 here) and adds the likelihood of a reference text, for which the chosen answer
    stands; the added term's scale, a token's mean, is ours. ``slic-regularised`` is the form on means with a
    reference model.

    Args:
        policy_chosen: as of :func:`cpo_loss`.
        policy_rejected: as of :func:`cpo_loss`.
        mean_chosen: as of :func:`cpo_loss`.
        beta: scale of the difference.
        delta: the margin that is asked for.
        nll_weight: weight of the chosen answer's negative log-likelihood a token.

    Raises:
        BadInput: beta is not positive.
    """
    positive("beta", beta, "slic")
    gap = at_least_float32(policy_chosen) - at_least_float32(policy_rejected)
    return torch.relu(delta - beta * gap) - nll_weight * at_least_float32(mean_chosen)


def orpo_odds_term(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    lam: float = 0.1,
    beta: float = 1.0,
    prob_clamp: float | None = None,
) -> Tensor:
    """What ORPO adds to the likelihood of the chosen: lambda ln sigmoid(beta (o_w - o_l)), o the log-odds of exp(m).

    Args:
        mean_chosen: as of :func:`orpo_loss`.
        mean_rejected: as of :func:`orpo_loss`.
        lam: as of :func:`orpo_loss`.
        beta: as of :func:`orpo_loss`.
        prob_clamp: as of :func:`orpo_loss`.
    """
    chosen, rejected = (log_odds(mean, prob_clamp=prob_clamp) for mean in (mean_chosen, mean_rejected))
    return lam * logsigmoid(beta * (chosen - rejected))


def _orpo_rewards(
    mean_chosen: Tensor, mean_rejected: Tensor, *, lam: float = 0.1, **_: float | None
) -> tuple[Tensor, Tensor]:
    return lam * mean_chosen.detach(), lam * mean_rejected.detach()


@traits(rewards=_orpo_rewards)
def orpo_loss(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    lam: float = 0.1,
    beta: float = 1.0,
    ce_coef: float = 1.0,
    prob_clamp: float | None = None,
) -> Tensor:
    """ORPO (Hong et al., 2024): -m_w - lambda ln sigmoid(o_w - o_l), o = m - ln(1 - exp m) the log-odds.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        mean_rejected: (B,) the same of each rejected answer.
        lam: lambda, weight of the odds ratio; 0 is plain SFT on the chosen answers. TRL calls it beta, the authors'
            code alpha.
        beta: temperature of the odds ratio, 1 in the paper.
        ce_coef: weight of the likelihood of the chosen answer, 1 in the paper.
        prob_clamp: hold p to 1 - prob_clamp inside the odds, without gradient beyond; None is exact.

    Raises:
        BadInput: lambda or ce_coef is negative, beta is not positive, or prob_clamp is outside [0, 1].
    """
    within("lam", lam, 0.0, float("inf"), "orpo")
    positive("beta", beta, "orpo")
    within("ce_coef", ce_coef, 0.0, float("inf"), "orpo")
    odds = orpo_odds_term(mean_chosen, mean_rejected, lam=lam, beta=beta, prob_clamp=prob_clamp)
    return -ce_coef * at_least_float32(mean_chosen) - odds
