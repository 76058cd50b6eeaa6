"""Supervised fine-tuning, the baseline of all preference objectives and a part of many."""

from __future__ import annotations

from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32
from polyculture.align.traits import traits


@traits(per="token")
def sft_loss(mean_chosen: Tensor, tokens_chosen: Tensor) -> Tensor:
    """Negative log-likelihood of the chosen answers, (B,), summed over tokens; the mean is over all tokens of a batch.

    Made of mean and count, which modifiers of the summed log-probabilities leave as they are.

    Args:
        mean_chosen: (B,) the policy's mean log-probability a token of each chosen answer.
        tokens_chosen: (B,) tokens of each.
    """
    mean = at_least_float32(mean_chosen)
    return -mean * tokens_chosen.to(mean.dtype)
