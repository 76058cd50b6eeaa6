"""dno: soft-target and contrastive losses, soft policy iteration, and the filter of pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.objectives.dno import dno_loss
from polyculture.align.objectives.dno import dno_prct_loss as prct_loss
from polyculture.align.staged import nash
from polyculture.align.staged.judged_pairs import PairRule
from polyculture.align.staged.judged_pairs import pair_filter as filter_pairs
from tests.golden.adapters.given import given, tensor


def dno_regression_loss(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    first, second = (tensor(inputs[name]).requires_grad_() for name in ("policy_y1", "policy_y2"))
    others = (tensor(inputs[name]) for name in ("prev_y1", "prev_y2", "r1", "r2"))
    losses = dno_loss(first, second, *others, **given(params, "eta"))
    gradients = torch.autograd.grad(losses.mean(), (first, second))
    return {
        "losses": losses.tolist(),
        "grad_mean_policy_y1": gradients[0].tolist(),
        "grad_mean_policy_y2": gradients[1].tolist(),
    }


def soft_policy_iteration(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    found = nash.soft_policy_iteration(inputs["P"], params["eta"], params["T"])
    return {
        "policies": found.policies.tolist(),
        "rewards": found.rewards.tolist(),
        "winrate_vs_previous": found.win_rates.tolist(),
        "average_policy_1..T": found.average.tolist(),
    }


def pair_filter(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    rule = PairRule(**given(params, "min_positive", "margin_teacher_positive", "margin_student_positive"))
    scores = inputs["scores"]
    teachers = inputs.get("gold_index") or [None] * len(scores)

    def pairs(row: list[Any], teacher: int | None) -> list[list[int]]:
        # An index of no candidate, such as -1, says that the prompt has no response of the teacher.
        there = teacher if teacher in range(len(row)) else None
        return [list(pair) for pair in filter_pairs(tensor([_known(x) for x in row]), there, rule=rule)]

    return {"pairs": [pairs(row, teacher) for row, teacher in zip(scores, teachers, strict=True)]}


def _known(score: Any) -> Any:
    return "nan" if score is None else score


def dno_prct_loss(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    policy = tensor(inputs["policy_token_logps"]).requires_grad_()
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    held = pair_inputs(policy, tensor(inputs["completion_mask"]), tensor(inputs["prev_token_logps"]))
    loss = prct_loss(*(held[name] for name in names), **given(params, "eta")).mean()
    (gradient,) = torch.autograd.grad(loss, policy)
    return {"loss": loss.item(), "grad_policy_token_logps": gradient.tolist()}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "dno_regression_loss": dno_regression_loss,
    "soft_policy_iteration": soft_policy_iteration,
    "pair_filter": pair_filter,
    "dno_prct_loss": dno_prct_loss,
}
