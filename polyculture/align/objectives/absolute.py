"""Objectives on each answer's own log-ratio, not only on the difference of a pair's: what is chosen must itself rise.

With a = ln pi(y|x) - ln ref(y|x), w chosen and l rejected; all inputs are (B,). Checked against TRL 1.16, NCA
against its authors' code too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import positive
from polyculture.align.objectives.margins import log_ratios


def nca_pair_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Noise-contrastive alignment of pairs (Chen et al., 2024).

    -ln sigmoid(beta a_w) - 1/2 ln sigmoid(-beta a_w) - 1/2 ln sigmoid(-beta a_l).

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "nca-pair")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return -logsigmoid(beta * chosen) - 0.5 * logsigmoid(-beta * chosen) - 0.5 * logsigmoid(-beta * rejected)


def bco_pair_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Binary classifier optimisation of pairs, without a shift: -ln sigmoid(beta a_w) - ln sigmoid(-beta a_l).

    :func:`polyculture.align.objectives.unpaired.bco_loss` subtracts a mean reward (Jung et al., 2024).

    Args:
        policy_chosen: as of :func:`nca_pair_loss`.
        policy_rejected: as of :func:`nca_pair_loss`.
        ref_chosen: as of :func:`nca_pair_loss`.
        ref_rejected: as of :func:`nca_pair_loss`.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "bco-pair")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return -logsigmoid(beta * chosen) - logsigmoid(-beta * rejected)


def apo_zero_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """APO-zero (D'Oosterlinck et al., 2024, eq. 7): 1 - sigmoid(beta a_w) + sigmoid(beta a_l).

    For pairs whose chosen answer is better than what the model writes: it rises, the rejected falls.

    Args:
        policy_chosen: as of :func:`nca_pair_loss`.
        policy_rejected: as of :func:`nca_pair_loss`.
        ref_chosen: as of :func:`nca_pair_loss`.
        ref_rejected: as of :func:`nca_pair_loss`.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "apo-zero")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)


def apo_down_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """APO-down (D'Oosterlinck et al., 2024, eq. 8): sigmoid(beta a_w) + 1 - sigmoid(beta (a_w - a_l)).

    For pairs whose chosen answer is worse than what the model writes: both fall, the rejected by more.

    Args:
        policy_chosen: as of :func:`nca_pair_loss`.
        policy_rejected: as of :func:`nca_pair_loss`.
        ref_chosen: as of :func:`nca_pair_loss`.
        ref_rejected: as of :func:`nca_pair_loss`.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "apo-down")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return torch.sigmoid(beta * chosen) + torch.sigmoid(-beta * (chosen - rejected))
