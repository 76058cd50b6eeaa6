"""Objectives on single answers, each wanted or not: no pairs are needed.

With a = ln pi(y|x) - ln ref(y|x) summed over tokens; all inputs are (B,). A batch of one label only is legal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, finite_reference, positive, within
from polyculture.align.objectives.margins import log_ratios
from polyculture.align.traits import traits


def kl_estimate(kl_policy: Tensor, kl_ref: Tensor) -> Tensor:
    """KTO's reference point z = max(0, mean(ln pi - ln ref)) over mismatched answers: a scalar without gradient.

    Args:
        kl_policy: (B,) the policy's log-probability of an answer that belongs to another prompt.
        kl_ref: (B,) the reference's.

    Raises:
        BadInput: a reference log-probability is NaN or infinite.
    """
    return _kl_terms(kl_policy, kl_ref).mean().clamp(min=0)


def _kl_terms(kl_policy: Tensor, kl_ref: Tensor, **_: Any) -> Tensor:
    finite_reference(kl_ref=kl_ref)
    return at_least_float32(kl_policy.detach()) - at_least_float32(kl_ref.detach())


def _kl_metric(kl_policy: Tensor, kl_ref: Tensor, **_: Any) -> dict[str, Tensor]:
    return {"kl": _kl_terms(kl_policy, kl_ref)}


@traits(batch_coupled=True, metrics=_kl_metric, batch_means={"kl": _kl_terms})
def kto_loss(
    policy: Tensor,
    ref: Tensor,
    desirable: Tensor,
    kl_policy: Tensor,
    kl_ref: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    kl: float | None = None,
) -> Tensor:
    """KTO (Ethayarajh et al., 2024): 1 - sigmoid(beta (a - z)) where wanted, 1 - sigmoid(beta (z - a)) where not.

    Each times its label's weight, with z = max(0, kl); checked against TRL 1.16 and the authors' code (HALOs). As
    there, a training takes the mean over the batches of all processes together. Batches of a few give a rough one.

    Args:
        policy: (B,) the policy's log-probability of each answer, summed over tokens.
        ref: (B,) the reference's.
        desirable: (B,) bool, whether the answer is wanted.
        kl_policy: (B,) the policy's log-probability of an answer that belongs to another prompt.
        kl_ref: (B,) the reference's.
        beta: strength of the pull to the reference.
        desirable_weight: of the losses of wanted answers, 0 or more.
        undesirable_weight: of the losses of unwanted answers, 0 or more.
        kl: the reference point before it is held to 0 or more; by default the mean of :func:`kl_estimate`.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or a weight is negative.
    """
    positive("beta", beta, "kto")
    z = kl_estimate(kl_policy, kl_ref) if kl is None else max(0.0, kl)
    return _weighted(beta * (_ratio(policy, ref) - z), desirable, desirable_weight, undesirable_weight, "kto")


def apo_zero_unpaired_loss(
    policy: Tensor,
    ref: Tensor,
    desirable: Tensor,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """APO-zero on single answers: 1 - sigmoid(beta a) where wanted, sigmoid(beta a) where not.

    KTO with the reference point at 0; checked against TRL 1.16.

    Args:
        policy: as of :func:`kto_loss`.
        ref: as of :func:`kto_loss`.
        desirable: as of :func:`kto_loss`.
        beta: strength of the pull to the reference.
        desirable_weight: of the losses of wanted answers, 0 or more.
        undesirable_weight: of the losses of unwanted answers, 0 or more.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or a weight is negative.
    """
    positive("beta", beta, "apo-zero-unpaired")
    x = beta * _ratio(policy, ref)
    return _weighted(x, desirable, desirable_weight, undesirable_weight, "apo-zero-unpaired")


def _scaled_ratio(policy: Tensor, ref: Tensor, *, beta: float = 0.1, **_: Any) -> Tensor:
    return beta * _ratio(policy, ref)


@traits(batch_coupled=True, running_means={"delta": _scaled_ratio})
def bco_loss(
    policy: Tensor, ref: Tensor, desirable: Tensor, *, beta: float = 0.1, delta: float | None = None
) -> Tensor:
    """BCO (Jung et al., 2024): -ln sigmoid(beta a - delta) where wanted, -ln sigmoid(delta - beta a) where not.

    A classifier of the rewards beta a around a shift delta, which carries no gradient. As in TRL's BCO trainer (of
    1.9; 1.16 has none), a training's delta is the mean reward of all answers it has trained on, this batch's
    included, over all processes; it is kept in checkpoints. The function alone takes its batch's own mean. TRL's
    weights of unwanted answers by a classifier of their prompts (UDM) are not part of it.

    Args:
        policy: as of :func:`kto_loss`.
        ref: as of :func:`kto_loss`.
        desirable: as of :func:`kto_loss`.
        beta: scale of the rewards.
        delta: the shift, where it is to stay the same; by default the mean reward.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "bco")
    rewards = _scaled_ratio(policy, ref, beta=beta)
    shifted = rewards - (rewards.detach().mean() if delta is None else delta)
    return -logsigmoid(torch.where(desirable.bool(), shifted, -shifted))


def kto_pair_terms(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> tuple[Tensor, Tensor]:
    """The losses of chosen and of rejected answers that :func:`kto_pair_loss` averages.

    Args:
        policy_chosen: as of :func:`kto_pair_loss`.
        policy_rejected: as of :func:`kto_pair_loss`.
        ref_chosen: as of :func:`kto_pair_loss`.
        ref_rejected: as of :func:`kto_pair_loss`.
        beta: as of :func:`kto_pair_loss`.

    Raises:
        BadInput: as of :func:`kto_pair_loss`.
    """
    positive("beta", beta, "kto-pair")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    z_chosen, z_rejected = chosen.mean().clamp(min=0), rejected.mean().clamp(min=0)
    return torch.sigmoid(-beta * (chosen - z_rejected)), torch.sigmoid(-beta * (z_chosen - rejected))


@traits(batch_coupled=True)
def kto_pair_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """KTO on pairs, as in the first report: the reference point of one side is estimated from the other side.

    The mean of 1 - sigmoid(beta (a_w - z_l)) and 1 - sigmoid(beta (z_w - a_l)), z = max(0, mean of a) of a side over
    the batch. Unlike :func:`kto_loss`'s, these z carry gradient.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    chosen, rejected = kto_pair_terms(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=beta)
    return (chosen + rejected) / 2


def _ratio(policy: Tensor, ref: Tensor) -> Tensor:
    finite_reference(ref=ref)
    return at_least_float32(policy) - at_least_float32(ref)


def _weighted(x: Tensor, desirable: Tensor, wanted: float, unwanted: float, objective: str) -> Tensor:
    within("desirable_weight", wanted, 0.0, float("inf"), objective)
    within("undesirable_weight", unwanted, 0.0, float("inf"), objective)
    return torch.where(desirable.bool(), wanted * torch.sigmoid(-x), unwanted * torch.sigmoid(x))
