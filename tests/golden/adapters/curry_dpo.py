"""Reference vectors of curricula of preference pairs, through the public pair and stage construction and the loss."""

from polyculture.align.data.ranked import ranked_pairs
from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.objective import Objective
from polyculture.align.staged.cuts import curriculum_stages
from tests.golden.adapters.given import given, tensor


def _ratings(inputs):
    return [[float("nan") if rating is None else float(rating) for rating in row] for row in inputs["ratings"]]


def _pairs(inputs, params):
    found = [ranked_pairs(row, **given(params, "max_pairs", "min_gap", "order")) for row in _ratings(inputs)]
    return {"pairs_easy_to_hard": [[[pair.chosen, pair.rejected] for pair in row] for row in found]}


def _stages(inputs, params):
    stages = curriculum_stages(_ratings(inputs), **given(params, "mode", "iterations", "max_pairs", "min_gap", "order"))
    return {"stages": [[[pair.prompt, pair.chosen, pair.rejected] for pair in stage] for stage in stages]}


def _dpo(inputs, params):
    policy = tensor(inputs["policy_token_logps"]).requires_grad_()
    given_inputs = pair_inputs(policy, tensor(inputs["completion_mask"]), tensor(inputs["ref_token_logps"]))
    loss = Objective.of("dpo", **given(params, "beta"))(given_inputs).mean()
    loss.backward()
    return {"loss": loss.item(), "grad_policy_token_logps": policy.grad.tolist()}


OPS = {"curriculum_pairs": _pairs, "curriculum_stages": _stages, "dpo_loss": _dpo}
