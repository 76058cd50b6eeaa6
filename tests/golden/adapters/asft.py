"""Reference vectors of ASFT and of ORPO beside it, through the public losses."""

from polyculture.align.objective import Objective
from tests.golden.adapters.given import given, tensor


def _losses(inputs, params):
    def run(name):
        chosen, rejected = (tensor(inputs[f"avg_logp_{side}"]).requires_grad_() for side in ("chosen", "rejected"))
        objective = Objective.of(name, **given(params, "beta", "ce_coef", "prob_clamp", lam="lambda"))
        losses = objective({"mean_chosen": chosen, "mean_rejected": rejected})
        losses.mean().backward()
        return {
            "losses": losses.tolist(),
            "grad_mean_chosen": chosen.grad.tolist(),
            "grad_mean_rejected": rejected.grad.tolist(),
        }

    return {"asft": run("asft"), "orpo": run("orpo")}


OPS = {"asft_losses": _losses}
