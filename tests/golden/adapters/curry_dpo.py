"""Reference vectors of curricula of preference pairs, through the public pair and stage construction and the loss."""

import torch

from polyculture.align.objective import Objective, pair_inputs
from polyculture.align.ranked import ranked_pairs
from polyculture.align.staging import curriculum_stages
from tests.golden.adapters.given import given


def _ratings(inputs):
    return [[float("nan") if rating is None else float(rating) for rating in row] for row in inputs["ratings"]]


def _pairs(inputs, params):
    found = [ranked_pairs(row, **given(params, "max_pairs", "min_gap", "order")) for row in _ratings(inputs)]
    return {"pairs_easy_to_hard": [[[pair.chosen, pair.rejected] for pair in row] for row in found]}


def _stages(inputs, params):
    stages = curriculum_stages(_ratings(inputs), **given(params, "mode", "iterations", "max_pairs", "min_gap", "order"))
    return {"stages": [[[pair.prompt, pair.chosen, pair.rejected] for pair in stage] for stage in stages]}


def _dpo(inputs, params):
    policy = torch.tensor(_floats(inputs["policy_token_logps"]), dtype=torch.float64, requires_grad=True)
    reference = torch.tensor(_floats(inputs["ref_token_logps"]), dtype=torch.float64)
    given_inputs = pair_inputs(policy, torch.tensor(inputs["completion_mask"]), reference)
    loss = Objective.of("dpo", **given(params, "beta"))(given_inputs).mean()
    loss.backward()
    return {"loss": loss.item(), "grad_policy_token_logps": policy.grad.tolist()}


def _floats(rows):
    return [[float(value) for value in row] for row in rows]


OPS = {"curriculum_pairs": _pairs, "curriculum_stages": _stages, "dpo_loss": _dpo}
