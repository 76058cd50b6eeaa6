"""Reference vectors of token-level direct preference optimisation, through the public losses."""

import torch

from polyculture.align.objective import Objective
from polyculture.align.objectives.tdpo import tdpo_inputs
from tests.golden.adapters.given import given, tensor


def _run(inputs, **hyper):
    objective = Objective.of("tdpo", **hyper)
    chosen, rejected = objective.rewards(inputs)
    losses = objective(inputs)
    return losses, {
        "losses": losses.tolist(),
        "chosen_rewards": chosen.tolist(),
        "rejected_rewards": rejected.tolist(),
    }


def _from_logits(inputs, params):
    logits, ref_logits = (tensor(inputs[name]) for name in ("logits", "ref_logits"))
    labels, beta = torch.tensor(inputs["labels"]), given(params, "beta")

    def run(**hyper):
        leaf = logits.clone().requires_grad_()
        losses, found = _run(tdpo_inputs(leaf, ref_logits, labels), **hyper, **beta)
        losses.mean().backward()
        return found | {"grad_mean_logits": leaf.grad.tolist()}

    rows = tdpo_inputs(logits, ref_logits, labels)
    policy, ref, kl = (
        torch.cat([rows[f"{name}_chosen"], rows[f"{name}_rejected"]]) for name in ("policy", "ref", "kl")
    )
    return {
        "policy_logps": policy.tolist(),
        "logps_margin": (policy - ref).tolist(),
        "seq_kl_ref_policy": kl.tolist(),
        "tdpo1": run(variant="tdpo1"),
        "tdpo2": [run(variant="tdpo2", alpha=alpha) for alpha in params["alphas"]],
    }


def _sequence(inputs, params):
    sides = {
        "margin_w": "policy_chosen",
        "margin_l": "policy_rejected",
        "kl_w": "kl_chosen",
        "kl_l": "kl_rejected",
    }

    def run(**hyper):
        leaves = {name: tensor(inputs[name]).requires_grad_() for name in sides}
        named = {sides[name]: leaf for name, leaf in leaves.items()}
        nothing = torch.zeros_like(leaves["margin_w"]).detach()
        losses, found = _run(named | {"ref_chosen": nothing, "ref_rejected": nothing}, **hyper, **given(params, "beta"))
        losses.mean().backward()
        gradients = {name: (nothing if leaf.grad is None else leaf.grad).tolist() for name, leaf in leaves.items()}
        return found | {"grads_mean": gradients}

    return {"tdpo1": run(variant="tdpo1"), "tdpo2": run(variant="tdpo2", **given(params, "alpha"))}


OPS = {"tdpo_from_logits": _from_logits, "tdpo_sequence": _sequence}
