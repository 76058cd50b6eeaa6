import math

import pytest
import torch

from polyculture.align import METHODS
from polyculture.align.objective import Objective
from polyculture.align.objectives.tdpo import tdpo1_loss, tdpo2_loss, tdpo_inputs, tdpo_loss
from polyculture.errors import BadInput, UnknownMethod

NAMES = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected", "kl_chosen", "kl_rejected")


def some(seed=0, n=5):
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randn(6, n, generator=rng, dtype=torch.float64)
    drawn[4:] = drawn[4:].abs()
    return {
        name: row.clone().requires_grad_(not name.startswith("ref")) for name, row in zip(NAMES, drawn, strict=True)
    }


def logits(rows=4, length=6, vocabulary=7, seed=0):
    rng = torch.Generator().manual_seed(seed)
    both = torch.randn(2, rows, length, vocabulary, generator=rng, dtype=torch.float64)
    labels = torch.randint(vocabulary, (rows, length), generator=rng)
    labels[:, :2] = -100
    labels[1, 4:] = -100
    return both[0], both[1], labels


def test_by_hand():
    one = dict(zip(NAMES, torch.tensor([[-1.0], [-2.0], [-1.5], [-1.0], [0.3], [0.7]]), strict=True))
    # m_w = .5, m_l = -1, so u = 1.5; k_l - k_w = .4
    assert tdpo1_loss(**one, beta=0.5).item() == pytest.approx(math.log1p(math.exp(-0.5 * 1.1)))
    assert tdpo2_loss(**one, beta=0.5, alpha=0.25).item() == pytest.approx(math.log1p(math.exp(-0.5 * 1.4)))
    chosen, rejected = Objective.of("tdpo", beta=0.5).rewards(one)
    assert (chosen.item(), rejected.item()) == pytest.approx((0.4, -0.15))


def test_without_the_divergences_it_is_dpo_to_the_last_bit():
    given = some()
    plain = METHODS["dpo"](*(given[name] for name in NAMES[:4]), beta=0.3)
    assert torch.equal(tdpo2_loss(**given, beta=0.3, alpha=0.0), plain)
    wanted = torch.autograd.grad(plain.mean(), [given["policy_chosen"], given["policy_rejected"]])
    got = torch.autograd.grad(
        tdpo2_loss(**given, beta=0.3, alpha=0.0).mean(), [given["policy_chosen"], given["policy_rejected"]]
    )
    assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_the_gradient_is_stopped_at_the_chosen_divergence_of_tdpo2_alone():
    given = some()
    tdpo2_loss(**given, alpha=0.5).sum().backward()
    assert given["kl_chosen"].grad is None
    torch.testing.assert_close(given["kl_rejected"].grad, -0.5 * given["policy_chosen"].grad)
    again = some()
    tdpo1_loss(**again).sum().backward()
    torch.testing.assert_close(again["kl_chosen"].grad, again["policy_chosen"].grad)
    torch.testing.assert_close(again["kl_rejected"].grad, -again["policy_chosen"].grad)


def test_the_variant_is_an_argument_and_tdpo2_the_default():
    given = some()
    assert torch.equal(tdpo_loss(**given), tdpo2_loss(**given))
    assert torch.equal(tdpo_loss(**given, variant="tdpo1"), tdpo1_loss(**given))
    objective = Objective.of("tdpo", alpha="0.25")
    assert objective.kind == "pairs" and objective.needs_reference and objective.needs_vocabulary
    assert torch.equal(objective(given), tdpo2_loss(**given, alpha=0.25))
    assert not any(reward.requires_grad for reward in objective.rewards(given))
    with pytest.raises(UnknownMethod, match="variant of TDPO"):
        tdpo_loss(**given, variant="tdpo3")


@pytest.mark.parametrize(("hyper", "message"), [({"beta": 0.0}, "beta of TDPO"), ({"alpha": -0.1}, "alpha of TDPO")])
def test_weights_out_of_range_are_refused(hyper, message):
    with pytest.raises(BadInput, match=message):
        tdpo_loss(**some(), **hyper)
    with pytest.raises(BadInput, match=message):
        tdpo_loss(**some(), variant="tdpo1", **hyper)


def test_a_reference_that_bans_the_answer_is_refused():
    given = some() | {"ref_rejected": torch.full((5,), -math.inf, dtype=torch.float64)}
    for variant in ("tdpo1", "tdpo2"):
        with pytest.raises(BadInput, match="ref_rejected is NaN or infinite"):
            tdpo_loss(**given, variant=variant)


def test_half_precision_is_worked_in_float32():
    assert tdpo_loss(**{name: row.detach().half() for name, row in some().items()}).dtype == torch.float32


def test_inputs_are_those_of_a_loop_over_positions():
    policy, ref, labels = logits()
    given = tdpo_inputs(policy, ref, labels)
    for row in range(4):
        side, i = ("chosen", row) if row < 2 else ("rejected", row - 2)
        total = divergence = 0.0
        for t in range(1, 6):
            if labels[row, t] == -100:
                continue
            p, q = policy[row, t - 1].softmax(0), ref[row, t - 1].softmax(0)
            total += p[labels[row, t]].log()
            divergence += (q * (q / p).log()).sum()
        torch.testing.assert_close(given[f"policy_{side}"][i], total)
        torch.testing.assert_close(given[f"kl_{side}"][i], divergence)
    assert given["tokens_chosen"].tolist() == [4, 2]


def test_prompts_and_padding_have_no_gradient_and_answers_all_of_it():
    policy, ref, labels = logits()
    policy.requires_grad_()
    tdpo_loss(**{name: tdpo_inputs(policy, ref, labels)[name] for name in NAMES}).mean().backward()
    scored = torch.zeros(labels.shape, dtype=torch.bool)
    scored[:, :-1] = labels[:, 1:] != -100
    assert (policy.grad[~scored] == 0).all()
    assert (policy.grad[scored] != 0).all()


def test_gradient_of_the_logits_by_differences():
    policy, ref, labels = logits(rows=2, length=4, vocabulary=3)

    def loss(values):
        given = tdpo_inputs(values, ref, labels)
        return tdpo_loss(**{name: given[name] for name in NAMES}, variant="tdpo1", beta=0.5)

    assert torch.autograd.gradcheck(loss, policy.requires_grad_(), check_undefined_grad=False)


def test_a_token_the_reference_never_takes_adds_nothing():
    policy, ref, labels = logits(vocabulary=3)
    labels[labels == 2] = 0
    ref[..., 2] = -2000.0
    policy.requires_grad_()
    given = tdpo_inputs(policy, ref, labels)
    assert torch.isfinite(given["kl_chosen"]).all() and (given["kl_chosen"] > 0).all()
    given["kl_chosen"].sum().backward()
    assert torch.isfinite(policy.grad).all()


def test_tokens_banned_in_both_models_are_as_if_they_were_not_there():
    policy, ref, labels = logits(vocabulary=3)
    wide = [torch.nn.functional.pad(given, (0, 2), value=-math.inf) for given in (policy, ref)]
    wide[0].requires_grad_()
    narrow, padded = tdpo_inputs(policy, ref, labels), tdpo_inputs(*wide, labels)
    for name in narrow:
        torch.testing.assert_close(padded[name], narrow[name])
    sum(padded[name].sum() for name in ("kl_chosen", "policy_rejected")).backward()
    assert torch.isfinite(wide[0].grad).all()


def test_an_answer_without_tokens_counts_nothing():
    policy, ref, labels = logits()
    labels[0] = -100
    given = tdpo_inputs(policy, ref, labels)
    assert given["kl_chosen"][0] == 0 and given["policy_chosen"][0] == 0 and given["tokens_chosen"][0] == 0


def test_shapes_that_do_not_fit_are_refused():
    policy, ref, labels = logits()
    with pytest.raises(BadInput, match="chosen rows first"):
        tdpo_inputs(policy[:3], ref[:3], labels[:3])
    with pytest.raises(BadInput, match="chosen rows first"):
        tdpo_inputs(policy, ref[..., :-1], labels)
    with pytest.raises(BadInput, match="not an id"):
        tdpo_inputs(policy, ref, labels.where(labels < 0, 99))
