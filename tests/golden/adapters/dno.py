"""dno: soft-target and contrastive losses, soft policy iteration, and the filter of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from polyculture.align import nash
from polyculture.align.judged_pairs import PairRule
from polyculture.align.judged_pairs import pair_filter as filter_pairs
from polyculture.align.objective import pair_inputs
from polyculture.align.objectives.dno import dno_loss
from polyculture.align.objectives.dno import dno_prct_loss as prct_loss
from tests.golden.adapters.given import given


def _vector(values: list[Any]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def dno_regression_loss(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    first, second = (_vector(inputs[name]).requires_grad_() for name in ("policy_y1", "policy_y2"))
    others = (_vector(inputs[name]) for name in ("prev_y1", "prev_y2", "r1", "r2"))
    losses = dno_loss(first, second, *others, **given(params, "eta"))
    gradients = torch.autograd.grad(losses.mean(), (first, second))
    return {
        "losses": losses.detach(),
        "grad_mean_policy_y1": gradients[0],
        "grad_mean_policy_y2": gradients[1],
    }


def soft_policy_iteration(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = nash.soft_policy_iteration(inputs["P"], params["eta"], params["T"])
    return {
        "policies": found.policies,
        "rewards": found.rewards,
        "winrate_vs_previous": found.win_rates,
        "average_policy_1..T": found.average,
    }


def pair_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    rule = PairRule(**given(params, "min_positive", "margin_teacher_positive", "margin_student_positive"))
    rows = zip(inputs["scores"], inputs["gold_index"], strict=True)
    return {"pairs": [[list(pair) for pair in filter_pairs(scores, gold, rule=rule)] for scores, gold in rows]}


def dno_prct_loss(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    policy = _vector(inputs["policy_token_logps"]).requires_grad_()
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    held = pair_inputs(policy, _vector(inputs["completion_mask"]), _vector(inputs["prev_token_logps"]))
    loss = prct_loss(*(held[name] for name in names), **given(params, "eta")).mean()
    (gradient,) = torch.autograd.grad(loss, policy)
    return {"loss": loss.item(), "grad_policy_token_logps": gradient}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "dno_regression_loss": dno_regression_loss,
    "soft_policy_iteration": soft_policy_iteration,
    "pair_filter": pair_filter,
    "dno_prct_loss": dno_prct_loss,
}
