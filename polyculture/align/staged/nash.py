"""Games of preferences over finitely many responses: win rates, soft policy iteration, and how exploitable a policy is.

Direct Nash Optimization (2024, arXiv:2404.03715), sections 3 and 4. P[i, j] is the probability that response i is
preferred to response j; P may be cyclic. A policy is a distribution over the responses.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from polyculture.align.objectives.bounds import positive
from polyculture.errors import BadInput


def preference_matrix(P: ArrayLike, *, tolerance: float = 1e-6) -> np.ndarray:
    """P as (n, n) float64, as given if P_ij + P_ji = 1; where it is not so, (P + 1 - P^T) / 2, with a warning.

    Args:
        P: probabilities that row beats column; the diagonal counts 1/2.
        tolerance: how far P_ij + P_ji may be from 1, by rounding.

    Raises:
        BadInput: it is not square, is empty, or holds what is no probability.
    """
    given = np.asarray(P, dtype=np.float64)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
        raise BadInput(f"preferences should be an (n, n) matrix of win rates; this has shape {given.shape}")
    if not bool(((given >= 0) & (given <= 1)).all()):
        raise BadInput("preferences should be probabilities, in [0, 1]")
    off = np.abs(given + given.T - 1).max()
    if off > tolerance:
        warnings.warn(
            f"P_ij + P_ji is up to {off:.3g} away from 1; taking (P_ij + 1 - P_ji) / 2, which evens out the order in "
            "which two responses were shown",
            stacklevel=2,
        )
    return (given + 1 - given.T) / 2 if off > tolerance else given


def exploitability(P: ArrayLike, policy: ArrayLike) -> float:
    """max_y P(y > policy) - 1/2: how much the best reply to a policy wins beyond half; 0 at a Nash equilibrium.

    Args:
        P: (n, n) probabilities that row beats column.
        policy: (n,) probabilities of the responses.

    Raises:
        BadInput: P is no matrix of win rates, or the policy no distribution over its responses.
    """
    matrix = preference_matrix(P)
    return float((matrix @ _distribution(policy, len(matrix))).max() - 0.5)


@dataclass(frozen=True)
class PolicyIteration:
    """What :func:`soft_policy_iteration` went through.

    Args:
        policies: (T + 1, n) pi_1 to pi_{T+1}.
        rewards: (T, n) r_1 to r_T, expected win rates against each policy.
        win_rates: (T,) P(pi_{t+1} > pi_t), at least 1/2 + eta KL(pi_{t+1} || pi_t).
        average: (n,) mean of pi_1 to pi_T, which approaches the equilibrium where the last policy may cycle.
    """

    policies: np.ndarray
    rewards: np.ndarray
    win_rates: np.ndarray
    average: np.ndarray


def soft_policy_iteration(
    P: ArrayLike, eta: float, iterations: int, *, start: ArrayLike | None = None
) -> PolicyIteration:
    """r_t = P pi_t; pi_{t+1} proportional to pi_t exp(r_t / eta).

    Args:
        P: (n, n) probabilities that row beats column.
        eta: temperature of a step; small is bold.
        iterations: T.
        start: (n,) pi_1; None is uniform.

    Raises:
        BadInput: P is no matrix of win rates, eta is not above 0, there is no iteration, or ``start`` is no
            distribution.
    """
    matrix = preference_matrix(P)
    positive("eta", eta, "soft policy iteration")
    if iterations < 1:
        raise BadInput(f"soft policy iteration needs 1 or more iterations, not {iterations}")
    n = len(matrix)
    policy = np.full(n, 1 / n) if start is None else _distribution(start, n)
    policies, rewards = [policy], []
    with np.errstate(divide="ignore"):
        logits = np.log(policy)
    for _ in range(iterations):
        rewards.append(matrix @ policies[-1])
        logits = logits + rewards[-1] / eta
        weights = np.exp(logits - logits.max())
        policies.append(weights / weights.sum())
    held = np.stack(policies)
    wins = np.einsum("ti,ij,tj->t", held[1:], matrix, held[:-1])
    return PolicyIteration(held, np.stack(rewards), wins, held[:-1].mean(axis=0))


def _distribution(policy: ArrayLike, n: int) -> np.ndarray:
    given = np.asarray(policy, dtype=np.float64)
    if given.shape != (n,) or not bool((given >= 0).all()) or not np.isclose(given.sum(), 1, atol=1e-6):
        raise BadInput(f"a policy should be {n} probabilities that sum to 1")
    return given
