"""Reference vectors of the preference objectives, through pair_inputs, the table of objectives and the modifiers."""

import re

import torch

from polyculture.align.log_probs.pairs import pair_inputs
from polyculture.align.mixture import parse_objective
from polyculture.align.modifiers import with_divergence, wpo_weights
from polyculture.align.objective import Objective
from polyculture.align.objectives.reference_free import alphapo_score, orpo_odds_term
from polyculture.align.objectives.unpaired import kl_estimate, kto_pair_terms
from polyculture.methods import parameters
from tests.golden.adapters.given import Asked, given, tensor

SIDES = ("chosen", "rejected")
NAMES = {"sigmoid": "dpo", "sigmoid_norm": "dpo-norm", "ipo": "ipo-norm", "slic_hf": "slic", "kto_paired": "kto-pair"}
USUAL = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
MODIFIED = (
    *("ld_alpha=0.0", "ld_alpha=0.4", "ld_alpha=1.0", "f=forward_kl", "f=js_divergence", "hinge,f=js_divergence"),
    *(f"f=alpha_divergence,trl_coef={coefficient}" for coefficient in (0.25, 0.5, 0.9, 1.0, 2.0)),
    *("wpo", "mpo 0.8 sigmoid+0.2 bco_pair+1.0 sft"),
)
FREE = (*(f"cpo:{form}" for form in ("sigmoid", "hinge", "ipo", "simpo", "simpo,alphapo")), "orpo:odds_term")
OTHER = {
    "cdpo": ("cdpo", {}),
    "slic_hf": ("slic", {}),
    "dpop": ("dpop", {}),
    "odpo": ("odpo", {}),
    "margin": ("odpo", {}),
    "cal_dpo": ("cal-dpo", {}),
    "simpo_turbo": ("simpo", {"gamma_over_beta": 0.5}),
    "ipo_unnormalised": ("ipo", {}),
}
USUAL_OTHER = (
    *("cdpo(label_smoothing=0.2)", "slic_hf(delta=1,norm=False)", "dpop(lam=5)", "odpo/margin", "cal_dpo"),
    *("simpo_turbo(gamma inside beta)", "ipo_unnormalised", "kto_paired"),
)


def _ours(name):
    return NAMES.get(name, name.replace("_", "-"))


def _on_tokens(inputs, objective, *, ld_alpha=1.0, wpo=False):
    """Mean loss of a batch of pairs, and its gradient for the policy's token log-probabilities."""
    policy = tensor(inputs["policy_token_logps"]).requires_grad_()
    mask = tensor(inputs["completion_mask"]).bool()
    batch = pair_inputs(policy, mask, tensor(inputs["ref_token_logps"]), ld_alpha=ld_alpha)
    weights = wpo_weights(policy, tensor(inputs["log_sum_sq_probs"]), mask) if wpo else None
    n_tokens = float(batch["tokens_chosen"].sum())
    loss = objective.total(batch, len(mask) // 2, n_tokens, weights=weights)
    loss.backward()
    return {"loss": loss.item(), "grad_policy_token_logps": policy.grad.tolist()}


def _pairwise(inputs, params):
    smoothing = params.get("label_smoothing") or {}

    def run(name):
        known = parameters(Objective.of(_ours(name)).loss)
        options = given(params, *(option for option in known if option != "label_smoothing"))
        if "label_smoothing" in known:
            options["label_smoothing"] = smoothing.get(name) or 0.0
        options |= given(params, tau="discopop_tau") if name == "discopop" else {}
        return _on_tokens(inputs, Objective.of(_ours(name), **options))

    return Asked(run, USUAL)


def _modified(inputs, params):
    beta = given(params, "beta")

    def run(key):
        if key.startswith("mpo "):
            text = re.sub(r"([\d.]+) (\w+)", lambda part: f"{part[1]}*{_ours(part[2])}", key.removeprefix("mpo "))
            return _on_tokens(inputs, parse_objective(text, **beta))
        loss, options = "sigmoid", {}
        for part in key.split(","):
            name, _, value = part.partition("=")
            if value or name == "wpo":
                options[name] = value
            else:
                loss = name
        objective = Objective.of(_ours(loss), **beta)
        if "f" in options:
            divergence = {"js_divergence": "js", "alpha_divergence": "alpha"}.get(options["f"], options["f"])
            trl = {"alpha_convention": "trl", "max_exponent": 80.0}
            alpha = {"alpha": float(options["trl_coef"])} | trl if "trl_coef" in options else {}
            objective = with_divergence(objective, divergence, **alpha)
        ld_alpha = float(options.get("ld_alpha", 1.0))
        return _on_tokens(inputs, objective, ld_alpha=ld_alpha, wpo="wpo" in options)

    return Asked(run, MODIFIED)


def _unpaired(inputs, params):
    policy = tensor(inputs["policy_logps"]).requires_grad_()
    kl = {name: tensor(inputs[f"{name}_logps"]) for name in ("kl_policy", "kl_ref") if inputs.get(f"{name}_logps")}
    batch = {
        "policy": policy,
        "ref": tensor(inputs["ref_logps"]),
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
    return [tensor(inputs[f"policy_{side}"]).requires_grad_() for side in ("chosen", "rejected")]


def _both(chosen, rejected):
    """A case's scores, which are sums or means as the loss takes them."""
    return {
        f"{kind}_{side}": x for kind in ("policy", "mean") for side, x in zip(SIDES, (chosen, rejected), strict=True)
    }


def _reference_free(inputs, params):
    smoothing, gamma = given(params, "label_smoothing"), given(params, gamma="simpo_gamma")

    def run(name):
        sides = _sides(inputs)
        if name == "orpo:odds_term":
            odds = orpo_odds_term(*sides, **given(params, lam="beta"))
            return _graded(odds, sides, "beta_times_logsigmoid_logodds")
        form, _, alphapo = name.removeprefix("cpo:").partition(",")
        alpha, options, scores = given(params, alpha="alphapo_alpha"), given(params, "beta"), sides
        if form == "simpo":
            objective = Objective.of(
                "alphapo" if alphapo else "simpo", **gamma, **smoothing, **options, **alpha if alphapo else {}
            )
        else:
            objective = Objective.of("cpo", nll_weight=0.0, form=form, **smoothing, **options)
            scores = [alphapo_score(side, **alpha) for side in sides] if alphapo else sides
        batch = _both(*scores)
        chosen, rejected = objective.rewards(batch)
        logged = {"chosen_rewards": chosen.tolist(), "rejected_rewards": rejected.tolist()}
        return _graded(objective(batch), sides) | logged

    return Asked(run, FREE)


def _other_pairwise(inputs, params):
    def run(name):
        sides = _sides(inputs)
        ref = {f"ref_{side}": tensor(inputs[f"ref_{side}"]) for side in SIDES}
        if name == "kto_paired":
            return _graded(torch.cat(kto_pair_terms(*sides, *ref.values(), **given(params, "beta"))), sides)
        ours, options = OTHER[re.match(r"\w+", name)[0]]
        options = options | {option: float(x) for option, x in re.findall(r"(\w+)=([\d.]+)", name)}
        margin = {"margin": tensor(inputs["margin"])} if "margin" in inputs else {}
        objective = Objective.of(ours, **given(params, "beta"), **options)
        return _graded(objective(_both(*sides) | ref | margin), sides)

    return Asked(run, USUAL_OTHER)


OPS = {
    "pairwise_losses": _pairwise,
    "pairwise_modifiers": _modified,
    "unpaired_loss": _unpaired,
    "reference_free_losses": _reference_free,
    "other_pairwise_losses": _other_pairwise,
}
