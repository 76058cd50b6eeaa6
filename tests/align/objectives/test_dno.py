from __future__ import annotations

import math

import pytest
import torch

from polyculture.align.objective import Objective
from polyculture.align.objectives.dno import dno_loss, dno_prct_loss
from polyculture.align.objectives.logistic import dpo_loss
from polyculture.errors import BadInput

W, L = torch.tensor([-3.0, -5.0]), torch.tensor([-4.0, -2.0])
REF_W, REF_L = torch.tensor([-3.5, -4.0]), torch.tensor([-3.0, -3.0])


def test_the_regression_is_lowest_where_the_log_ratios_differ_as_the_win_rates_do():
    wins = torch.tensor([0.9, 0.2]), torch.tensor([0.4, 0.7])
    policy = (REF_W + (wins[0] - wins[1]) / 0.5).requires_grad_()
    losses = dno_loss(policy, REF_L, REF_W, REF_L, *wins, eta=0.5)
    losses.sum().backward()
    assert policy.grad is not None and policy.grad.abs().max() < 1e-6
    z = 1 / (1 + math.exp(-0.5))
    assert losses[0].item() == pytest.approx(-z * math.log(z) - (1 - z) * math.log(1 - z))


def test_the_order_of_the_two_does_not_matter():
    wins = torch.tensor([0.9, 0.2]), torch.tensor([0.4, 0.7])
    one, other = dno_loss(W, L, REF_W, REF_L, *wins), dno_loss(L, W, REF_L, REF_W, *reversed(wins))
    assert one.tolist() == pytest.approx(other.tolist())


def test_prct_is_dpo_with_eta():
    assert dno_prct_loss(W, L, REF_W, REF_L, eta=0.3).tolist() == pytest.approx(
        dpo_loss(W, L, REF_W, REF_L, beta=0.3).tolist()
    )


def test_bad_numbers_are_refused():
    half = torch.full((2,), 0.5)
    with pytest.raises(BadInput, match="eta of dno should be above 0"):
        dno_loss(W, L, REF_W, REF_L, half, half, eta=0.0)
    with pytest.raises(BadInput, match="eta of dno-prct"):
        dno_prct_loss(W, L, REF_W, REF_L, eta=-1.0)
    with pytest.raises(BadInput, match="ref_chosen"):
        dno_prct_loss(W, L, torch.full((2,), math.nan), REF_L)
    for wrong in (1.1, -0.1, math.nan):
        with pytest.raises(BadInput, match="win_rejected of dno should lie in"):
            dno_loss(W, L, REF_W, REF_L, half, torch.full((2,), wrong))


def test_they_are_objectives_of_pairs():
    objective = Objective.of("dno", eta=2.0)
    assert objective.kind == "pairs" and objective.columns == ("win_chosen", "win_rejected")
    given = {"policy_chosen": W, "policy_rejected": L, "ref_chosen": REF_W, "ref_rejected": REF_L}
    given |= {"win_chosen": torch.ones(2), "win_rejected": torch.zeros(2)}
    rewards = objective.rewards(given)
    assert rewards is not None and rewards[0].tolist() == pytest.approx([1.0, -2.0])
    contrastive = Objective.of(dno_prct_loss)
    assert contrastive.traits.of_difference and contrastive.name == "dno-prct"
    rewards = contrastive.rewards(given)
    assert rewards is not None and rewards[1].tolist() == pytest.approx([-0.1, 0.1])
