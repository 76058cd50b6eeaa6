"""Reference vectors of over-optimisation in direct alignment, through the public losses and measures."""

from polyculture.align.objectives.hinge import hinge_regulariser, hinge_term, slic_regularised_loss
from polyculture.align.objectives.logistic import dpo_loss, dpo_nll_loss
from polyculture.align.objectives.margins import preference_margin, win_probability
from polyculture.align.objectives.squared import ipo_loss
from polyculture.measure.over_optimisation import top_k_entropy
from tests.golden.adapters.given import given, tensor


def _tensors(inputs, *names):
    return [tensor(inputs[name]) for name in names]


def _four(inputs):
    return _tensors(inputs, "policy_w", "policy_l", "ref_w", "ref_l")


def _ipo(inputs, params):
    return {
        "losses_paper_form": ipo_loss(*_four(inputs), **given(params, beta="tau"), form="unit").tolist(),
        "losses_trl_form": ipo_loss(*_four(inputs), **given(params, beta="tau")).tolist(),
    }


def _hinge(inputs, params):
    w, l, ref = _tensors(inputs, "policy_w_mean", "policy_l_mean", "ref_w_mean")
    return {
        "hinge": hinge_term(w, l, **given(params, "gamma")).tolist(),
        "reg": hinge_regulariser(w, ref).tolist(),
        "total": slic_regularised_loss(w, l, ref, **given(params, "gamma", "alpha")).tolist(),
    }


def _top_k(inputs, params):
    found = top_k_entropy(tensor(inputs["logits"]), **given(params, "k", "base"))
    return {
        "mass": found.mass.tolist(),
        "entropy_renormalised": found.entropy.tolist(),
        "entropy_raw": found.entropy_raw.tolist(),
        "mean_mass": found.mean_mass,
        "mean_entropy_renormalised": found.mean_entropy,
        "mean_entropy_raw": found.mean_entropy_raw,
    }


def _win(inputs, params):
    p = win_probability(*_tensors(inputs, "reward_policy", "reward_competitor"))
    return {"p_win": p.tolist(), "mean": p.mean().item()}


OPS = {
    "dpo_loss": lambda i, p: {
        "losses": dpo_loss(*_four(i), **given(p, "beta")).tolist(),
        "delta": preference_margin(*_four(i)).tolist(),
    },
    "ipo_loss": _ipo,
    "hinge_loss": _hinge,
    "topk_entropy": _top_k,
    "win_probability": _win,
    "dpo_nll_loss": lambda i, p: {"losses": dpo_nll_loss(*_four(i), **given(p, "beta", nll_weight="lambda")).tolist()},
}
