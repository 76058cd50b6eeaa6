"""Alignment via optimal transport (Melnyk et al., 2024): a batch's rewards are compared in order, not pair by pair.

The sorted values of one side should lie above those of the other, place by place: first-order stochastic dominance.
The losses come in that order, not in the pairs', and at a batch of one they are DPO's. Checked against TRL 1.16.
"""

from __future__ import annotations

from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32, finite_reference, positive, within
from polyculture.align.objectives.margins import log_ratios, logistic
from polyculture.align.traits import traits


@traits(batch_coupled=True)
def aot_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """AOT on pairs: -ln sigmoid(beta (sort(s_w - s_l) - sort(r_w - r_l))), s of the policy and r of the reference.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: strength of the pull to the reference.
        label_smoothing: share of labels taken as flipped, in [0, .5].

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or label_smoothing is outside
            [0, .5].
    """
    positive("beta", beta, "aot")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "aot")
    finite_reference(ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    policy = at_least_float32(policy_chosen) - at_least_float32(policy_rejected)
    ref = at_least_float32(ref_chosen) - at_least_float32(ref_rejected)
    return logistic(beta * (policy.sort().values - ref.sort().values), label_smoothing)


@traits(batch_coupled=True)
def aot_unpaired_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """AOT on two sets: -ln sigmoid(beta (sort(a_w) - sort(a_l))); which answer belongs to which does not matter.

    Args:
        policy_chosen: as of :func:`aot_loss`.
        policy_rejected: as of :func:`aot_loss`.
        ref_chosen: as of :func:`aot_loss`.
        ref_rejected: as of :func:`aot_loss`.
        beta: strength of the pull to the reference.
        label_smoothing: share of labels taken as flipped, in [0, .5].

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or label_smoothing is outside
            [0, .5].
    """
    positive("beta", beta, "aot-unpaired")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "aot-unpaired")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return logistic(beta * (chosen.sort().values - rejected.sort().values), label_smoothing)
