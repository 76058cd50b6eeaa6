"""Objectives on rankings of more than two answers."""

from __future__ import annotations

import torch
from torch import Tensor

from polyculture.align.objectives.bounds import at_least_float32, finite_reference, positive


def pl_loss(policy_ranked: Tensor, ref_ranked: Tensor, ranked: Tensor, *, beta: float = 0.1) -> Tensor:
    """DPO of whole rankings (Rafailov et al., 2023, appendix A.3): the Plackett-Luce likelihood of the order.

    -sum_k [beta a_k - ln sum_(j >= k) exp(beta a_j)], a = ln pi - ln ref of the answers, best first: the best is drawn
    among all with probability proportional to exp(beta a), then the second among the rest, and so on. Of two answers
    it is DPO; over all orders of any number the likelihoods sum to 1.

    Args:
        policy_ranked: (B, K) the policy's log-probabilities of a prompt's answers, summed over tokens, best first.
        ref_ranked: (B, K) the reference's.
        ranked: (B, K) True where there is an answer; a prompt may have any number.
        beta: strength of the pull to the reference.

    Raises:
        BadInput: a reference log-probability is NaN or infinite, or beta is not positive.
    """
    positive("beta", beta, "pl")
    there = ranked.bool()
    ref = torch.where(there, at_least_float32(ref_ranked), 0.0)
    finite_reference(ref_ranked=ref)
    scores = beta * (torch.where(there, at_least_float32(policy_ranked), 0.0) - ref)
    places = torch.arange(scores.shape[1], device=scores.device)
    # What is not in the running gets the lowest number rather than -inf: a row of -inf has no gradient but NaN.
    running = (places[None, :] >= places[:, None]) & there[:, None, :]
    rest = torch.where(running, scores[:, None, :], torch.finfo(scores.dtype).min).logsumexp(dim=-1)
    return torch.where(there, rest - scores, 0.0).sum(dim=1)
