from __future__ import annotations

import math

import pytest
import torch

from polyculture.align import METHODS
from polyculture.align.objective import Objective, names
from polyculture.align.objectives.f_dpg import (
    DERIVATIVES,
    GENERATORS,
    divergence_estimates,
    f_dpg_loss,
    pseudo_reward,
)
from polyculture.align.sampled.settings import FDPG
from polyculture.errors import BadInput, UnknownMethod
from polyculture.methods import build

NAMES = sorted(DERIVATIVES)


def distributions(n=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, generator=rng, dtype=torch.float64)
    log_p = torch.randn(n, generator=rng, dtype=torch.float64).log_softmax(0)
    return logits, log_p


@pytest.mark.parametrize("name", NAMES)
def test_the_derivative_is_that_of_the_generator(name):
    a = torch.tensor([-2.0, -0.5, 0.7, 3.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(GENERATORS[name](a).sum(), a)
    assert (slope / a.exp()).tolist() == pytest.approx(DERIVATIVES[name](a).tolist())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_surrogate_has_the_gradient_of_the_divergence(name, scale):
    logits, log_p = distributions()
    given = logits.clone().requires_grad_()
    log_pi = given.log_softmax(0)
    (exact,) = torch.autograd.grad((log_p.exp() * GENERATORS[name](log_pi - log_p)).sum(), given)
    given = logits.clone().requires_grad_()
    log_pi = given.log_softmax(0)
    now = log_pi.detach()
    z = torch.full_like(now, math.log(scale))
    # A baseline changes no expected gradient.
    losses = f_dpg_loss(log_pi, now, log_p + z, z, torch.full_like(now, 0.3), divergence=name)
    (surrogate,) = torch.autograd.grad(now.exp() @ losses, given)
    assert surrogate.tolist() == pytest.approx(exact.tolist(), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_off_policy_samples_are_weighted_to_the_same_gradient(name):
    logits, log_p = distributions()
    log_q, _ = distributions(seed=1)
    log_q = log_q.log_softmax(0)
    zero = torch.zeros_like(log_p)
    gradients = []
    for proposal in (None, log_q):
        given = logits.clone().requires_grad_()
        log_pi = given.log_softmax(0)
        q = log_pi.detach() if proposal is None else proposal
        losses = f_dpg_loss(log_pi, q, log_p, zero, zero, divergence=name)
        gradients.append(torch.autograd.grad(q.exp() @ losses, given)[0].tolist())
    assert gradients[0] == pytest.approx(gradients[1], abs=1e-12)


def test_forbidden_samples_have_finite_rewards_or_are_refused():
    policy, target = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -math.inf])
    zero = torch.zeros(2)
    limits = {"forward_kl": 0.0, "js": -math.log(2), "tv": -0.5, "chi2_p_pi": -1.0}
    for name, limit in limits.items():
        assert pseudo_reward(policy, target, 0.0, divergence=name)[1] == pytest.approx(limit)
        assert torch.isfinite(f_dpg_loss(policy, policy, target, zero, zero, divergence=name)).all()
    for name in set(NAMES) - limits.keys():
        with pytest.raises(BadInput, match="smooth the target"):
            f_dpg_loss(policy, policy, target, zero, zero, divergence=name)
        kept = f_dpg_loss(policy, policy, target, zero, zero, divergence=name, zeros="keep")
        assert torch.isfinite(kept[0]) and torch.isinf(kept[1])


def test_an_undercovered_sample_does_not_overflow():
    policy = torch.tensor([-120.0], dtype=torch.float32)
    reward = pseudo_reward(policy, torch.tensor([0.0]), 0.0, divergence="forward_kl")
    assert reward.dtype == torch.float64 and reward.item() == pytest.approx(math.exp(120))


def test_a_prompt_without_a_z_has_no_loss_and_no_gradient():
    policy = torch.tensor([-1.0, -2.0], requires_grad=True)
    target, z = torch.tensor([-1.0, -math.inf]), torch.tensor([-0.5, -math.inf])
    losses = f_dpg_loss(policy, policy.detach(), target, z, torch.zeros(2), divergence="reverse_kl")
    losses.sum().backward()
    assert losses[1] == 0 and policy.grad is not None and policy.grad[1] == 0 and policy.grad[0] != 0


def test_bad_numbers_are_refused():
    good = torch.zeros(1)
    with pytest.raises(BadInput, match="proposal should be finite"):
        f_dpg_loss(good, torch.tensor([-math.inf]), good, good, good)
    with pytest.raises(BadInput, match="the policy gave"):
        f_dpg_loss(torch.tensor([math.nan]), good, good, good, good)
    for wrong in (math.nan, math.inf):
        with pytest.raises(BadInput, match="a number or -inf"):
            f_dpg_loss(good, good, torch.tensor([wrong]), good, good)
    with pytest.raises(UnknownMethod, match="js"):
        pseudo_reward(good, good, 0.0, divergence="jss")  # type: ignore[arg-type]


def test_it_is_an_objective_of_samples():
    objective = Objective.of(f_dpg_loss, divergence="tv")
    assert objective.kind == "samples" and not objective.needs_reference
    given = dict.fromkeys(objective.needs, torch.zeros(3))
    assert objective(given).shape == (3,) and objective({name: x[:0] for name, x in given.items()}).shape == (0,)
    half = objective({name: x.bfloat16() for name, x in given.items()})
    assert half.dtype == torch.float32
    for dtype in (torch.float32, torch.float64):
        assert objective({name: x.to(dtype) for name, x in given.items()}).dtype == dtype


def test_the_way_is_made_by_name():
    way = build("align", "f-dpg", divergence="tv", target="reward:length", samples="8", beta="0.5")
    assert way == FDPG(divergence="tv", target="reward:length", samples=8, beta=0.5)
    assert way.objective.hyper == {"divergence": "tv"} and METHODS["f-dpg"] is FDPG and "f-dpg" in names("samples")
    with pytest.raises(UnknownMethod, match="reverse_kl"):
        FDPG(divergence="reverse")  # type: ignore[arg-type]


def test_estimates_over_every_string_are_the_divergences():
    logits, log_p = distributions()
    log_pi = logits.log_softmax(0)
    n = len(log_p)
    uniform = torch.full((n,), -math.log(n), dtype=torch.float64)
    found = divergence_estimates(log_pi, uniform, log_p + 0.7, 0.7)
    p, pi = log_p.exp(), log_pi.exp()
    assert found["kl_p_pi"] == pytest.approx(float((p * (log_p - log_pi)).sum()))
    assert found["kl_pi_p"] == pytest.approx(float((pi * (log_pi - log_p)).sum()))
    assert found["tv"] == pytest.approx(float((p - pi).abs().sum() / 2))
    assert found["js"] == pytest.approx(float((p * GENERATORS["js"](log_pi - log_p)).sum() / 2))
    assert 1 <= found["ess"] <= n and found["largest_weight"] == pytest.approx(n * float(p.max()))


def test_estimates_where_nothing_is_known_are_nan_and_zeros_are_no_trouble():
    some = torch.tensor([-1.0, -2.0])
    assert all(math.isnan(v) for v in divergence_estimates(some, some, some, -math.inf).values())
    found = divergence_estimates(some, some, torch.tensor([-1.0, -math.inf]), math.log(0.5))
    assert math.isfinite(found["kl_p_pi"]) and math.isfinite(found["js"]) and found["kl_pi_p"] == math.inf
