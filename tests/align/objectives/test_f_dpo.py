import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import logsigmoid

from polyculture.align.objective import Objective
from polyculture.align.objectives.f_dpo import beyond_exponent, divergence_score, f_dpo_loss
from polyculture.align.objectives.logistic import dpo_loss
from polyculture.align.training_metrics import MetricSums
from polyculture.errors import BadInput, UnknownMethod

CHOICES = [("reverse_kl", 0.5), ("forward_kl", 0.5), ("js", 0.5), ("alpha", 0.3), ("alpha", 0.8)]
ONE = torch.zeros(1, dtype=torch.float64)


def pair(chosen, rejected, dtype=torch.float64):
    """Policy of both sides under a reference of -5 and -7, so that the log-ratios are those given."""
    sides = [torch.tensor(x, dtype=dtype) for x in (chosen, rejected)]
    ref = [torch.full_like(side, value) for side, value in zip(sides, (-5.0, -7.0), strict=True)]
    policy = [(side + r).requires_grad_() for side, r in zip(sides, ref, strict=True)]
    return *policy, *ref


def test_reverse_kl_is_dpo():
    given = pair([0.3, -2.0], [1.0, -1.5])
    torch.testing.assert_close(f_dpo_loss(*given, divergence="reverse_kl", beta=0.7), dpo_loss(*given, beta=0.7))


@pytest.mark.parametrize(("divergence", "alpha"), CHOICES)
def test_gradient_is_weighted_by_u_times_the_second_derivative(divergence, alpha):
    a = [[0.4, -1.0, 2.0], [-0.3, 1.2, 0.0]]
    given = pair(*a)
    f_dpo_loss(*given, divergence=divergence, alpha=alpha, beta=0.5).sum().backward()
    ratio = torch.tensor(a, dtype=torch.float64)
    weight = {
        "reverse_kl": torch.ones_like(ratio),
        "forward_kl": torch.exp(-ratio),
        "js": torch.sigmoid(-ratio),
        "alpha": torch.exp(-alpha * ratio),
    }[divergence]
    score = divergence_score(ratio, divergence, alpha=alpha)
    push = 0.5 * torch.sigmoid(-0.5 * (score[0] - score[1]))
    torch.testing.assert_close(given[0].grad, -push * weight[0])
    torch.testing.assert_close(given[1].grad, push * weight[1])


def test_alpha_lies_between_the_kls():
    a = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def difference(divergence, alpha=0.5):
        score = divergence_score(a, divergence, alpha=alpha)
        return score[1:] - score[:-1]

    torch.testing.assert_close(difference("alpha", 1e-6), difference("reverse_kl"), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(difference("alpha", 1 - 1e-9), difference("forward_kl"))


def test_the_other_convention_of_alpha_is_its_complement():
    a = torch.tensor([-1.0, 0.5])
    trl = divergence_score(a, "alpha", alpha=0.2, alpha_convention="trl")
    torch.testing.assert_close(trl, divergence_score(a, "alpha", alpha=0.8))
    # TRL's own formula, (u^(c - 1) - 1) / (c - 1), has the same differences.
    direct = (torch.exp((0.2 - 1) * a) - 1) / (0.2 - 1)
    torch.testing.assert_close(trl[1] - trl[0], direct[1] - direct[0])
    half = [divergence_score(a, "alpha", alpha_convention=c) for c in ("paper", "trl")]
    assert torch.equal(*half)


def test_half_precision_is_computed_in_float32():
    a = torch.tensor([-3.0, 1.0], dtype=torch.bfloat16)
    assert divergence_score(a, "forward_kl").dtype == torch.float32
    torch.testing.assert_close(divergence_score(a, "forward_kl"), divergence_score(a.float(), "forward_kl"))
    losses = f_dpo_loss(*(x.bfloat16() for x in pair([0.5], [-0.5], torch.float32)), divergence="forward_kl")
    assert losses.dtype == torch.float32


def test_js_stays_finite_far_out():
    given = pair([-1000.0, 1000.0, 1000.0], [1000.0, -1000.0, 1000.0], torch.float32)
    losses = f_dpo_loss(*given, divergence="js", beta=0.1)
    torch.testing.assert_close(losses, torch.tensor([100.0, 0.0, math.log(2)]))
    losses.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in given[:2])
    assert divergence_score(torch.tensor(1000.0), "js") == pytest.approx(math.log(2))


@pytest.mark.parametrize("divergence", ["forward_kl", "alpha"])
def test_a_much_likelier_answer_pushes_no_gradient(divergence):
    given = pair([300.0], [300.0], torch.float32)
    f_dpo_loss(*given, divergence=divergence).backward()
    assert given[0].grad.item() == 0 and given[1].grad.item() == 0


def test_down_weighted_answers_give_huge_losses():
    (loss,) = f_dpo_loss(*pair([-30.0], [0.0]), divergence="forward_kl", beta=1.0)
    assert loss.item() == pytest.approx(math.exp(30) - 1)


def test_an_overflow_is_an_error_unless_clamped_and_the_clamp_can_be_counted():
    given = pair([-400.0, 0.0], [0.0, 0.1], torch.float32)
    with pytest.raises(BadInput, match=r"forward_kl score of 1 pairs overflows.* down to -400; give max_exponent"):
        f_dpo_loss(*given, divergence="forward_kl")
    loss = f_dpo_loss(*given, divergence="forward_kl", max_exponent=80.0)
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert given[0].grad[0] == 0 and torch.isfinite(given[1].grad).all()
    ratio = given[0] - given[2]
    assert beyond_exponent(ratio, "forward_kl", max_exponent=80.0).tolist() == [True, False]
    # The exponent of the alpha divergence is alpha times as large.
    assert beyond_exponent(ratio, "alpha", alpha=0.1, max_exponent=80.0).tolist() == [False, False]
    assert not beyond_exponent(ratio, "js", max_exponent=1.0).any()


def test_rewards_are_beta_times_the_score_and_detached():
    chosen, rejected, ref_chosen, ref_rejected = pair([0.3], [-0.4])
    given = {
        "policy_chosen": chosen,
        "policy_rejected": rejected,
        "ref_chosen": ref_chosen,
        "ref_rejected": ref_rejected,
    }
    objective = Objective.of("f-dpo", divergence="forward_kl", beta="0.5")
    rewards = objective.rewards(given)
    assert [r.item() for r in rewards] == pytest.approx([-0.5 * math.exp(-0.3), -0.5 * math.exp(0.4)])
    assert not any(r.requires_grad for r in rewards)
    torch.testing.assert_close(objective(given), -logsigmoid(rewards[0] - rewards[1]))
    assert objective.kind == "pairs" and objective.needs_reference and not objective.traits.of_difference


def test_what_is_clamped_is_logged():
    chosen, rejected, ref_chosen, ref_rejected = pair([-9.0, 0.0], [0.0, 0.1])
    given = {
        "policy_chosen": chosen,
        "policy_rejected": rejected,
        "ref_chosen": ref_chosen,
        "ref_rejected": ref_rejected,
    }
    clamping = Objective.of("f-dpo", divergence="forward_kl", max_exponent=8.0, beta=0.2)
    found = {name: value.tolist() for name, value in clamping.metrics(given).items()}
    assert found == {"clamped/chosen": [1, 0], "clamped/rejected": [0, 0]}
    assert Objective.of("f-dpo").metrics(given) == {} == Objective.of("dpo").metrics(given)
    sums = MetricSums()
    sums.add(clamping, given)
    means = sums.means(SimpleNamespace(device="cpu", num_processes=1))
    assert means["clamped/chosen"] == 0.5 and means["clamped/rejected"] == 0


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"divergence": "tv"}, "'tv' can't be used: its derivative is a step"),
        ({"divergence": "chi-square"}, "0 is in the domain of its derivative"),
        ({"divergence": "alpha", "alpha": 1.0}, r"between 0 \(reverse_kl\) and 1 \(forward_kl\)"),
        ({"divergence": "alpha", "alpha": 0.0, "alpha_convention": "trl"}, r"0 \(forward_kl\) and 1 \(reverse_kl\)"),
        ({"beta": 0.0}, "beta of f-DPO should be above 0"),
        ({"max_exponent": -1.0}, "max_exponent of f-DPO should be above 0"),
    ],
)
def test_bad_options(hyper, message):
    with pytest.raises(BadInput, match=message):
        f_dpo_loss(ONE, ONE, ONE, ONE, **hyper)


def test_unknown_names():
    with pytest.raises(UnknownMethod, match="divergence"):
        f_dpo_loss(ONE, ONE, ONE, ONE, divergence="revers_kl")
    with pytest.raises(UnknownMethod, match="alpha_convention"):
        divergence_score(ONE, "alpha", alpha_convention="other")


def test_a_reference_without_probability():
    with pytest.raises(BadInput, match="ref_rejected is NaN or infinite"):
        f_dpo_loss(ONE, ONE, ONE, ONE - math.inf)
