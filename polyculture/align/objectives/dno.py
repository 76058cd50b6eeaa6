"""Preferences as a game: a policy is drawn to what beats its own samples, until nothing beats it.

Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences (2024, arXiv:2404.03715).
With r_t(x, y) = E_{y' ~ pi_t}[P(y beats y' | x)], the expected win rate against the policy pi_t that sampled, and

    Delta = eta log(pi / pi_t)(y1) - eta log(pi / pi_t)(y2),

the next policy minimises the cross-entropy of sigmoid(Delta) with the soft target sigmoid(r_t(y1) - r_t(y2))
(Algorithm 1), whose population optimum is pi_{t+1} ~ pi_t exp(r_t / eta)
(:func:`polyculture.align.staged.nash.soft_policy_iteration`). The practical form (Algorithm 2) is contrastive, on
filtered pairs (:mod:`polyculture.align.staged.judged_pairs`), with pi_t as reference.

eta multiplies log-ratios here and divides the reward in the optimum; win rates are at most 1 apart, so that the hard
labels of the practical form amount to a larger reward: one form's eta is not the other's.
"""

from __future__ import annotations

from torch import Tensor, sigmoid
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from polyculture.align.objectives.bounds import at_least_float32, positive
from polyculture.align.objectives.margins import log_ratios, preference_margin
from polyculture.align.traits import traits
from polyculture.errors import BadInput


def _rewards(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    *,
    eta: float = 0.1,
    **_: Tensor,
) -> tuple[Tensor, Tensor]:
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    return eta * chosen.detach(), eta * rejected.detach()


@traits(rewards=_rewards, of_difference=True)
def dno_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    win_chosen: Tensor,
    win_rejected: Tensor,
    *,
    eta: float = 0.1,
) -> Tensor:
    """DNO: regress the log-ratio of two samples on how often each beats the policy that sampled them.

    -z ln sigmoid(Delta) - (1 - z) ln sigmoid(-Delta), z = sigmoid(win_chosen - win_rejected). The two completions need
    not be in any order. Source: Direct Nash Optimization (2024), Algorithm 1 and section 3.

    Args:
        policy_chosen: (B,) the policy's log-probability of the first completion, summed over its tokens.
        policy_rejected: (B,) the same of the second.
        ref_chosen: (B,) that of pi_t, the policy of the iteration before, for the first.
        ref_rejected: (B,) the same for the second.
        win_chosen: (B,) r_t of the first, its expected win rate against samples of pi_t, in [0, 1].
        win_rejected: (B,) r_t of the second.
        eta: scale of the log-ratios.

    Raises:
        BadInput: eta is not above 0, pi_t's log-probability is not finite, or a win rate lies outside [0, 1].
    """
    positive("eta", eta, "dno")
    margin = preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected)
    for name, rate in (("win_chosen", win_chosen), ("win_rejected", win_rejected)):
        if not bool(((rate >= 0) & (rate <= 1)).all()):
            raise BadInput(f"{name} of dno should lie in [0, 1]: it is an expected win rate")
    target = sigmoid(at_least_float32(win_chosen) - at_least_float32(win_rejected)).to(margin.dtype)
    return binary_cross_entropy_with_logits(eta * margin, target, reduction="none")


@traits(rewards=_rewards, of_difference=True)
def dno_prct_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, *, eta: float = 0.1
) -> Tensor:
    """DNO-Prct: -ln sigmoid(Delta) on pairs with a clear winner, pi_t as reference; DPO whose reference moves along.

    Source: Direct Nash Optimization (2024), Algorithm 2 and section 4.

    Args:
        policy_chosen: (B,) the policy's log-probability of the winner, summed over its tokens.
        policy_rejected: (B,) the same of the loser.
        ref_chosen: (B,) that of pi_t, the policy of the iteration before, for the winner.
        ref_rejected: (B,) the same for the loser.
        eta: scale of the log-ratios.

    Raises:
        BadInput: eta is not above 0, or pi_t's log-probability is not finite.
    """
    positive("eta", eta, "dno-prct")
    return -logsigmoid(eta * preference_margin(policy_chosen, policy_rejected, ref_chosen, ref_rejected))
