"""f-dpg: surrogate losses of six f-divergences, the running Z, and the divergence estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from polyculture.align.objectives.f_dpg import divergence_estimates as estimates
from polyculture.align.objectives.f_dpg import f_dpg_loss as loss_of
from polyculture.align.objectives.f_dpg import pseudo_reward
from polyculture.align.sampled.state import SampledState
from tests.golden.adapters.given import tensor

NAMES = {
    "forward_kl": "forward_kl",
    "reverse_kl": "reverse_kl",
    "js": "js",
    "tv": "tv",
    "chi2(p||pi)": "chi2_p_pi",
    "chi2(pi||p)": "chi2_pi_p",
}


def _log_z(inputs: dict[str, Any]) -> float:
    z = float(inputs["Z"])
    return math.log(z) if z > 0 else -math.inf


def f_dpg_loss(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    proposal, target = tensor(inputs["proposal_logps"]), tensor(inputs["target_log_scores"])
    log_z = _log_z(inputs)
    found: dict[str, Any] = {}
    for name, divergence in NAMES.items():
        state = SampledState() if params.get("use_baseline", True) else SampledState(window=0)
        policy = tensor(inputs["policy_logps"]).requires_grad_()
        rewards = pseudo_reward(policy, target, log_z, divergence=divergence)  # type: ignore[arg-type]
        found[name] = {"pseudo_reward": rewards.tolist()}
        for call in ("call1", "call2"):
            baseline, z = torch.full_like(target, state.baseline), torch.full_like(target, log_z)
            loss = loss_of(policy, proposal, target, z, baseline, divergence=divergence, zeros="keep").mean()  # type: ignore[arg-type]
            (gradient,) = torch.autograd.grad(loss, policy)
            found[name][call] = {"loss": loss.item(), "grad_policy_logps": gradient.tolist()}
            state.add_rewards(rewards.numpy())
    return found


def divergence_estimates(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    policy, proposal, target = (tensor(inputs[n]) for n in ("policy_logps", "proposal_logps", "target_log_scores"))
    found = estimates(policy, proposal, target, _log_z(inputs))
    return {
        "KL(p||pi)": found["kl_p_pi"],
        "KL(pi||p)": found["kl_pi_p"],
        "TV(p,pi)": found["tv"],
        "JS(p,pi)": found["js"],
    }


def running_z(inputs: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    state, after = SampledState(), []
    for batch in inputs["log_weights"]:
        state.add_weights([""] * len(batch), [float(weight) for weight in batch])
        after.append(float(np.exp(state.log_z([""])[0])))
    return {"Z_after_each_batch": after}


OPS: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "f_dpg_loss": f_dpg_loss,
    "divergence_estimates": divergence_estimates,
    "running_z": running_z,
}
