"""Objectives that draw log-ratios to a target by a squared error, so that the pull ends where the target is reached.

With a = ln pi(y|x) - ln ref(y|x) and D = a_w - a_l (w chosen, l rejected); all inputs are (B,).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from polyculture.align.objectives.bounds import positive
from polyculture.align.objectives.margins import log_ratios, logistic, preference_margin
from polyculture.align.traits import traits
from polyculture.errors import unknown


@traits(of_difference=True)
def ipo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    form: Literal["target", "unit"] = "target",
) -> Tensor:
    """Identity preference optimisation (Azar et al., 2023, eq. 17): (D - 1 / (2 beta))^2; beta is the paper's tau.

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: strength of the pull to the reference; D is drawn to 1 / (2 beta).
        form: "target", or "unit", beta^2 times that: (beta D - 1/2)^2, as in "Understanding Likelihood
            Over-optimisation in Direct Alignment Algorithms" (2024).

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
        UnknownMethod: there is no such form.
    """
    positive("beta", beta, "ipo")
    if form not in ("target", "unit"):
        raise unknown("form of ipo", form, ("target", "unit"))
    margin = preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (beta * margin - 0.5) ** 2 if form == "unit" else (margin - 1 / (2 * beta)) ** 2


def ipo_norm_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    tokens_chosen: Tensor,
    tokens_rejected: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """IPO with length-normalised log-ratios: (a_w / n_w - a_l / n_l - 1 / (2 beta))^2; TRL's ``ipo``.

    Args:
        policy_chosen: as of :func:`ipo_loss`.
        policy_rejected: as of :func:`ipo_loss`.
        ref_chosen: as of :func:`ipo_loss`.
        ref_rejected: as of :func:`ipo_loss`.
        tokens_chosen: (B,) n_w, tokens of the chosen answers; an empty one counts as 1.
        tokens_rejected: (B,) n_l.
        beta: strength of the pull to the reference, on the scale of one token.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "ipo-norm")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (chosen / tokens_chosen.clamp(min=1) - rejected / tokens_rejected.clamp(min=1) - 1 / (2 * beta)) ** 2


def sppo_hard_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """SPPO with hard labels (Wu et al., 2024, eq. 4.7): (a_w - 1 / (2 beta))^2 + (a_l + 1 / (2 beta))^2.

    Each answer is drawn to its own target: its win rate, taken as 1 or 0, less a half, over beta.

    Args:
        policy_chosen: as of :func:`ipo_loss`.
        policy_rejected: as of :func:`ipo_loss`.
        ref_chosen: as of :func:`ipo_loss`.
        ref_rejected: as of :func:`ipo_loss`.
        beta: 1 / eta of the paper.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "sppo-hard")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2


@traits(batch_coupled=True)
def cal_dpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Calibrated DPO (Xiao et al., 2024): -ln sigmoid(D) + mean (a_w - 1 / (2 beta))^2 + mean (a_l + 1 / (2 beta))^2.

    The means are over the batch and the same for every pair. There is no beta in the sigmoid. The authors' code adds
    half of the two means, and its script has beta = .001.

    Args:
        policy_chosen: as of :func:`ipo_loss`.
        policy_rejected: as of :func:`ipo_loss`.
        ref_chosen: as of :func:`ipo_loss`.
        ref_rejected: as of :func:`ipo_loss`.
        beta: the log-ratios are drawn to plus and minus 1 / (2 beta).

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "cal-dpo")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    calibration = ((chosen - 0.5 / beta) ** 2).mean() + ((rejected + 0.5 / beta) ** 2).mean()
    return logistic(chosen - rejected) + calibration
