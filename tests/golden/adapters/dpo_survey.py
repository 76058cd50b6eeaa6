"""Reference vectors of the preference objectives, through pair_inputs, the table of objectives and the modifiers."""

import re

import torch

from polyculture.align.mixture import parse_objective
from polyculture.align.modifiers import with_divergence, wpo_weights
from polyculture.align.objective import Objective, pair_inputs
from polyculture.align.objectives.reference_free import orpo_odds_term
from polyculture.align.objectives.unpaired import kl_estimate, kto_pair_terms
from tests.golden.adapters.given import given

SIDES = ("chosen", "rejected")
NAMES = {"sigmoid": "dpo", "sigmoid_norm": "dpo-norm", "ipo": "ipo-norm"}


def _tensor(values, dtype=torch.float64):
    return torch.tensor(_floats(values), dtype=dtype)


def _floats(values):
    return [_floats(value) for value in values] if isinstance(values, list) else float(values)


def _ours(name):
    return NAMES.get(name, name.replace("_", "-"))


def _on_tokens(inputs, objective, *, ld_alpha=1.0, wpo=False):
    """Mean loss of a batch of pairs, and its gradient for the policy's token log-probabilities."""
    policy = _tensor(inputs["policy_token_logps"]).requires_grad_()
    mask = _tensor(inputs["completion_mask"]).bool()
    batch = pair_inputs(policy, mask, _tensor(inputs["ref_token_logps"]), ld_alpha=ld_alpha)
    weights = wpo_weights(policy, _tensor(inputs["log_sum_sq_probs"]), mask) if wpo else None
    n_tokens = float(batch["tokens_chosen"].sum())
    loss = objective.total(batch, len(mask) // 2, n_tokens, weights=weights)
    loss.backward()
    return {"loss": loss.item(), "grad_policy_token_logps": policy.grad.tolist()}


def _pairwise(inputs, params):
    smoothing, found = params.get("label_smoothing") or {}, {}
    for name in (
        *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
        *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
    ):
        options = {} if name == "sft" else given(params, "beta")
        options |= given(smoothing, label_smoothing=name)
        options |= given(params, tau="discopop_tau") if name == "discopop" else {}
        found[name] = _on_tokens(inputs, Objective.of(_ours(name), **options))
    return found


class _Modified(dict):
    """Every modifier's answer, made when it is asked for by the name the case gives it."""

    def __init__(self, inputs, params):
        self.inputs, self.beta = inputs, given(params, "beta")

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        if key.startswith("mpo "):
            text = re.sub(r"([\d.]+) (\w+)", lambda part: f"{part[1]}*{_ours(part[2])}", key.removeprefix("mpo "))
            return _on_tokens(self.inputs, parse_objective(text, **self.beta))
        loss, options = "sigmoid", {}
        for part in key.split(","):
            name, _, value = part.partition("=")
            if value or name == "wpo":
                options[name] = value
            else:
                loss = name
        objective = Objective.of(_ours(loss), **self.beta)
        if "f" in options:
            divergence = {"js_divergence": "js", "alpha_divergence": "alpha"}.get(options["f"], options["f"])
            alpha = {"alpha": float(options["trl_coef"]), "alpha_convention": "trl"} if "trl_coef" in options else {}
            objective = with_divergence(objective, divergence, **alpha)
        ld_alpha = float(options.get("ld_alpha", 1.0))
        return _on_tokens(self.inputs, objective, ld_alpha=ld_alpha, wpo="wpo" in options)


def _unpaired(inputs, params):
    policy = _tensor(inputs["policy_logps"]).requires_grad_()
    kl = {name: _tensor(inputs[f"{name}_logps"]) for name in ("kl_policy", "kl_ref") if inputs.get(f"{name}_logps")}
    batch = {
        "policy": policy,
        "ref": _tensor(inputs["ref_logps"]),
        "desirable": torch.tensor([bool(label) for label in inputs["labels"]]),
        **kl,
    }
    options = given(params, "beta", "desirable_weight", "undesirable_weight")
    objective = Objective.of(_ours(params["loss_type"]), **options)
    loss = objective.total(batch, len(policy), 0)
    loss.backward()
    z = kl_estimate(kl["kl_policy"], kl["kl_ref"]).item() if "kl_policy" in objective.needs else 0.0
    return {"loss": loss.item(), "grad_policy_logps": policy.grad.tolist(), "kl": z}


def _graded(losses, sides, key="losses"):
    losses.mean().backward()
    names = ("chosen", "rejected")
    return {key: losses.tolist()} | {f"grad_mean_{n}": s.grad.tolist() for n, s in zip(names, sides, strict=True)}


def _sides(inputs):
    return [_tensor(inputs[f"policy_{side}"]).requires_grad_() for side in ("chosen", "rejected")]


def _both(chosen, rejected):
    """A case's scores, which are sums or means as the loss takes them."""
    return {
        f"{kind}_{side}": x for kind in ("policy", "mean") for side, x in zip(SIDES, (chosen, rejected), strict=True)
    }


def _reference_free(inputs, params):
    def rated(name, **options):
        chosen, rejected = sides = _sides(inputs)
        batch = _both(chosen, rejected)
        objective = Objective.of(name, **given(params, "beta"), **options)
        rewards = objective.rewards(batch)
        return _graded(objective(batch), sides) | {
            "chosen_rewards": rewards[0].tolist(),
            "rejected_rewards": rewards[1].tolist(),
        }

    smoothing, gamma = given(params, "label_smoothing"), given(params, gamma="simpo_gamma")
    sides = _sides(inputs)
    odds = _graded(orpo_odds_term(*sides, **given(params, lam="beta")), sides, "beta_times_logsigmoid_logodds")
    return {
        "cpo:sigmoid": rated("cpo", nll_weight=0.0, **smoothing),
        "cpo:hinge": rated("cpo", nll_weight=0.0, form="hinge"),
        "cpo:ipo": rated("cpo", nll_weight=0.0, form="ipo"),
        "cpo:simpo": rated("simpo", **gamma, **smoothing),
        "cpo:simpo,alphapo": rated("alphapo", **gamma, **smoothing, **given(params, alpha="alphapo_alpha")),
        "orpo:odds_term": odds,
    }


def _other_pairwise(inputs, params):
    def rated(name, **options):
        chosen, rejected = sides = _sides(inputs)
        batch = _both(chosen, rejected)
        batch |= {name: _tensor(inputs[name]) for name in ("ref_chosen", "ref_rejected", "margin")}
        return _graded(Objective.of(name, **given(params, "beta"), **options)(batch), sides)

    sides = _sides(inputs)
    kto = kto_pair_terms(
        *sides, _tensor(inputs["ref_chosen"]), _tensor(inputs["ref_rejected"]), **given(params, "beta")
    )
    return {
        "cdpo(label_smoothing=0.2)": rated("cdpo", label_smoothing=0.2),
        "slic_hf(delta=1,norm=False)": rated("slic", delta=1.0),
        "dpop(lam=5)": rated("dpop", lam=5.0),
        "odpo/margin": rated("odpo"),
        "cal_dpo": rated("cal-dpo"),
        "simpo_turbo(gamma inside beta)": rated("simpo", gamma_over_beta=0.5),
        "ipo_unnormalised": rated("ipo"),
        "kto_paired": _graded(torch.cat(kto), sides),
    }


OPS = {
    "pairwise_losses": _pairwise,
    "pairwise_modifiers": _Modified,
    "unpaired_loss": _unpaired,
    "reference_free_losses": _reference_free,
    "other_pairwise_losses": _other_pairwise,
}
