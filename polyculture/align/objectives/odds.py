"""The odds of an answer: its probability a token, p, against 1 - p, without ever leaving logarithms.

Reference-free objectives (ORPO, 2024; ASFT, 2024) rate an answer by ``m - ln(1 - exp m)``, where ``m = ln p`` is the
mean log-probability of its tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32, within


def log_complement(mean: Tensor, *, prob_clamp: float | None = None) -> Tensor:
    """ln(1 - exp(mean)): how likely a token is not the answer's, exact near 0 and far below it.

    A mean closer to 0 than one rounding error is read as that rounding error, and keeps its gradient: the result is
    finite for an answer of probability 1.

    Args:
        mean: mean log-probability a token, 0 or less.
        prob_clamp: hold exp(mean) to 1 - prob_clamp, beyond which there is no gradient, as some trainers do; None is
            exact.

    Raises:
        BadInput: prob_clamp is outside [0, 1].
    """
    mean = at_least_float32(mean)
    if prob_clamp is not None:
        within("prob_clamp", prob_clamp, 0.0, 1.0, "the odds")
        return torch.log1p(-mean.exp().clamp(max=1 - prob_clamp))
    nearest = -torch.finfo(mean.dtype).eps
    below = mean + (mean.clamp(max=nearest) - mean).detach()
    # Each branch is exact on its own side of -ln 2; where() would turn the other's infinite gradient into NaN.
    near = below > -math.log(2)
    high = torch.log(-torch.expm1(torch.where(near, below, -math.log(2))))
    low = torch.log1p(-torch.exp(torch.where(near, -math.log(2), below)))
    return torch.where(near, high, low)


def log_odds(mean: Tensor, *, prob_clamp: float | None = None) -> Tensor:
    """ln(p / (1 - p)) of p = exp(mean).

    Args:
        mean: mean log-probability a token, 0 or less.
        prob_clamp: as for :func:`log_complement`; the numerator is not clamped.

    Raises:
        BadInput: prob_clamp is outside [0, 1].
    """
    return mean - log_complement(mean, prob_clamp=prob_clamp)
