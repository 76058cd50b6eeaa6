"""Reference vectors of MODPO, through the public loss."""

import torch

from polyculture.align.objectives.modpo import collective_rewards, modpo_loss
from tests.golden.adapters.given import given, tensor

LOGS = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
MARGINS = ("margin_rewards_chosen", "margin_rewards_rejected")


def _loss(inputs, params):
    hyper = given(params, "beta", "loss_type") | {"w": tuple(params["w"])}
    tensors = {name: tensor(inputs[name]) for name in (*LOGS, *MARGINS)}
    policy = [tensors[name].requires_grad_() for name in LOGS[:2]]
    losses = modpo_loss(**tensors, **hyper)
    with torch.no_grad():
        rewards = collective_rewards(**tensors, **hyper)
    grads = torch.autograd.grad(losses.mean(), policy)
    return {
        "losses": losses.tolist(),
        "chosen_rewards": rewards[0].tolist(),
        "rejected_rewards": rewards[1].tolist(),
        "grad_mean_chosen": grads[0].tolist(),
        "grad_mean_rejected": grads[1].tolist(),
    }


OPS = {"modpo_loss": _loss}
