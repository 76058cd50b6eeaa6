import math

import numpy as np
import pytest
import torch

from polyculture.align.objectives.f_divergences import divergence_value, f_divergence, optimal_policy, penalised_rewards
from polyculture.errors import BadInput

CHOICES = [("reverse_kl", 0.5), ("forward_kl", 0.5), ("js", 0.5), ("alpha", 0.3), ("alpha", 0.8)]
RATIOS = torch.linspace(-3, 3, 13, dtype=torch.float64)
REF = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
REWARDS = torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(("name", "alpha"), CHOICES)
def test_generator_derivative_and_inverse_belong_together(name, alpha):
    held = f_divergence(name, alpha=alpha)
    u = RATIOS.exp().requires_grad_()
    (slope,) = torch.autograd.grad(held.generator(u.log()).sum(), u)
    torch.testing.assert_close(held.score(RATIOS) + held.constant, slope)
    assert held.generator(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-15)
    below = held.score(RATIOS) - (held.supremum if math.isfinite(held.supremum) else 0)
    torch.testing.assert_close(held.log_inverse(below), RATIOS)
    torch.testing.assert_close(held.reversed_generator(RATIOS), held.generator(RATIOS) * torch.exp(-RATIOS))


def test_generators_by_hand():
    u = 2.0
    a = torch.tensor(math.log(u), dtype=torch.float64)
    assert f_divergence("reverse_kl").generator(a).item() == pytest.approx(u * math.log(u))
    assert f_divergence("forward_kl").generator(a).item() == pytest.approx(-math.log(u))
    js = u * math.log(u) - (u + 1) * math.log((u + 1) / 2)
    assert f_divergence("js").generator(a).item() == pytest.approx(js)
    alpha = (u**0.7 - 0.7 * u - 0.3) / (0.3 * -0.7)
    assert f_divergence("alpha", alpha=0.3).generator(a).item() == pytest.approx(alpha)


@pytest.mark.parametrize(("name", "alpha"), CHOICES)
@pytest.mark.parametrize("beta", [0.02, 0.5, 50.0])
def test_optimum_satisfies_its_condition(name, alpha, beta):
    policy = optimal_policy(REF, REWARDS, divergence=name, alpha=alpha, beta=beta)
    assert policy.sum().item() == pytest.approx(1, abs=1e-12) and (policy > 0).all()
    # r - beta f'(pi / ref) is the same for all answers.
    held = f_divergence(name, alpha=alpha)
    rest = REWARDS - beta * held.score((policy / REF).log())
    torch.testing.assert_close(rest, rest[0].expand(4), rtol=1e-5, atol=1e-5 * beta)


def test_optimum_of_the_reverse_kl_is_the_closed_form():
    expected = torch.softmax(REF.log() + REWARDS / 0.3, dim=0)
    torch.testing.assert_close(optimal_policy(REF, REWARDS, beta=0.3), expected)


@pytest.mark.parametrize(("name", "alpha"), CHOICES)
def test_optimum_beats_policies_near_it(name, alpha):
    def value(policy):
        return float(policy @ REWARDS - 0.4 * divergence_value(policy, REF, divergence=name, alpha=alpha))

    policy = optimal_policy(REF, REWARDS, divergence=name, alpha=alpha, beta=0.4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = torch.softmax(policy.log() + 0.1 * torch.tensor(rng.normal(size=4)), dim=0)
        assert value(other) < value(policy)


@pytest.mark.parametrize(("name", "alpha"), CHOICES)
def test_optimum_of_equal_rewards_is_the_reference(name, alpha):
    found = optimal_policy(REF, torch.full((4,), 3.0), divergence=name, alpha=alpha, beta=0.1)
    torch.testing.assert_close(found, REF)


def test_optimum_of_several_problems_and_of_answers_without_probability():
    ref = torch.stack([REF, torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64)])
    rewards = torch.stack([REWARDS, torch.tensor([0.0, 1.0, 9.0, 9.0], dtype=torch.float64)])
    found = optimal_policy(ref, rewards, divergence="js", beta=0.5)
    torch.testing.assert_close(found[0], optimal_policy(REF, REWARDS, divergence="js", beta=0.5))
    alone = optimal_policy([0.5, 0.5], [0.0, 1.0], divergence="js", beta=0.5)
    torch.testing.assert_close(found[1], torch.cat([alone, torch.zeros(2, dtype=torch.float64)]))
    assert optimal_policy([1.0], [5.0], divergence="forward_kl").tolist() == [1.0]


def test_js_is_twice_the_usual():
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.2, 0.8])
    middle = (p + q) / 2
    usual = 0.5 * (p * (p / middle).log()).sum() + 0.5 * (q * (q / middle).log()).sum()
    assert divergence_value(p, q, divergence="js").item() == pytest.approx(2 * usual.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("ref", "rewards", "message"),
    [
        ([0.5, 0.5], [1.0], "both be"),
        ([0.5, 0.4], [1.0, 0.0], "summing to 1"),
        ([1.5, -0.5], [1.0, 0.0], "none negative"),
        ([0.5, 0.5], [1.0, math.nan], "NaN or infinite"),
    ],
)
def test_optimum_of_bad_input(ref, rewards, message):
    with pytest.raises(BadInput, match=message):
        optimal_policy(ref, rewards)


@pytest.mark.parametrize(("name", "alpha"), CHOICES)
def test_mean_penalty_over_the_policys_tokens_is_the_divergence(name, alpha):
    policy, ref = torch.tensor([0.7, 0.2, 0.1]), REF.float()[:3] / REF[:3].sum()
    rewards = penalised_rewards(
        policy.log()[:, None],
        ref.log()[:, None],
        torch.ones(3, 1),
        torch.zeros(3),
        divergence=name,
        alpha=alpha,
        beta=0.5,
    )
    expected = -0.5 * divergence_value(policy, ref, divergence=name, alpha=alpha)
    assert float(policy @ rewards[:, 0]) == pytest.approx(expected.item(), rel=1e-4)


def test_the_score_goes_to_the_last_token_and_padding_gets_nothing():
    policy = torch.tensor([[-1.0, -2.0, 0.0], [math.nan, -1.0, -1.5]], requires_grad=True)
    ref = torch.tensor([[-1.5, -1.0, 0.0], [-7.0, -1.0, -1.0]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    rewards = penalised_rewards(policy, ref, mask, torch.tensor([3.0, 5.0]), beta=0.2)
    torch.testing.assert_close(rewards, torch.tensor([[-0.1, 0.2 + 3, 0.0], [0.0, 0.0, 0.1 + 5]]))
    assert not rewards.requires_grad


def test_penalties_of_bad_input():
    two = torch.zeros(2, 3)
    with pytest.raises(BadInput, match="should be"):
        penalised_rewards(two, two, torch.ones(2, 3), torch.zeros(3))
    with pytest.raises(BadInput, match="no token"):
        penalised_rewards(two, two, two, torch.zeros(2))
    with pytest.raises(BadInput, match="NaN or infinite"):
        penalised_rewards(two - math.inf, two, torch.ones(2, 3), torch.zeros(2))
