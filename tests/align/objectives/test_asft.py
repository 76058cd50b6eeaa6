import math

import pytest
import torch

from polyculture.align.objective import Objective
from polyculture.align.objectives.asft import asft_loss, asft_parts, asft_two_stage_loss
from polyculture.align.objectives.odds import log_complement, log_odds
from polyculture.errors import BadInput


def means(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def test_closed_form_at_beta_one():
    w, l = means(-0.3, -1.2, -4.0), means(-2.0, -0.1, -0.7)
    loss = asft_loss(w, l, lam=0.3, ce_coef=0.8)
    torch.testing.assert_close(loss, -1.1 * w - 0.3 * torch.log(1 - l.exp()))
    loss.sum().backward()
    torch.testing.assert_close(w.grad, torch.full_like(w, -1.1))
    torch.testing.assert_close(l.grad, (0.3 * l.exp() / (1 - l.exp())).detach())


@pytest.mark.parametrize("clamp", [None, 1e-7])
def test_it_judges_the_odds_at_any_beta(clamp):
    w, l = means(-0.3, -1.2), means(-2.0, -0.1)
    o_w, o_l = log_odds(w, prob_clamp=clamp), log_odds(l, prob_clamp=clamp)
    judged = -torch.nn.functional.logsigmoid(0.4 * o_w) - torch.nn.functional.logsigmoid(-0.4 * o_l)
    torch.testing.assert_close(asft_loss(w, l, beta=0.4, lam=2.0, prob_clamp=clamp), -w + 2 * judged)
    parts = asft_parts(w, l, beta=0.4, prob_clamp=clamp)
    torch.testing.assert_close(parts.likelihood + 2 * (parts.chosen + parts.rejected), -w + 2 * judged)


def test_orpo_is_never_larger():
    w, l = means(-0.3, -1.2, -0.01), means(-2.0, -0.1, -0.02)
    p_w, p_l = w.exp(), l.exp()
    together = -torch.nn.functional.logsigmoid(log_odds(w) - log_odds(l))
    absolute = asft_loss(w, l, ce_coef=0.0)
    torch.testing.assert_close(together, absolute + torch.log(p_w * (1 - p_l) + p_l * (1 - p_w)))
    assert (together <= absolute).all()


def test_without_the_judgements_it_is_the_likelihood():
    w, l = means(-0.3, -1.2), means(-2.0, -0.1)
    loss = asft_loss(w, l, lam=0.0)
    assert torch.equal(loss, -w)
    assert torch.equal(Objective.of("orpo", lam=0.0)({"mean_chosen": w, "mean_rejected": l}), -w)
    loss.sum().backward()
    assert w.grad.tolist() == [-1, -1] and (l.grad == 0).all()


def test_two_stages_leave_the_likelihood_out():
    w, l = means(-0.3, -1.2), means(-2.0, -0.1)
    assert torch.equal(asft_two_stage_loss(w, l), asft_loss(w, l, beta=0.5, ce_coef=0.0))
    assert Objective.of("asft-two-stage").needs == ("mean_chosen", "mean_rejected")


def test_rewards_are_the_odds_times_beta():
    given = {"mean_chosen": means(math.log(0.5)), "mean_rejected": means(math.log(0.2))}
    for name, beta in (("asft", 1.0), ("asft-two-stage", 0.5)):
        objective = Objective.of(name)
        chosen, rejected = objective.rewards(given)
        assert (chosen.item(), rejected.item()) == pytest.approx((0.0, beta * math.log(0.25)))
        assert not chosen.requires_grad and not objective.needs_reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("value", [0.0, -1e-12, -1e-6, -math.log(2), -30.0, -800.0])
def test_finite_with_its_gradient_wherever_the_means_are(dtype, beta, value):
    w, l = means(value, dtype=dtype), means(value, dtype=dtype)
    loss = asft_loss(w, l, beta=beta)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(w.grad).all() and torch.isfinite(l.grad).all()
    assert w.grad < 0 and l.grad >= 0


def test_an_unlikely_rejected_answer_has_no_weight_left():
    l = means(-40.0)
    loss = asft_loss(means(-1.0), l)
    loss.sum().backward()
    assert loss.item() == pytest.approx(2.0) and 0 < l.grad.item() < 1e-15


def test_log_complement_is_exact_on_both_sides():
    for mean in (-1e-9, -1e-3, -0.69, -0.70, -3.0, -50.0):
        exact = math.log(-math.expm1(mean)) if mean > -1 else math.log1p(-math.exp(mean))
        assert log_complement(means(mean)).item() == pytest.approx(exact, rel=1e-12)
    assert log_complement(means(0.0, dtype=torch.float32)).item() == pytest.approx(math.log(2**-23))


def test_a_clamp_holds_the_value_and_stops_the_gradient():
    m = means(-1e-9)
    clamped = log_complement(m, prob_clamp=1e-3)
    assert clamped.item() == pytest.approx(math.log(1e-3))
    clamped.backward()
    assert m.grad.item() == 0
    torch.testing.assert_close(log_complement(means(-1.0), prob_clamp=1e-3), log_complement(means(-1.0)))


def test_half_precision_is_worked_in_float32():
    loss = asft_loss(torch.tensor([-0.5]).half(), torch.tensor([-1.5]).bfloat16(), beta=0.5)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"beta": 0.0}, "beta of ASFT"),
        ({"lam": -1.0}, "lam of ASFT"),
        ({"ce_coef": -1.0}, "ce_coef of ASFT"),
        ({"prob_clamp": 2.0}, "prob_clamp of the odds"),
    ],
)
def test_values_out_of_range_are_refused(hyper, message):
    with pytest.raises(BadInput, match=message):
        asft_loss(means(-1.0), means(-1.0), **hyper)


def test_orpo_has_the_same_knobs():
    w, l = means(-0.3, -1.2), means(-2.0, -0.1)
    plain = Objective.of("orpo", lam=0.3)({"mean_chosen": w, "mean_rejected": l})
    scaled = Objective.of("orpo", lam=0.3, beta=0.5, ce_coef=0.0)({"mean_chosen": w, "mean_rejected": l})
    ratio = log_odds(w) - log_odds(l)
    torch.testing.assert_close(plain, -w - 0.3 * torch.nn.functional.logsigmoid(ratio))
    torch.testing.assert_close(scaled, -0.3 * torch.nn.functional.logsigmoid(0.5 * ratio))
    with pytest.raises(BadInput, match="ce_coef of orpo"):
        Objective.of("orpo", ce_coef=-1.0)({"mean_chosen": w, "mean_rejected": l})
