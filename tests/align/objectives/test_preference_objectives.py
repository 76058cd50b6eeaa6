import itertools
import math

import pytest
import torch

from polyculture.align.objective import Objective
from polyculture.align.objectives.absolute import apo_down_loss, apo_zero_loss, bco_pair_loss, nca_pair_loss
from polyculture.align.objectives.hinge import hinge_loss
from polyculture.align.objectives.listwise import pl_loss
from polyculture.align.objectives.logistic import (
    cdpo_loss,
    discopop_loss,
    dpo_loss,
    dpo_norm_loss,
    dpop_loss,
    exo_pair_loss,
    odpo_loss,
    r_dpo_loss,
    robust_loss,
)
from polyculture.align.objectives.reference_free import (
    alphapo_loss,
    alphapo_score,
    cpo_loss,
    orpo_loss,
    simpo_loss,
    slic_loss,
)
from polyculture.align.objectives.sft import sft_loss
from polyculture.align.objectives.sorted import aot_loss, aot_unpaired_loss
from polyculture.align.objectives.squared import cal_dpo_loss, ipo_loss, ipo_norm_loss, sppo_hard_loss
from polyculture.align.objectives.unpaired import (
    apo_zero_unpaired_loss,
    bco_loss,
    kl_estimate,
    kto_loss,
    kto_pair_loss,
    kto_pair_terms,
)
from polyculture.errors import BadInput, UnknownMethod

LN2 = math.log(2)
PAIR = (torch.tensor([-3.0, -5.0]), torch.tensor([-4.0, -2.0]), torch.tensor([-3.5, -4.0]), torch.tensor([-3.0, -3.0]))
TOKENS = (torch.tensor([2.0, 4.0]), torch.tensor([5.0, 0.0]))  # a = (.5, -1) and (-1, 1)


def ls(x):
    return -math.log1p(math.exp(-x))


def sg(x):
    return 1 / (1 + math.exp(-x))


def test_smoothed_labels():
    plain, flipped = dpo_loss(*PAIR, beta=0.5), dpo_loss(PAIR[1], PAIR[0], PAIR[3], PAIR[2], beta=0.5)
    torch.testing.assert_close(cdpo_loss(*PAIR, beta=0.5, label_smoothing=0.2), 0.8 * plain + 0.2 * flipped)
    torch.testing.assert_close(robust_loss(*PAIR, beta=0.5, label_smoothing=0.2), (0.8 * plain - 0.2 * flipped) / 0.6)
    torch.testing.assert_close(cdpo_loss(*PAIR, label_smoothing=0.0), dpo_loss(*PAIR))
    torch.testing.assert_close(robust_loss(*PAIR, label_smoothing=0.0), dpo_loss(*PAIR))


def test_robust_is_unbiased_under_flips():
    clean = dpo_loss(*PAIR)
    swapped = (PAIR[1], PAIR[0], PAIR[3], PAIR[2])
    seen = 0.7 * robust_loss(*PAIR, label_smoothing=0.3) + 0.3 * robust_loss(*swapped, label_smoothing=0.3)
    torch.testing.assert_close(seen, clean)


@pytest.mark.parametrize("e", [0.5, 0.7, -0.1, math.nan])
def test_robust_refuses_labels_that_say_nothing(e):
    with pytest.raises(BadInput, match="label_smoothing of robust"):
        robust_loss(*PAIR, label_smoothing=e)


@pytest.mark.parametrize("e", [0.0, 0.6, -0.1])
def test_exo_refuses_certain_labels(e):
    with pytest.raises(BadInput, match="label_smoothing of exo-pair"):
        exo_pair_loss(*PAIR, label_smoothing=e)


def test_exo_is_a_divergence_and_zero_where_the_policy_agrees_with_the_labels():
    margin = torch.tensor([math.log(0.9 / 0.1)])
    zero = torch.zeros(1)
    torch.testing.assert_close(exo_pair_loss(margin, zero, zero, zero, beta=1.0, label_smoothing=0.1), zero)
    assert (exo_pair_loss(*PAIR, beta=1.0, label_smoothing=0.1) > 0).all()


def test_length_normalisation_by_hand():
    delta = (0.5 / 2 + 1 / 5, -1 / 4 - 1 / 1)  # an empty completion counts as one token
    assert dpo_norm_loss(*PAIR, *TOKENS, beta=2.0).tolist() == pytest.approx([-ls(2 * d) for d in delta])
    assert ipo_norm_loss(*PAIR, *TOKENS, beta=2.0).tolist() == pytest.approx([(d - 0.25) ** 2 for d in delta])


def test_discopop_by_hand_and_far_out():
    x = (0.75, -1.0)
    expected = [(1 - sg(v / 0.5)) * -ls(v) + sg(v / 0.5) * math.exp(-v) for v in x]
    assert discopop_loss(*PAIR, beta=0.5, tau=0.5).tolist() == pytest.approx(expected)
    far, zero = torch.tensor([-2000.0, 2000.0], requires_grad=True), torch.zeros(2)
    found = discopop_loss(far, zero, zero, zero, beta=1.0)
    assert found.tolist() == [2000.0, 0.0]
    found.sum().backward()
    assert far.grad.tolist() == [-1.0, 0.0]


def test_dpop_pays_for_what_the_chosen_lost():
    assert dpop_loss(*PAIR, beta=0.5, lam=3.0).tolist() == pytest.approx([-ls(0.75), -ls(0.5 * (-2 - 3))])
    torch.testing.assert_close(dpop_loss(*PAIR, beta=0.1, lam=0.0), dpo_loss(*PAIR))
    with pytest.raises(BadInput, match="lam of dpop"):
        dpop_loss(*PAIR, lam=-1.0)


def test_offsets():
    margin = torch.tensor([0.3, 2.0])
    assert odpo_loss(*PAIR, margin, beta=0.5, alpha=0.5).tolist() == pytest.approx([-ls(0.6), -ls(-2.0)])
    assert r_dpo_loss(*PAIR, *TOKENS, beta=0.5, alpha=0.1).tolist() == pytest.approx([-ls(0.45), -ls(-0.6)])
    for bad in (-0.1, math.nan):
        with pytest.raises(BadInput, match="margin is negative or NaN"):
            odpo_loss(*PAIR, torch.tensor([bad, 1.0]))


def test_hinge_and_slic():
    assert hinge_loss(*PAIR, beta=0.5).tolist() == [0.25, 2.0]
    means = torch.tensor([-1.5, -1.25])
    assert slic_loss(*PAIR[:2], means).tolist() == [0.0, 4.0]
    assert slic_loss(*PAIR[:2], means, beta=0.5, delta=2.0, nll_weight=2.0).tolist() == [4.5, 6.0]


def test_absolute_by_hand():
    chosen, rejected = (0.25, -0.5), (-0.5, 0.5)
    sides = list(zip(chosen, rejected, strict=True))
    expected = {
        nca_pair_loss: [-ls(w) - ls(-w) / 2 - ls(-r) / 2 for w, r in sides],
        bco_pair_loss: [-ls(w) - ls(-r) for w, r in sides],
        apo_zero_loss: [1 - sg(w) + sg(r) for w, r in sides],
        apo_down_loss: [sg(w) + 1 - sg(w - r) for w, r in sides],
    }
    for loss, values in expected.items():
        assert loss(*PAIR, beta=0.5).tolist() == pytest.approx(values)


def test_squared_by_hand():
    assert ipo_loss(*PAIR, beta=0.5).tolist() == [0.25, 9.0]
    assert sppo_hard_loss(*PAIR, beta=0.5).tolist() == [0.25, 8.0]
    mean = (0.25 + 4) / 2 + (0 + 4) / 2
    assert cal_dpo_loss(*PAIR, beta=0.5).tolist() == pytest.approx([-ls(1.5) + mean, -ls(-2) + mean])


def test_aot_compares_in_order():
    # s_w - s_l = (1, -3), r_w - r_l = (-.5, -1): sorted (-3, 1) against (-1, -.5)
    assert aot_loss(*PAIR, beta=0.5).tolist() == pytest.approx([-ls(-1.0), -ls(0.75)])
    assert aot_unpaired_loss(*PAIR, beta=0.5).tolist() == pytest.approx([-ls(0.0), -ls(-0.25)])
    one = [x[:1] for x in PAIR]
    for loss in (aot_loss, aot_unpaired_loss):
        torch.testing.assert_close(loss(*one), dpo_loss(*one))
        torch.testing.assert_close(loss(*one, label_smoothing=0.2), cdpo_loss(*one, label_smoothing=0.2))


def test_simpo_and_where_gamma_sits():
    w, r = torch.tensor([-0.5]), torch.tensor([-1.5])
    assert simpo_loss(w, r, beta=2.0, gamma=0.6).item() == pytest.approx(-ls(1.4))
    assert simpo_loss(w, r, beta=2.0, gamma_over_beta=0.3).item() == pytest.approx(-ls(1.4))
    assert simpo_loss(w, r, beta=2.0, gamma=0.6, label_smoothing=0.1).item() == pytest.approx(
        -0.9 * ls(1.4) - 0.1 * ls(-1.4)
    )


def test_alphapo_is_simpo_in_the_limit():
    w, r = torch.tensor([-0.5]).double(), torch.tensor([-1.5]).double()
    torch.testing.assert_close(alphapo_loss(w, r, alpha=0.0), simpo_loss(w, r))
    torch.testing.assert_close(alphapo_loss(w, r, alpha=1e-9), simpo_loss(w, r))
    assert alphapo_score(w, 0.5).item() == pytest.approx((1 - math.exp(-0.5) ** -0.5) / 0.5)


def test_alphapo_refuses_rewards_that_overflow():
    likely, unlikely = torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -400.0])
    for sides in ((likely, unlikely), (unlikely, likely), (unlikely, unlikely)):
        with pytest.raises(BadInput, match=r"1 pairs overflows: .* down to -400; take a smaller alpha"):
            alphapo_loss(*sides)
        assert alphapo_loss(*sides, alpha=0.1).isfinite().all()
        assert alphapo_loss(*sides, alpha=-0.25).isfinite().all()


def test_cpo_forms():
    w, r, mean = PAIR[0], PAIR[1], torch.tensor([-1.5, -1.25])
    assert cpo_loss(w, r, mean, beta=0.5).tolist() == pytest.approx([-ls(0.5) + 1.5, -ls(-1.5) + 1.25])
    assert cpo_loss(w, r, mean, beta=0.5, nll_weight=0.0, form="hinge").tolist() == [0.5, 2.5]
    assert cpo_loss(w, r, mean, beta=0.5, nll_weight=0.0, form="ipo").tolist() == [0.0, 16.0]
    with pytest.raises(UnknownMethod, match="form of cpo"):
        cpo_loss(w, r, mean, form="sigmod")


def test_orpo_by_hand_and_at_certainty():
    w, r = math.log(0.6), math.log(0.3)
    odds = math.log(0.6 / 0.4) - math.log(0.3 / 0.7)
    found = orpo_loss(torch.tensor([w]).double(), torch.tensor([r]).double(), lam=0.5)
    assert found.item() == pytest.approx(-w - 0.5 * ls(odds))
    sure = torch.zeros(1, requires_grad=True)
    loss = orpo_loss(sure, torch.zeros(1))
    loss.backward()
    assert loss.item() == pytest.approx(0.1 * LN2) and sure.grad.isfinite().all()


def test_sft_is_per_token_and_untouched_by_sums():
    objective = Objective.of("sft")
    given = {"mean_chosen": torch.tensor([-1.0, -2.0]), "tokens_chosen": torch.tensor([3.0, 1.0])}
    assert sft_loss(**given).tolist() == [3.0, 2.0]
    assert objective.kind == "demonstrations" and not objective.needs_reference
    assert objective.total(given, 2, 4).item() == 1.25


LABELS = {
    "policy": torch.tensor([-1.0, -2.0]),
    "ref": torch.tensor([-2.0, -1.0]),
    "desirable": torch.tensor([True, False]),
}


def test_kto_by_hand():
    kl = {"kl_policy": torch.tensor([-1.0, -2.0]), "kl_ref": torch.tensor([-3.0, -2.0])}
    assert kl_estimate(**kl).item() == 1.0
    assert Objective.of("kto").metrics({**LABELS, **kl})["kl"].tolist() == [2.0, 0.0]
    assert kto_loss(**LABELS, **kl, beta=0.5, undesirable_weight=2.0).tolist() == pytest.approx(
        [1 - sg(0.0), 2 * (1 - sg(0.5 * (1 + 1)))]
    )
    for given in (1.0, -3.0):
        at = torch.tensor([given, given])
        torch.testing.assert_close(
            kto_loss(**LABELS, **kl, kl=given), kto_loss(**LABELS, kl_policy=at, kl_ref=torch.zeros(2))
        )
    assert kl_estimate(kl["kl_ref"], kl["kl_policy"]).item() == 0.0
    torch.testing.assert_close(
        kto_loss(**LABELS, kl_policy=kl["kl_ref"], kl_ref=kl["kl_ref"]), apo_zero_unpaired_loss(**LABELS)
    )


def test_one_label_only_is_legal():
    for good in (True, False):
        given = {**LABELS, "desirable": torch.tensor([good, good])}
        assert kto_loss(**given, kl_policy=LABELS["policy"], kl_ref=LABELS["ref"]).isfinite().all()
        assert bco_loss(**given).isfinite().all()


def test_negative_weights_are_refused():
    with pytest.raises(BadInput, match="undesirable_weight of apo-zero-unpaired"):
        apo_zero_unpaired_loss(**LABELS, undesirable_weight=-1.0)


def test_bco_and_its_shift():
    assert bco_loss(**LABELS, beta=0.5, delta=0.2).tolist() == pytest.approx([-ls(0.3), -ls(0.7)])
    given = {**LABELS, "policy": torch.tensor([1.0, 0.0])}  # a = 3, 1
    assert bco_loss(**given, beta=0.5).tolist() == pytest.approx([-ls(0.5), -ls(0.5)])


def test_kto_of_pairs_takes_the_other_sides_reference_point():
    # a = (.5, -1) and (-1, 1): both means are 0 or below
    chosen, rejected = kto_pair_terms(*PAIR, beta=0.5)
    assert chosen.tolist() == pytest.approx([1 - sg(0.25), 1 - sg(-0.5)])
    assert rejected.tolist() == pytest.approx([1 - sg(0.5), 1 - sg(-0.5)])
    torch.testing.assert_close(kto_pair_loss(*PAIR, beta=0.5), (chosen + rejected) / 2)


def test_pl_of_two_is_dpo_and_masks_what_is_not_there():
    policy = torch.stack([*PAIR[:2], torch.full((2,), -torch.inf)], dim=1).requires_grad_()
    ref = torch.stack([*PAIR[2:], torch.full((2,), torch.nan)], dim=1)
    there = torch.tensor([[True, True, False]] * 2)
    found = pl_loss(policy, ref, there, beta=0.5)
    torch.testing.assert_close(found, dpo_loss(*PAIR, beta=0.5))
    found.sum().backward()
    assert policy.grad.isfinite().all() and not policy.grad[:, 2].any()


def test_pl_likelihoods_of_all_orders_sum_to_one():
    orders = torch.tensor(list(itertools.permutations(range(4))))
    rng = torch.Generator().manual_seed(0)
    policy, ref = (torch.randn(4, generator=rng).double()[orders] * 3 for _ in range(2))
    losses = pl_loss(policy, ref, torch.ones_like(orders).bool(), beta=0.7)
    assert torch.exp(-losses).sum().item() == pytest.approx(1)
    scores = 0.7 * (policy - ref)
    torch.testing.assert_close(losses[scores.diff(dim=1).lt(0).all(dim=1)][0], losses.min())  # the likeliest order


def test_pl_is_the_likelihood_of_the_order():
    scores = torch.tensor([[0.3, -0.4, 1.1]]).double()
    found = pl_loss(scores, torch.zeros(1, 3).double(), torch.ones(1, 3).bool(), beta=1.0)
    a, b, c = scores.exp()[0].tolist()
    assert found.item() == pytest.approx(-math.log(a / (a + b + c)) - math.log(b / (b + c)))
    nobody = torch.zeros(1, 3).bool()
    assert pl_loss(scores, scores, nobody).tolist() == [0.0]
    one = torch.tensor([[True, False, False]])
    assert pl_loss(scores, torch.zeros(1, 3).double(), one).tolist() == [0.0]
