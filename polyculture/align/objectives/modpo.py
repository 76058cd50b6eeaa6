"""MODPO: one policy for a weighted sum of several rewards, by preference optimisation on the pairs of one of them.

"Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization" (2024), arXiv 2310.03708.
Pairs say which answer objective k prefers; the other objectives come in as frozen margin rewards m_i of both answers.
The collective reward of an answer, s and r its log-probabilities under policy and reference, is

    R = (beta (s - r) - sum_{i != k} w_i m_i) / w_k

and the loss is -ln sigmoid(R_chosen - R_rejected). Its optimum is that of reinforcement learning on the weighted sum:
pi proportional to ref exp((w_k r_k + sum_i w_i r_i) / beta). A sweep of the weights, one run each, gives a front.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, finite_reference, positive
from polyculture.align.traits import traits
from polyculture.errors import BadInput, unknown


def collective_rewards(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    margin_rewards_chosen: Tensor,
    margin_rewards_rejected: Tensor,
    *,
    w: tuple[float, ...] = (0.5, 0.5),
    beta: float = 0.1,
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid",
) -> tuple[Tensor, Tensor]:
    """R of chosen and rejected, each (B,): the reward of objective k that the policy implies, up to a constant.

    Args:
        policy_chosen: as of :func:`modpo_loss`, like all the others.
        policy_rejected: as above.
        ref_chosen: as above.
        ref_rejected: as above.
        margin_rewards_chosen: as above.
        margin_rewards_rejected: as above.
        w: as above.
        beta: as above.
        loss_type: as above; it makes no difference here.

    Raises:
        BadInput: as :func:`modpo_loss`.
        UnknownMethod: there is no such loss_type.
    """
    if loss_type not in ("sigmoid", "hinge"):
        raise unknown("loss_type of MODPO", loss_type, ("sigmoid", "hinge"))
    positive("beta", beta, "MODPO")
    finite_reference(ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    if not w or not all(math.isfinite(weight) for weight in w):
        raise BadInput(f"w of MODPO should hold the weight of the pairs' objective, then one a margin reward, not {w}")
    if not w[0] > 0:
        raise BadInput(
            f"the first weight of MODPO, of the objective that the pairs are of, should be above 0, not {w[0]:g}; for "
            "a policy without it train on pairs of another objective"
        )
    chosen, rejected = (
        _collective(policy, ref, margins, name, w, beta)
        for policy, ref, margins, name in (
            (policy_chosen, ref_chosen, margin_rewards_chosen, "margin_rewards_chosen"),
            (policy_rejected, ref_rejected, margin_rewards_rejected, "margin_rewards_rejected"),
        )
    )
    return chosen, rejected


@traits(rewards=collective_rewards, of_difference=True)
def modpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    margin_rewards_chosen: Tensor,
    margin_rewards_rejected: Tensor,
    *,
    w: tuple[float, ...] = (0.5, 0.5),
    beta: float = 0.1,
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid",
) -> Tensor:
    """Multi-objective preference optimisation: -ln sigmoid(R_chosen - R_rejected), (B,), R the collective reward.

    An answer with more margin reward gets less R and so a stronger push: the pair says nothing of the other
    objectives, the margins do. Weights are taken as they are: only their ratio to beta matters, and scaling them all
    scales beta. A small first weight enlarges margins and gradients alike (by 1 / w_k): lower the learning rate. Give
    margin rewards in the units of the pairs' reward, or standardise them
    (:func:`~polyculture.align.data.margin_rewards.margin_columns`).

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        margin_rewards_chosen: (B, m) rewards of the other objectives for each chosen answer, or (B,) of one; no
            gradient flows.
        margin_rewards_rejected: (B, m) the same for each rejected answer.
        w: weight of the pairs' objective, above 0, then one a margin reward, in order; they need not sum to 1.
        beta: strength of the pull to the reference.
        loss_type: "sigmoid", or "hinge", max(0, 1 - (R_chosen - R_rejected)).

    Raises:
        BadInput: the first weight or beta is not positive; weights and margin rewards differ in number; a margin
            reward or a reference log-probability is NaN or infinite.
        UnknownMethod: there is no such loss_type.
    """
    chosen, rejected = collective_rewards(
        policy_chosen,
        policy_rejected,
        ref_chosen,
        ref_rejected,
        margin_rewards_chosen,
        margin_rewards_rejected,
        w=w,
        beta=beta,
        loss_type=loss_type,
    )
    difference = chosen - rejected
    return -logsigmoid(difference) if loss_type == "sigmoid" else torch.relu(1 - difference)


def _collective(policy: Tensor, ref: Tensor, margins: Tensor, name: str, w: tuple[float, ...], beta: float) -> Tensor:
    if margins.dim() == 1 and len(w) == 2:
        margins = margins[:, None]
    if margins.shape != (len(policy), len(w) - 1):
        raise BadInput(
            f"{name} should be ({len(policy)}, {len(w) - 1}), one column a weight after the first of {w}; "
            f"it is {tuple(margins.shape)}"
        )
    ratio = at_least_float32(policy) - at_least_float32(ref)
    known = margins.detach().to(ratio)
    bad = (~torch.isfinite(known).all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise BadInput(f"{name} is NaN or infinite in rows {', '.join(map(str, bad[:5]))}{more}; drop those pairs")
    return (beta * ratio - known @ ratio.new_tensor(w[1:])) / w[0]
