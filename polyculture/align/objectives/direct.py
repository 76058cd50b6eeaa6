"""Direct alignment: losses on log-probabilities of a chosen and a rejected answer, no reward model.

As compared in "Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024), section 3. Every
function takes tensors of one shape, one entry an example, and gives the loss of each; gradients flow through the
policy's log-probabilities. The paper sums token log-probabilities for DPO and IPO and averages them for the hinge: the
strength of beta and tau depends on that choice. The margin is

    Delta = (ln pi(y_w|x) - ln ref(y_w|x)) - (ln pi(y_l|x) - ln ref(y_l|x)).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from polyculture.errors import BadInput, unknown


def preference_margin(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """Delta: how much more than the reference the policy prefers the chosen answer, in nats.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer.
        policy_rejected: the policy's log-probability of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite (a token it bans), which would make the loss NaN.
    """
    _finite(ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    return (policy_chosen - ref_chosen) - (policy_rejected - ref_rejected)


def dpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Direct preference optimisation (Rafailov et al., 2023): -ln sigmoid(beta Delta).

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    return -logsigmoid(beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected))


def ipo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    tau: float = 0.1,
    form: Literal["paper", "unscaled"] = "paper",
) -> Tensor:
    """Identity preference optimisation (Azar et al., 2023): (tau Delta - 1/2)^2.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        tau: strength of the pull to the reference; Delta is drawn to 1 / (2 tau).
        form: "paper", or "unscaled", (Delta - 1 / (2 tau))^2, which is the former over tau^2 and what TRL trains.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or tau is not positive.
        UnknownMethod: there is no such form.
    """
    if not tau > 0:
        raise BadInput(f"tau of IPO should be positive, not {tau}")
    if form not in ("paper", "unscaled"):
        raise unknown("form of IPO", form, ("paper", "unscaled"))
    margin = preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (tau * margin - 0.5) ** 2 if form == "paper" else (margin - 1 / (2 * tau)) ** 2


def hinge_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, *, gamma: float = 1.0, alpha: float = 0.1
) -> Tensor:
    """Hinge loss in the manner of SLiC, plus a regulariser: :func:`hinge_term` + alpha :func:`hinge_regulariser`.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, the mean over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        gamma: the margin that is asked for.
        alpha: weight of the regulariser.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    return hinge_term(policy_chosen, policy_rejected, gamma=gamma) + alpha * hinge_regulariser(
        policy_chosen, ref_chosen
    )


def hinge_term(policy_chosen: Tensor, policy_rejected: Tensor, *, gamma: float = 1.0) -> Tensor:
    """max(0, gamma - (ln pi(y_w) - ln pi(y_l))); the reference has no part in it.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, the mean over tokens.
        policy_rejected: the same of each rejected answer.
        gamma: the margin that is asked for.
    """
    return torch.relu(gamma - (policy_chosen - policy_rejected))


def hinge_regulariser(policy_chosen: Tensor, ref_chosen: Tensor) -> Tensor:
    """ln(1 + exp(1 - (ln pi(y_w) - ln ref(y_w)))): keeps the chosen answer as likely as under the reference.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, the mean over tokens.
        ref_chosen: the reference's of each chosen answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    _finite(ref_chosen=ref_chosen)
    return softplus(1 - (policy_chosen - ref_chosen))


def dpo_nll_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    nll_weight: float = 0.05,
) -> Tensor:
    """:func:`dpo_loss` plus ``nll_weight`` times the negative log-likelihood of the chosen answer.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        beta: strength of the pull to the reference.
        nll_weight: lambda, weight of the likelihood of the chosen answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    return dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=beta) - nll_weight * policy_chosen


def win_probability(reward_policy: Tensor, reward_competitor: Tensor) -> Tensor:
    """The chance that a Bradley-Terry judge prefers the policy's answer: sigmoid(r_policy - r_competitor).

    Args:
        reward_policy: reward of the policy's answer to each prompt.
        reward_competitor: reward of the competitor's.
    """
    return torch.sigmoid(reward_policy - reward_competitor)


def _finite(**references: Tensor) -> None:
    for name, values in references.items():
        if not bool(torch.isfinite(values).all()):
            raise BadInput(
                f"{name} is NaN or infinite: the reference gives an answer no probability (a banned token?), and the "
                "loss would be NaN; drop those examples or allow the token"
            )
