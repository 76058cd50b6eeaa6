"""Two absolute judgements instead of a comparison: raise the chosen answer, lower the rejected one, next to SFT.

"ASFT: Aligned Supervised Fine-Tuning through Absolute Likelihood" (2024), arXiv 2409.10571. With p = exp(m) the
geometric mean probability of an answer's tokens and o = ln(p / (1 - p)) its odds,

    loss = -ce_coef m_w + lam (-ln sigmoid(beta o_w) - ln sigmoid(-beta o_l)).

At beta = 1, sigmoid(o) = p, so the loss is -(ce_coef + lam) m_w - lam ln(1 - p_l), and its gradient with respect to
m_l, lam p_l / (1 - p_l), fades as the rejected answer becomes unlikely, where DPO's keeps pushing. ORPO's term on the
difference o_w - o_l is never larger than this one. No reference model is needed. The means are over the tokens of an
answer: of sums, p would underflow and the rejected answer would have no gradient.

An independent comparison (arXiv 2502.01237) finds that a stage of plain SFT first, then the judgements alone with beta
tuned below 1, gains ASFT 8.27 points of AlpacaEval 2, and that pointwise objectives, this one among them, still do no
better than pairwise ones; that preset is :func:`asft_two_stage_loss`.

Unrelated to "anchored supervised fine-tuning", which shares the abbreviation.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32, positive, within
from polyculture.align.objectives.odds import log_complement, log_odds
from polyculture.align.traits import traits


class Parts(NamedTuple):
    """The three parts of the loss of each pair, before they are weighted: likelihood, chosen term, rejected term."""

    likelihood: Tensor
    chosen: Tensor
    rejected: Tensor


def asft_parts(
    mean_chosen: Tensor, mean_rejected: Tensor, *, beta: float = 1.0, prob_clamp: float | None = None
) -> Parts:
    """-m_w, -ln sigmoid(beta o_w) and -ln sigmoid(-beta o_l), one entry a pair.

    Args:
        mean_chosen: the policy's mean log-probability a token of each chosen answer.
        mean_rejected: the same of each rejected answer.
        beta: temperature of the odds.
        prob_clamp: hold p to 1 - prob_clamp inside the odds, without gradient beyond; None is exact.

    Raises:
        BadInput: beta is not above 0, or prob_clamp is outside [0, 1].
    """
    positive("beta", beta, "ASFT")
    mean_chosen, mean_rejected = at_least_float32(mean_chosen), at_least_float32(mean_rejected)
    return Parts(
        -mean_chosen,
        _minus_log_sigmoid(mean_chosen, beta, prob_clamp, wanted=True),
        _minus_log_sigmoid(mean_rejected, beta, prob_clamp, wanted=False),
    )


def _minus_log_sigmoid(mean: Tensor, beta: float, prob_clamp: float | None, *, wanted: bool) -> Tensor:
    # -ln sigmoid(b (m - l)) = ln(exp(b m) + exp(b l)) - b m. At b = 1 and without a clamp the first term is ln 1.
    other = log_complement(mean, prob_clamp=prob_clamp)
    total = torch.zeros_like(mean) if beta == 1 and prob_clamp is None else torch.logaddexp(beta * mean, beta * other)
    return total - beta * (mean if wanted else other)


def _rewards(
    mean_chosen: Tensor, mean_rejected: Tensor, *, beta: float = 1.0, prob_clamp: float | None = None, **_: float
) -> tuple[Tensor, Tensor]:
    """The odds that the loss judges: beta o of either side."""
    chosen, rejected = (log_odds(mean.detach(), prob_clamp=prob_clamp) for mean in (mean_chosen, mean_rejected))
    return beta * chosen, beta * rejected


@traits(rewards=_rewards)
def asft_loss(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    lam: float = 1.0,
    beta: float = 1.0,
    ce_coef: float = 1.0,
    prob_clamp: float | None = None,
) -> Tensor:
    """ASFT in one stage: likelihood of the chosen answer plus absolute judgements of both.

    Args:
        mean_chosen: the policy's mean log-probability a token of each chosen answer.
        mean_rejected: the same of each rejected answer.
        lam: weight of the two judgements; 0 is plain SFT on the chosen answers.
        beta: temperature of the odds; the original has none.
        ce_coef: weight of the likelihood of the chosen answer.
        prob_clamp: hold p to 1 - prob_clamp inside the odds, without gradient beyond; None is exact.

    Raises:
        BadInput: beta is not above 0, a weight is negative, or prob_clamp is outside [0, 1].
    """
    within("lam", lam, 0.0, float("inf"), "ASFT")
    within("ce_coef", ce_coef, 0.0, float("inf"), "ASFT")
    parts = asft_parts(mean_chosen, mean_rejected, beta=beta, prob_clamp=prob_clamp)
    return ce_coef * parts.likelihood + lam * (parts.chosen + parts.rejected)


@traits(rewards=functools.partial(_rewards, beta=0.5))
def asft_two_stage_loss(
    mean_chosen: Tensor,
    mean_rejected: Tensor,
    *,
    beta: float = 0.5,
    lam: float = 1.0,
    prob_clamp: float | None = None,
) -> Tensor:
    """ASFT's judgements alone, for a model that has had its stage of SFT: :func:`asft_loss` with ce_coef 0.

    Args:
        mean_chosen: the policy's mean log-probability a token of each chosen answer.
        mean_rejected: the same of each rejected answer.
        beta: temperature of the odds; to be tuned below 1.
        lam: weight of the judgements.
        prob_clamp: hold p to 1 - prob_clamp inside the odds, without gradient beyond; None is exact.

    Raises:
        BadInput: beta is not above 0, lam is negative, or prob_clamp is outside [0, 1].
    """
    return asft_loss(mean_chosen, mean_rejected, lam=lam, beta=beta, ce_coef=0.0, prob_clamp=prob_clamp)
