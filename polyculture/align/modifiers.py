"""What can be put on top of an objective: length desensitising, weights by policy likelihood, other divergences.

Length desensitising (LD-DPO) is the ``ld_alpha`` of :func:`polyculture.align.log_probs.pairs.pair_inputs`; mixtures are
in :mod:`polyculture.align.mixture`, the refresh of the reference in :mod:`polyculture.align.reference.refresh`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, overload

import torch
from torch import Tensor

from polyculture.align.mixture import Mixture
from polyculture.align.objective import Objective
from polyculture.align.objectives.bounds import at_least_float32, positive
from polyculture.align.objectives.f_dpo import divergence_score
from polyculture.align.traits import traits
from polyculture.errors import BadInput, unknown

SUMS = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")


def wpo_weights(token_logps: Tensor, log_sum_sq: Tensor, mask: Tensor) -> Tensor:
    """WPO's weight of each pair (Zhou et al., 2024, eq. 2), (B,), without gradient: how much the policy would write it.

    The product over both sides of exp(mean over tokens of (ln pi(y_t) - ln sum_v pi_v^2)): likely pairs weigh more, and
    one sampled from the policy weighs about 1. As in the paper and in TRL the weights have no bound; the authors' code
    holds them to 1 at most.

    Args:
        token_logps: (2B, T) the policy's log-probabilities of tokens, chosen rows first.
        log_sum_sq: (2B, T) ln of the sum of squared probabilities of the whole vocabulary at each position.
        mask: (2B, T) True, or 1, at the tokens of completions.

    Raises:
        BadInput: shapes differ, or the number of rows is odd.
    """
    if token_logps.shape != mask.shape or log_sum_sq.shape != mask.shape or mask.dim() != 2 or len(mask) % 2:
        raise BadInput(
            "token_logps, log_sum_sq and mask should all be (2B, T), chosen rows first; they are "
            + ", ".join(str(tuple(x.shape)) for x in (token_logps, log_sum_sq, mask))
        )
    inside = mask.bool()
    aligned = at_least_float32(token_logps.detach()) - at_least_float32(log_sum_sq.detach())
    means = torch.where(inside, aligned, 0.0).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
    chosen, rejected = means.chunk(2)
    return (chosen + rejected).exp()


def score_map(
    log_ratio: Tensor,
    divergence: str,
    *,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
) -> Tensor:
    """f'(u) up to a constant, of u = exp(log_ratio): what takes the place of log-ratios under an f-divergence.

    That of :func:`polyculture.align.objectives.f_dpo.divergence_score`, except that any alpha is allowed, as in TRL:
    (1 - u^-alpha) / alpha, the log-ratio itself at 0. Outside (0, 1) no theory says that it belongs to a reward.

    Args:
        log_ratio: ln(policy / reference) of whole answers.
        divergence: "reverse_kl", "forward_kl", "js" or "alpha".
        alpha: of the alpha divergence.
        alpha_convention: "paper", or "trl", whose coefficient is 1 - alpha.
        max_exponent: largest exponent taken by forward_kl and alpha; no gradient flows beyond.

    Raises:
        BadInput: the divergence has no such score, or max_exponent is not positive.
        UnknownMethod: there is no such divergence or convention.
    """
    if divergence != "alpha":
        return divergence_score(log_ratio, divergence, max_exponent=max_exponent)
    if alpha_convention not in ("paper", "trl"):
        raise unknown("alpha_convention", alpha_convention, ("paper", "trl"))
    alpha = alpha if alpha_convention == "paper" else 1 - alpha
    log_ratio = at_least_float32(log_ratio)
    if alpha == 0:
        return log_ratio
    exponent = -alpha * log_ratio
    if max_exponent is not None:
        exponent = exponent.clamp(max=positive("max_exponent", max_exponent, "the alpha divergence"))
    return -torch.expm1(exponent) / alpha


@overload
def with_divergence(
    objective: Objective,
    divergence: str,
    *,
    alpha: float = ...,
    alpha_convention: Literal["paper", "trl"] = ...,
    max_exponent: float | None = ...,
) -> Objective: ...


@overload
def with_divergence(
    objective: Mixture,
    divergence: str,
    *,
    alpha: float = ...,
    alpha_convention: Literal["paper", "trl"] = ...,
    max_exponent: float | None = ...,
) -> Mixture: ...


def with_divergence(
    objective: Objective | Mixture,
    divergence: str,
    *,
    alpha: float = 0.5,
    alpha_convention: Literal["paper", "trl"] = "paper",
    max_exponent: float | None = None,
) -> Objective | Mixture:
    """The objective with f'(pi / ref) where it has log-ratios, so that it holds to the reference by that divergence.

    Of a mixture, every component that judges pairs is changed; likelihoods of the chosen alone stay.

    Args:
        objective: one that depends on the difference of the two sides' scores only (traits.of_difference): the reward
            is f' up to a constant of the prompt, which must cancel.
        divergence: see :func:`score_map`.
        alpha: see :func:`score_map`.
        alpha_convention: see :func:`score_map`.
        max_exponent: see :func:`score_map`.

    Raises:
        BadInput: the objective is not of that kind, or an option is out of range; when called, a score overflows.
        UnknownMethod: there is no such divergence.
    """
    map_score = functools.partial(
        score_map, divergence=divergence, alpha=alpha, alpha_convention=alpha_convention, max_exponent=max_exponent
    )
    map_score(torch.zeros(1))  # what it can't take is an error now, not in training
    if isinstance(objective, Mixture):
        parts = tuple(
            (weight, part if part.kind == "demonstrations" else _mapped(part, divergence, map_score))
            for weight, part in objective.parts
        )
        if all(part.kind == "demonstrations" for _, part in parts):
            raise _not_of_difference(objective.name, divergence)
        return Mixture(parts)
    return _mapped(objective, divergence, map_score)


def _mapped(objective: Objective, divergence: str, map_score: Any) -> Objective:
    if not objective.traits.of_difference or not set(SUMS) <= set(objective.needs):
        raise _not_of_difference(objective.name, divergence)
    plain = objective.loss

    def scores(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mapped = dict(given)
        for side in ("chosen", "rejected"):
            policy, ref = given[f"policy_{side}"], given[f"ref_{side}"]
            score = map_score(at_least_float32(policy) - at_least_float32(ref))
            if bool(torch.isinf(score).any()):
                raise BadInput(
                    f"the {divergence} score of {int(torch.isinf(score).sum())} {side} answers overflows: the policy "
                    "has drifted far below the reference; give max_exponent (80), take smaller steps, or use js"
                )
            # The score takes the log-ratio's place whole: adding the reference and taking it off again costs digits.
            mapped[f"policy_{side}"], mapped[f"ref_{side}"] = score, torch.zeros_like(score)
        return mapped

    @functools.wraps(plain)
    def loss(**given: Any) -> Tensor:
        return plain(**scores(given))

    def rewards(**given: Any) -> tuple[Tensor, Tensor]:
        hyper = {name: value for name, value in given.items() if name not in objective.needs}
        found = Objective(objective.name, plain, hyper).rewards(scores(given))
        assert found is not None  # of_difference losses judge pairs
        return found

    mark = traits(rewards=rewards, of_difference=True, batch_coupled=objective.traits.batch_coupled)
    return Objective(f"{objective.name} under {divergence}", mark(loss), objective.hyper)


def _not_of_difference(name: str, divergence: str) -> BadInput:
    return BadInput(
        f"'{name}' can't be put under {divergence}: it does not depend on the difference of the two answers' scores "
        "alone, so the prompt's constant in the reward would not cancel; choose dpo, cdpo, robust, hinge, ipo, ..."
    )
