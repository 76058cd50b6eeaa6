"""Reference vectors of f-DPO, through the public loss."""

import torch

from polyculture.align.objectives.f_dpo import f_dpo_loss, f_dpo_rewards
from tests.golden.adapters.given import Asked, given, tensor

USUAL = ("reverse_kl", "forward_kl", "js", *(f"alpha={alpha}" for alpha in (0.1, 0.3, 0.5, 0.7, 0.9)))


def _losses(inputs, params):
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    tensors = {name: tensor(inputs[name]) for name in names}
    policy = [tensors[name].requires_grad_() for name in names[:2]]

    def run(name):
        divergence, _, alpha = name.partition("=")
        hyper = {"divergence": divergence} | ({"alpha": float(alpha)} if alpha else {}) | given(params, "beta")
        losses = f_dpo_loss(**tensors, **hyper)
        rewards = f_dpo_rewards(**tensors, **hyper)
        grads = torch.autograd.grad(losses.mean(), policy)
        return {
            "losses": losses.tolist(),
            "chosen_rewards": rewards[0].tolist(),
            "rejected_rewards": rewards[1].tolist(),
            "grad_mean_chosen": grads[0].tolist(),
            "grad_mean_rejected": grads[1].tolist(),
        }

    return Asked(run, USUAL)


OPS = {"f_dpo_losses": _losses}
