"""TDPO: direct preference optimisation with the two answers' divergence from the reference, token by token.

"Token-level Direct Preference Optimization" (2024), arXiv 2404.11999. Where DPO bounds how likely whole answers become,
TDPO takes every token for a decision. Its Bradley-Terry form keeps, next to the margins m = ln pi(y) - ln ref(y), the
sequential divergences k = sum_t KL(ref(.|y_<t) || pi(.|y_<t)) of both answers:

    TDPO1 = -ln sigmoid(beta (m_w - m_l - (k_l - k_w))),
    TDPO2 = -ln sigmoid(beta (m_w - m_l - alpha (k_l - sg(k_w)))),

where sg stops the gradient. TDPO1 is rewarded for a larger k_w; TDPO2 only shrinks k_l. The reference comes first in
the divergence, which is summed over positions and not divided by the length. It needs the probabilities of the whole
vocabulary at every position of an answer, of both models: :func:`tdpo_inputs`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.log_probs.head import scores_from_logits
from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.objectives.bounds import at_least_float32, positive, within
from polyculture.align.objectives.margins import log_ratios
from polyculture.align.traits import traits
from polyculture.errors import BadInput, unknown

IGNORED = -100
"""The label of a position that is not scored: of the prompt, or padding."""


def tdpo_inputs(logits: Tensor, ref_logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What :func:`tdpo_loss` needs, out of both models' logits; gradients flow to the policy's, at scored positions.

    The logits at t - 1 predict the label at t. Log-softmax in float32 (float64 for float64), a tile of positions at a
    time; a token to which the reference gives probability 0 adds nothing to the divergence.

    Args:
        logits: (2B, T, V) of the policy; rows 0 to B - 1 are chosen, rows B to 2B - 1 the matching rejected.
        ref_logits: (2B, T, V) of the reference.
        labels: (2B, T) token ids, -100 where a position belongs to the prompt or is padding.

    Returns:
        The inputs by name, those of :func:`polyculture.align.log_probs.pairs.pair_inputs` with ``kl_chosen`` and
        ``kl_rejected``, each (B,).

    Raises:
        BadInput: shapes don't fit, the number of rows is odd, or a label is not a token id.
    """
    if logits.ndim != 3 or ref_logits.shape != logits.shape or labels.shape != logits.shape[:2] or len(labels) % 2:
        raise BadInput(
            "logits and reference logits should be (2B, T, V), chosen rows first, and labels (2B, T); they are "
            f"{tuple(logits.shape)}, {tuple(ref_logits.shape)} and {tuple(labels.shape)}"
        )
    scored = labels[:, 1:] != IGNORED
    found = scores_from_logits(logits[:, :-1][scored], labels[:, 1:][scored], ref_logits=ref_logits[:, :-1][scored])
    assert found.kl is not None and found.ref is not None
    place = torch.zeros(scored.shape, dtype=found.log_probs.dtype, device=logits.device)
    policy, ref, kl = (place.masked_scatter(scored, values) for values in (found.log_probs, found.ref, found.kl))
    kl_chosen, kl_rejected = kl.sum(dim=1).chunk(2)
    return pair_inputs(policy, scored, ref) | {"kl_chosen": kl_chosen, "kl_rejected": kl_rejected}


def tdpo1_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    kl_chosen: Tensor,
    kl_rejected: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """TDPO1: -ln sigmoid(beta (m_w - m_l - (k_l - k_w))), gradients through both divergences.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        kl_chosen: KL(reference || policy) over the vocabulary, summed over the chosen answer's positions.
        kl_rejected: the same of the rejected answer.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: beta is not above 0, or a reference log-probability is NaN or infinite.
    """
    positive("beta", beta, "TDPO")
    m_w, m_l = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return -logsigmoid(beta * ((m_w - m_l) - (at_least_float32(kl_rejected) - at_least_float32(kl_chosen))))


def tdpo2_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    kl_chosen: Tensor,
    kl_rejected: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 0.5,
) -> Tensor:
    """TDPO2: -ln sigmoid(beta (m_w - m_l - alpha (k_l - sg(k_w)))), no gradient through the chosen divergence.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        kl_chosen: KL(reference || policy) over the vocabulary, summed over the chosen answer's positions.
        kl_rejected: the same of the rejected answer.
        beta: strength of the pull to the reference.
        alpha: weight of the divergences; 0 is DPO.

    Raises:
        BadInput: beta is not above 0, alpha is negative, or a reference log-probability is NaN or infinite.
    """
    positive("beta", beta, "TDPO")
    within("alpha", alpha, 0.0, float("inf"), "TDPO")
    m_w, m_l = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    gap = at_least_float32(kl_rejected) - at_least_float32(kl_chosen).detach()
    return -logsigmoid(beta * ((m_w - m_l) - alpha * gap))


def _rewards(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    kl_chosen: Tensor,
    kl_rejected: Tensor,
    *,
    beta: float = 0.1,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Beta (m + k) of either side, of both variants."""
    m_w, m_l = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return beta * (m_w + kl_chosen).detach(), beta * (m_l + kl_rejected).detach()


@traits(rewards=_rewards)
def tdpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    kl_chosen: Tensor,
    kl_rejected: Tensor,
    *,
    variant: Literal["tdpo1", "tdpo2"] = "tdpo2",
    beta: float = 0.1,
    alpha: float = 0.5,
) -> Tensor:
    """TDPO, DPO that also holds the rejected answer's divergence from the reference, token by token.

    The authors advise TDPO1 for small learning rates and TDPO2 for larger ones.

    Args:
        policy_chosen: the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: the same of each rejected answer.
        ref_chosen: the reference's of each chosen answer.
        ref_rejected: the reference's of each rejected answer.
        kl_chosen: KL(reference || policy) over the vocabulary, summed over the chosen answer's positions.
        kl_rejected: the same of the rejected answer.
        variant: "tdpo2", or "tdpo1", which has no alpha and follows the gradient of both divergences.
        beta: strength of the pull to the reference.
        alpha: of tdpo2, weight of the divergences; 0 is DPO.

    Raises:
        BadInput: beta is not above 0, alpha is negative, or a reference log-probability is NaN or infinite.
        UnknownMethod: there is no such variant.
    """
    if variant not in ("tdpo1", "tdpo2"):
        raise unknown("variant of TDPO", variant, ("tdpo1", "tdpo2"))
    within("alpha", alpha, 0.0, float("inf"), "TDPO")
    given = (policy_chosen, policy_rejected, ref_chosen, ref_rejected, kl_chosen, kl_rejected)
    return tdpo1_loss(*given, beta=beta) if variant == "tdpo1" else tdpo2_loss(*given, beta=beta, alpha=alpha)
