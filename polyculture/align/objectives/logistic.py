"""DPO and the objectives that change what is inside its logarithm of a sigmoid, or the share of labels it trusts.

With a = ln pi(y|x) - ln ref(y|x) and D = a_w - a_l (w chosen, l rejected), DPO is -ln sigmoid(beta D). Every function
takes tensors of shape (B,), log-probabilities summed over the completion's tokens, and gives the loss of each pair.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, positive, within
from polyculture.align.objectives.margins import log_ratios, logistic, preference_margin
from polyculture.align.traits import traits
from polyculture.errors import BadInput


@traits(of_difference=True)
def dpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, beta: float = 0.1
) -> Tensor:
    """Direct preference optimisation (Rafailov et al., 2023, eq. 7): -ln sigmoid(beta D).

    Args:
        policy_chosen: (B,) the policy's log-probability of each chosen answer, summed over tokens.
        policy_rejected: (B,) the same of each rejected answer.
        ref_chosen: (B,) the reference's of each chosen answer.
        ref_rejected: (B,) the reference's of each rejected answer.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "dpo")
    return logistic(beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected))


@traits(of_difference=True)
def cdpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
) -> Tensor:
    """Conservative DPO (Mitchell, 2023): -(1 - e) ln sigmoid(beta D) - e ln sigmoid(-beta D).

    Unlike DPO's, the loss has a minimum at a finite margin, where the policy's preference is 1 - e.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        label_smoothing: e, the share of labels taken as flipped, in [0, .5].

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or e is outside [0, .5].
    """
    positive("beta", beta, "cdpo")
    within("label_smoothing", label_smoothing, 0.0, 0.5, "cdpo")
    margin = preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return logistic(beta * margin, label_smoothing)


@traits(of_difference=True)
def robust_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.1,
) -> Tensor:
    """Robust DPO (Chowdhury et al., 2024): DPO's loss on clean labels, unbiased where a share e of them is flipped.

    [-(1 - e) ln sigmoid(beta D) + e ln sigmoid(-beta D)] / (1 - 2 e). It may be negative.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        label_smoothing: e, the share of flipped labels, in [0, .5).

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or e is outside [0, .5).
    """
    positive("beta", beta, "robust")
    if not 0 <= label_smoothing < 0.5:
        raise BadInput(
            f"label_smoothing of robust should lie in [0, .5), not {label_smoothing}: labels of which half are flipped "
            "say nothing"
        )
    x = beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    kept, flipped = -(1 - label_smoothing) * logsigmoid(x), -label_smoothing * logsigmoid(-x)
    return (kept - flipped) / (1 - 2 * label_smoothing)


def dpo_norm_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    tokens_chosen: Tensor,
    tokens_rejected: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """DPO with length-normalised log-ratios: -ln sigmoid(beta (a_w / n_w - a_l / n_l)); TRL's ``sigmoid_norm``.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        tokens_chosen: (B,) n_w, tokens of the chosen answers; an empty one counts as 1.
        tokens_rejected: (B,) n_l.
        beta: strength of the pull to the reference, on the scale of one token.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "dpo-norm")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return logistic(beta * (chosen / tokens_chosen.clamp(min=1) - rejected / tokens_rejected.clamp(min=1)))


@traits(of_difference=True)
def exo_pair_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 1e-3,
) -> Tensor:
    """EXO on pairs (Ji et al., 2024, eq. 16): the KL from the policy's preference q to labels smoothed by e.

    q (ln q - ln(1 - e)) + q' (ln q' - ln e) with q = sigmoid(beta D), q' = sigmoid(-beta D): the reverse of the
    direction in which DPO fits the labels, so it seeks their mode. e is TRL's; the authors' code has ln e = -10 and
    leaves ln(1 - e) out.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        label_smoothing: e, in (0, .5]; at 0 the loss is infinite.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or e is outside (0, .5].
    """
    positive("beta", beta, "exo-pair")
    positive("label_smoothing", within("label_smoothing", label_smoothing, 0.0, 0.5, "exo-pair"), "exo-pair")
    x = beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    wins = torch.sigmoid(x) * (logsigmoid(x) - math.log1p(-label_smoothing))
    return wins + torch.sigmoid(-x) * (logsigmoid(-x) - math.log(label_smoothing))


@traits(of_difference=True)
def discopop_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    tau: float = 0.05,
) -> Tensor:
    """DiscoPOP (Lu et al., 2024, eq. 5), found by a language model: a blend of the logistic and the exponential loss.

    (1 - g) (-ln sigmoid(x)) + g exp(-x) with x = beta D and g = sigmoid(x / tau). It is not convex.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        tau: how softly one loss passes into the other; above 1 misranked pairs may overflow.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta or tau is not positive.
    """
    positive("beta", beta, "discopop")
    positive("tau", tau, "discopop")
    x = beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    # g exp(-x) in one exponential: its parts are 0 and infinite for badly misranked pairs.
    return -torch.sigmoid(-x / tau) * logsigmoid(x) + torch.exp(logsigmoid(x / tau) - x)


def dpop_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.3,
    lam: float = 50.0,
) -> Tensor:
    """DPO-Positive (Pal et al., 2024): -ln sigmoid(beta (D - lambda max(0, -a_w))).

    The second term is paid where the chosen answer is less likely than under the reference, inside beta as in the
    paper's revision of July 2024. The authors published no code and report that any lambda in [5, 500] does about as
    well (https://github.com/abacusai/smaug/issues/2); .3 and 50 are what public implementations take as theirs.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        lam: lambda, weight of what the chosen answer has lost, 0 or more.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, or lambda is negative.
    """
    positive("beta", beta, "dpop")
    within("lam", lam, 0.0, float("inf"), "dpop")
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return logistic(beta * (chosen - rejected - lam * torch.relu(-chosen)))


@traits(of_difference=True)
def odpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    margin: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 1.0,
) -> Tensor:
    """DPO with an offset (Amini et al., 2024): -ln sigmoid(beta D - alpha margin).

    Pairs whose answers differ more in quality must be told apart by more. The authors' code has alpha 1 and, as margin,
    the logarithm of the difference of the scores: to train so, give a column of it, cut at 0.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        margin: (B,) by how much the chosen answer is better, 0 or more.
        beta: strength of the pull to the reference.
        alpha: weight of the margin, 0 or more.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, beta is not positive, alpha is negative, or a margin
            is negative or NaN.
    """
    positive("beta", beta, "odpo")
    within("alpha", alpha, 0.0, float("inf"), "odpo")
    if not bool((margin >= 0).all()):
        raise BadInput("a margin is negative or NaN: it is by how much the chosen answer is better; swap those pairs")
    return logistic(
        beta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
        - alpha * at_least_float32(margin)
    )


@traits(of_difference=True)
def r_dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    tokens_chosen: Tensor,
    tokens_rejected: Tensor,
    *,
    beta: float = 0.1,
    alpha: float = 0.01,
) -> Tensor:
    """Length-regularised DPO (Park et al., 2024): -ln sigmoid(beta D + alpha (n_w - n_l)).

    A chosen answer that is longer has to win by less, so that length is not what is learned. The authors published no
    code; form and sign (eq. 9) are those of sail-sg/oat, which follows the paper. alpha has no settled default: oat
    leaves it at 0, MODPO's authors took .1 with beta .1 for this method on summaries, and .01 is a careful start.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        tokens_chosen: (B,) n_w, tokens of the chosen answers.
        tokens_rejected: (B,) n_l.
        beta: strength of the pull to the reference.
        alpha: nats a token of difference in length.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "r-dpo")
    margin = preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return logistic(beta * margin + alpha * (tokens_chosen - tokens_rejected).to(margin.dtype))


def dpo_nll_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    beta: float = 0.1,
    nll_weight: float = 0.05,
) -> Tensor:
    """DPO plus lambda times the negative log-likelihood of the chosen answer: -ln sigmoid(beta D) - lambda ln pi(y_w).

    Summed over tokens, as in "Understanding Likelihood Over-optimisation in Direct Alignment Algorithms" (2024),
    section 3.

    Args:
        policy_chosen: as of :func:`dpo_loss`.
        policy_rejected: as of :func:`dpo_loss`.
        ref_chosen: as of :func:`dpo_loss`.
        ref_rejected: as of :func:`dpo_loss`.
        beta: strength of the pull to the reference.
        nll_weight: lambda, weight of the likelihood of the chosen answer.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    plain = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta=beta)
    return plain - nll_weight * at_least_float32(policy_chosen)
