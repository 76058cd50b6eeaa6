"""One prompt with finitely many answers: small enough that preference objectives have an optimum to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Comparisons:
    """Weighted comparisons of answers.

    Args:
        chosen: (n,) index of the preferred answer.
        rejected: (n,) index of the other.
        weight: (n,) of each comparison, summing to 1.
    """

    chosen: Tensor
    rejected: Tensor
    weight: Tensor


def population(ref: Tensor, rewards: Tensor) -> Comparisons:
    """All ordered pairs of two answers drawn from the reference, by how often Bradley-Terry prefers the first.

    Args:
        ref: (K,) probabilities.
        rewards: (K,).
    """
    k = len(ref)
    i, j = (index.flatten() for index in torch.meshgrid(torch.arange(k), torch.arange(k), indexing="ij"))
    i, j = i[i != j], j[i != j]
    weight = ref[i] * ref[j] * torch.sigmoid(rewards[i] - rewards[j])
    return Comparisons(i, j, weight / weight.sum())


def sampled(ref: Tensor, rewards: Tensor, n: int, rng: torch.Generator) -> Comparisons:
    """Some comparisons of two different answers drawn from the reference, labelled by Bradley-Terry.

    Args:
        ref: (K,) probabilities.
        rewards: (K,).
        n: how many.
        rng: of the draws.
    """
    k = len(ref)
    both = (ref[:, None] * ref[None, :]).fill_diagonal_(0).flatten()
    drawn = torch.multinomial(both, n, replacement=True, generator=rng)
    i, j = drawn // k, drawn % k
    first = torch.rand(n, generator=rng, dtype=ref.dtype) < torch.sigmoid(rewards[i] - rewards[j])
    return Comparisons(torch.where(first, i, j), torch.where(first, j, i), torch.full((n,), 1 / n, dtype=ref.dtype))


def fit(loss: Callable[[Tensor], Tensor], ref: Tensor, *, steps: int = 400) -> Tensor:
    """The policy whose log-probabilities minimise a loss, by L-BFGS on its logits from the reference's; (K,).

    Args:
        loss: of the (K,) log-probabilities, a scalar.
        ref: (K,) probabilities.
        steps: most L-BFGS iterations.
    """
    logits = ref.log().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=steps,
        history_size=60,
        tolerance_grad=1e-13,
        tolerance_change=1e-17,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        value = loss(logits.log_softmax(dim=-1))
        value.backward()
        return value.item()

    optimizer.step(closure)
    return logits.detach().softmax(dim=-1)


def kl(p: Tensor, q: Tensor) -> float:
    """KL(p || q) in nats of two positive distributions.

    Args:
        p: (K,) probabilities.
        q: (K,) probabilities.
    """
    return float((p * (p.log() - q.log())).sum())


def entropy(p: Tensor) -> float:
    """Entropy in nats.

    Args:
        p: (K,) probabilities.
    """
    return float(torch.special.entr(p).sum())
