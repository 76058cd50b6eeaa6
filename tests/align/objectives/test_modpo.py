import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from polyculture.align.objective import Objective
from polyculture.align.objectives.logistic import dpo_loss
from polyculture.align.objectives.modpo import collective_rewards, modpo_loss
from polyculture.errors import BadInput, UnknownMethod


def four(dtype=torch.float64):
    policy = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in ([-3.0, -4.0], [-6.0, -2.0])]
    return *policy, torch.tensor([-3.5, -3.0], dtype=dtype), torch.tensor([-5.0, -2.5], dtype=dtype)


def test_by_hand():
    m_w, m_l = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [3.0]])
    chosen, rejected = collective_rewards(*four(), m_w, m_l, w=(0.4, 0.6), beta=0.5)
    assert chosen.tolist() == pytest.approx([(0.5 * 0.5 - 0.6 * 2) / 0.4, (0.5 * -1.0) / 0.4])
    assert rejected.tolist() == pytest.approx([(0.5 * -1.0 - 0.6) / 0.4, (0.5 * 0.5 - 0.6 * 3) / 0.4])
    loss = modpo_loss(*four(), m_w, m_l, w=(0.4, 0.6), beta=0.5)
    torch.testing.assert_close(loss, -logsigmoid(chosen - rejected))
    hinge = modpo_loss(*four(), m_w, m_l, w=(0.4, 0.6), beta=0.5, loss_type="hinge")
    torch.testing.assert_close(hinge, torch.relu(1 - (chosen - rejected)))


def test_one_margin_may_be_a_plain_column():
    margins = torch.tensor([0.5, -1.0]), torch.tensor([0.0, 2.0])
    torch.testing.assert_close(modpo_loss(*four(), *margins), modpo_loss(*four(), *(m[:, None] for m in margins)))


def test_a_chosen_answer_with_more_margin_is_pushed_harder():
    def push(extra):
        given = four()
        modpo_loss(*given, torch.full((2, 1), extra), torch.zeros(2, 1)).sum().backward()
        return -given[0].grad

    assert (push(1.0) > push(0.0)).all() and (push(0.0) > push(-1.0)).all()


def test_gradient_grows_with_one_over_the_first_weight_and_spares_the_margins():
    given = four()
    m_w, m_l = torch.ones(2, 1, requires_grad=True), torch.zeros(2, 1)
    modpo_loss(*given, m_w, m_l, w=(0.2, 0.8), beta=0.1).sum().backward()
    chosen, rejected = collective_rewards(*given, m_w, m_l, w=(0.2, 0.8), beta=0.1)
    torch.testing.assert_close(given[0].grad, (-(0.1 / 0.2) * torch.sigmoid(rejected - chosen)).detach())
    assert m_w.grad is None


def test_without_other_objectives_it_is_dpo():
    empty = torch.zeros(2, 0)
    torch.testing.assert_close(modpo_loss(*four(), empty, empty, w=(1.0,)), dpo_loss(*four()))
    torch.testing.assert_close(modpo_loss(*four(), empty + 0, empty, w=(0.5,)), dpo_loss(*four(), beta=0.2))


def test_weights_are_taken_as_they_are():
    m_w, m_l = torch.rand(2, 2), torch.rand(2, 2)
    one = modpo_loss(*four(), m_w, m_l, w=(1.0, 0.5, 0.2), beta=0.1)
    torch.testing.assert_close(one, modpo_loss(*four(), m_w, m_l, w=(2.0, 1.0, 0.4), beta=0.2))
    assert not torch.allclose(one, modpo_loss(*four(), m_w, m_l, w=(2.0, 1.0, 0.4), beta=0.1))


def test_as_an_objective():
    names = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
    given = dict(zip(names, four(), strict=True))
    given |= {"margin_rewards_chosen": torch.ones(2, 1), "margin_rewards_rejected": torch.zeros(2, 1)}
    objective = Objective.of("modpo", w="0.25,0.75", beta="0.2")
    assert objective.kind == "pairs" and objective.columns == ("margin_rewards_chosen", "margin_rewards_rejected")
    chosen, rejected = objective.rewards(given)
    assert not chosen.requires_grad
    torch.testing.assert_close(objective(given), -logsigmoid(chosen - rejected))


def test_half_precision_is_computed_in_float32():
    half = [x.detach().bfloat16() for x in four()]
    assert modpo_loss(*half, torch.zeros(2, 1), torch.zeros(2, 1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"w": (0.0, 1.0)}, r"first weight of MODPO.* above 0, not 0; .*another objective"),
        ({"w": (-1.0, 1.0)}, "first weight"),
        ({"w": ()}, "w of MODPO should hold"),
        ({"w": (0.5, math.nan)}, "w of MODPO should hold"),
        ({"w": (0.5, 0.2, 0.3)}, r"margin_rewards_chosen should be \(2, 2\).*it is \(2, 1\)"),
        ({"beta": -0.1}, "beta of MODPO should be above 0"),
    ],
)
def test_bad_options(hyper, message):
    with pytest.raises(BadInput, match=message):
        modpo_loss(*four(), torch.zeros(2, 1), torch.zeros(2, 1), **hyper)


def test_margins_that_are_not_numbers_are_named():
    bad = torch.tensor([[0.0], [math.nan]])
    with pytest.raises(BadInput, match=r"margin_rewards_rejected is NaN or infinite in rows 1; drop"):
        modpo_loss(*four(), torch.zeros(2, 1), bad)


def test_unknown_loss_type_and_a_reference_without_probability():
    margins = torch.zeros(2, 1)
    with pytest.raises(UnknownMethod, match="loss_type"):
        modpo_loss(*four(), margins, margins, loss_type="ipo")
    policy_chosen, policy_rejected, _, ref = four()
    with pytest.raises(BadInput, match="ref_chosen is NaN"):
        modpo_loss(policy_chosen, policy_rejected, ref * math.nan, ref, margins, margins)
