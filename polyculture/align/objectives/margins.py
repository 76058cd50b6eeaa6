"""What the objectives on pairs share: log-ratios to the reference, their difference, the logistic loss of it.

    a = ln pi(y|x) - ln ref(y|x),   D = a_w - a_l,

with w the chosen and l the rejected answer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, finite_reference


def log_ratios(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> tuple[Tensor, Tensor]:
    """a_w and a_l: by how many nats the policy likes each answer more than the reference does.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer.
        policy_rejected: (B,) the policy's log-probability of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite (a token it bans), which would make the loss NaN.
    """
    finite_reference(ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    return (
        at_least_float32(policy_chosen) - at_least_float32(ref_chosen),
        at_least_float32(policy_rejected) - at_least_float32(ref_rejected),
    )


def preference_margin(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor
) -> Tensor:
    """D: how much more than the reference the policy prefers the chosen answer, in nats.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer.
        policy_rejected: (B,) the policy's log-probability of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return chosen - rejected


def logistic(x: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - e) ln sigmoid(x) - e ln sigmoid(-x): the cross-entropy of labels of which a share e is taken as flipped.

    Args:
        x: by how much the chosen is ahead, of any shape.
        label_smoothing: e.
    """
    return -(1 - label_smoothing) * logsigmoid(x) - label_smoothing * logsigmoid(-x)


def win_probability(reward_policy: Tensor, reward_competitor: Tensor) -> Tensor:
    """The chance that a Bradley-Terry judge prefers the policy's answer: sigmoid(r_policy - r_competitor).

    Args:
        reward_policy: reward of the policy's answer to each prompt.
        reward_competitor: reward of the competitor's.
    """
    return torch.sigmoid(reward_policy - reward_competitor)
