import math

import pytest
import torch

from polyculture.align.objectives.hinge import hinge_regulariser, hinge_term, slic_regularised_loss
from polyculture.align.objectives.logistic import dpo_loss, dpo_nll_loss
from polyculture.align.objectives.margins import preference_margin, win_probability
from polyculture.align.objectives.squared import ipo_loss
from polyculture.errors import BadInput, UnknownMethod

W, L = torch.tensor([-3.0, -5.0]), torch.tensor([-4.0, -2.0])
REF_W, REF_L = torch.tensor([-3.5, -4.0]), torch.tensor([-3.0, -3.0])


def test_dpo_by_hand_and_its_gradient():
    assert preference_margin(W, L, REF_W, REF_L).tolist() == [1.5, -2.0]
    policy = W.clone().requires_grad_()
    loss = dpo_loss(policy, L, REF_W, REF_L, beta=0.5)
    assert loss.tolist() == pytest.approx([math.log1p(math.exp(-0.75)), math.log1p(math.exp(1.0))])
    loss.sum().backward()
    assert policy.grad.tolist() == pytest.approx([-0.5 / (1 + math.exp(0.75)), -0.5 / (1 + math.exp(-1.0))])


def test_at_the_reference_every_loss_is_its_constant():
    assert dpo_loss(W, L, W, L).tolist() == pytest.approx([math.log(2)] * 2)
    assert ipo_loss(W, L, W, L, form="unit").tolist() == [0.25] * 2
    assert hinge_regulariser(W, W).tolist() == pytest.approx([math.log1p(math.e)] * 2)


def test_margins_of_a_thousand_stay_finite():
    far = torch.tensor([-2000.0], requires_grad=True)
    loss = dpo_loss(far, torch.zeros(1), torch.zeros(1), torch.zeros(1), beta=1.0)
    assert loss.item() == 2000.0
    loss.backward()
    assert far.grad.item() == -1.0


def test_the_two_forms_of_ipo_differ_by_beta_squared():
    unit, target = (ipo_loss(W, L, REF_W, REF_L, beta=0.3, form=form) for form in ("unit", "target"))
    torch.testing.assert_close(unit, target * 0.09)
    with pytest.raises(UnknownMethod, match="form of ipo"):
        ipo_loss(W, L, REF_W, REF_L, form="trl")
    with pytest.raises(BadInput, match="beta"):
        ipo_loss(W, L, REF_W, REF_L, beta=0.0)


def test_the_hinge_has_no_reference_in_it():
    assert hinge_term(W, L).tolist() == [0.0, 4.0]
    torch.testing.assert_close(slic_regularised_loss(W, L, REF_W, alpha=0.0), hinge_term(W, L))
    torch.testing.assert_close(
        slic_regularised_loss(W, L, REF_W, alpha=0.5), hinge_term(W, L) + 0.5 * hinge_regulariser(W, REF_W)
    )


def test_nll_adds_the_likelihood_of_the_chosen():
    plain = dpo_loss(W, L, REF_W, REF_L)
    torch.testing.assert_close(dpo_nll_loss(W, L, REF_W, REF_L, nll_weight=0.2), plain + 0.2 * -W)


def test_win_probability():
    assert win_probability(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 800.0])).tolist() == [0.5, 0.0]


@pytest.mark.parametrize("bad", [-math.inf, math.nan])
def test_a_reference_that_bans_the_answer_is_refused(bad):
    banned = torch.tensor([bad, -1.0])
    with pytest.raises(BadInput, match="ref_chosen is NaN or infinite"):
        dpo_loss(W, L, banned, REF_L)
    with pytest.raises(BadInput, match="ref_rejected"):
        ipo_loss(W, L, REF_W, banned)
    with pytest.raises(BadInput, match="ref_mean_chosen"):
        slic_regularised_loss(W, L, banned)
