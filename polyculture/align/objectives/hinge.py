"""Hinge losses: a pair that is told apart by enough pushes no more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from polyculture.align.objectives.bounds import at_least_float32, finite_reference, positive
from polyculture.align.objectives.margins import preference_margin
from polyculture.align.traits import traits


@traits(of_difference=True)
def hinge_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Hinge on DPO's margin, as in RSO (Liu et al., 2023): max(0, 1 - beta D).

    D = (ln pi - ln ref)(chosen) - (ln pi - ln ref)(rejected).

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: a pair stops pushing at D = 1 / beta.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "hinge")
    return torch.relu(1 - beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected))


def _mean_rewards(mean_chosen: Tensor, mean_rejected: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    return mean_chosen.detach(), mean_rejected.detach()


@traits(rewards=_mean_rewards)
def slic_regularised_loss(
    mean_chosen: Tensor, mean_rejected: Tensor, ref_mean_chosen: Tensor, *, gamma: float = 1.0, alpha: float = 0.1
) -> Tensor:
    """A hinge on means and a pull to the reference: max(0, gamma - (m_w - m_l)) + alpha ln(1 + exp(1 - (m_w - r_w))).

    :func:`hinge_term` + alpha :func:`hinge_regulariser`, in the manner of SLiC, as in "Understanding Likelihood
    Over-optimisation in Direct Alignment Algorithms" (2024), section 3.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        mean_rejected: (B,) the same of each rejected answer.
        ref_mean_chosen: (B,) the reference's of each chosen answer.
        gamma: the margin that is asked for.
        alpha: weight of the regulariser.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    return hinge_term(mean_chosen, mean_rejected, gamma=gamma) + alpha * hinge_regulariser(mean_chosen, ref_mean_chosen)


def hinge_term(mean_chosen: Tensor, mean_rejected: Tensor, *, gamma: float = 1.0) -> Tensor:
    """max(0, gamma - (ln pi(y_w) - ln pi(y_l))); the reference has no part in it.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        mean_rejected: (B,) the same of each rejected answer.
        gamma: the margin that is asked for.
    """
    return torch.relu(gamma - (at_least_float32(mean_chosen) - at_least_float32(mean_rejected)))


def hinge_regulariser(mean_chosen: Tensor, ref_mean_chosen: Tensor) -> Tensor:
    """ln(1 + exp(1 - (ln pi(y_w) - ln ref(y_w)))): keeps the chosen answer as likely as under the reference.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        ref_mean_chosen: (B,) the reference's of each chosen answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    finite_reference(ref_mean_chosen=ref_mean_chosen)
    return softplus(1 - (at_least_float32(mean_chosen) - at_least_float32(ref_mean_chosen)))
